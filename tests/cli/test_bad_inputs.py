"""A table of bad input for every command: exit code 2, one line, and nothing left behind."""

import contextlib
import io
import os

import pytest

from jaxflow import benchmark, compare, evaluate, generate, predict, train

MAINS = {
    "train": train.main,
    "evaluate": evaluate.main,
    "predict": predict.main,
    "generate": generate.main,
    "compare": compare.main,
    "benchmark": benchmark.main,
}
HUGE = "1" + "0" * 20
LONG = "x" * 5000

# Key -> values that it cannot have.
KEYS = {
    "seed": ["-1", HUGE, "a", "1.5", ""],
    "data.name": ["none", "3"],
    "data.image_size": ["(0,32)", "(32,)", "32", "(10000000,10000000)", "(a,b)", "(-32,32)"],
    "data.validation_fraction": ["-0.1", "1", "nan", "a"],
    "data.augmentation": ["mirror"],
    "data.category": ["velvet"],
    "data.data_dir": ["/none"],
    "data.options.none": ["1"],
    "data.options.size": ["3", "a"],
    "encoder.name": ["vgg", "../resnet18"],
    "encoder.stages": ["(9,)", "(2,1)", "a"],
    "encoder.weights": ["/none.safetensors", "/dev/zero", "weights.pth", LONG],
    "encoder.tag": ["none"],
    "encoder.revision": ["main"],
    "model.flow": ["realnvp"],
    "model.steps": ["0", "-1", "1000000", HUGE, "2.5"],
    "model.kernel_sizes": ["(2,)", "()", "(1001,)", "(0,)", "(3,-1)", "a"],
    "model.hidden_ratio": ["0", "-1", "1e9", "nan", "inf", "a"],
    "model.clamp": ["0", "-2", "1e30", "nan"],
    "model.coupling": ["linear"],
    "model.log_scale": ["exp"],
    "model.permutation": ["none"],
    "model.normalization": ["batch_norm"],
    "model.condition": ["time"],
    "model.condition_dim": ["3", "64", HUGE],
    "model.dtype": ["int8", "float64"],
    "training.epochs": ["0", "-1", HUGE, "ten", "1e20", "1.5"],
    "training.batch_size": ["0", "-4", "1000", HUGE],
    "training.vectors": ["-1", "8", HUGE],
    "training.loss": ["l2"],
    "training.optimizer": ["sgd"],
    "training.learning_rate": ["0", "-1", "nan", "inf", "1e30"],
    "training.schedule": ["linear"],
    "training.warmup_epochs": ["-1", "5"],
    "training.weight_decay": ["-1", "nan", "1e30"],
    "training.validate_every": ["0", HUGE],
    "training.keep_all": ["maybe"],
    "training.feature_memory_gib": ["-1", "nan"],
    "training.epoch": ["3"],
    "evaluation.score": ["none"],
    "evaluation.batch_size": ["0", HUGE],
    "evaluation.image_quantile": ["0", "1", "2", "nan"],
    "evaluation.pixel_quantile": ["-1", "1"],
}
OVERRIDES = [f"--config.{key}={value}" for key, values in KEYS.items() for value in values]

FLAGS = {
    "train": [["--none=1"], ["--workdir="], ["stray"], ["--workdir=a\0b"], [f"--workdir={LONG}"]],
    "evaluate": [
        ["--workdir="],
        ["--workdir=/none"],
        ["--workdir=a\0b"],
        [f"--workdir={LONG}"],
        ["--pictures=-1"],
        ["--pictures=1e20"],
        ["--test_set=none"],
        ["--data_dir=/none"],
        ["--weights=/none.safetensors"],
        ["--weights="],
        ["--oracle"],
        ["--score=none"],
        ["--quantile=0"],
        ["--quantile=a"],
        ["--image_threshold=nan"],
        ["--pixel_threshold=-inf"],
        ["--image_threshold=0", "--quantile=0.5"],
        ["--config=x.py"],
    ],
    "predict": [
        ["--input="],
        ["--input=/none"],
        ["--input=/dev/zero"],
        ["--input=FIFO"],
        ["--input=EMPTY"],
        ["--output="],
        ["--output=IMAGE"],
        ["--output=IMAGE/x"],
        ["--output=a\0b"],
        [f"--output={LONG}"],
        ["--selection=oracle"],
        ["--score=cflow"],
        ["--quantile=2"],
        ["--workdir=/none"],
    ],
    "generate": [
        ["--input="],
        ["--input=/none.png"],
        ["--input=/dev/zero"],
        ["--input=FIFO"],
        ["--input=EMPTY"],
        ["--output=IMAGE"],
        ["--output=x.jpg"],
        ["--output=IMAGE/x.png"],
        ["--region=0,0,2,2"],
        ["--region=a"],
        ["--noise=0"],
        ["--noise=1e30"],
        ["--noise=-1"],
        ["--map=0"],
        ["--map=9"],
        ["--channel=-1"],
        ["--channel=100000"],
        ["--seed=-1"],
        [f"--seed={HUGE}"],
    ],
    "compare": [
        ["--configs="],
        ["--configs=/none.py"],
        ["--table=none"],
        ["--seeds=a"],
        ["--seeds=-1"],
        [f"--seeds={HUGE}"],
        ["--seeds=0,0"],
        ["--vary=model.coupling"],
        ["--vary=model.coupling=linear"],
        ["--vary=model.none=1,2"],
        ["--set=training.epochs=0"],
        ["--set=training.epochs"],
        ["--workdir=IMAGE"],
    ],
    "benchmark": [
        ["--table=none"],
        ["--repeats=0"],
        [f"--repeats={HUGE}"],
        ["--batch_sizes=0"],
        ["--batch_sizes=a"],
        [f"--batch_sizes={HUGE}"],
        ["--output="],
        ["--output=IMAGE"],
        ["--image_sizes=32"],
        ["--encoders=resnet18"],
    ],
}
CASES = [(verb, arguments) for verb, table in FLAGS.items() for arguments in table]


@pytest.fixture(scope="module")
def place(image, tmp_path_factory):
    """Give a folder with an image, a pipe and an empty folder."""
    root = tmp_path_factory.mktemp("place")
    image(root / "image.png")
    os.mkfifo(root / "pipe.png")
    (root / "empty").mkdir()
    return root


def refuse(verb, arguments, place):
    """Run a command; check that it is refused in one line, and that nothing new lies there."""
    before = sorted(place.rglob("*"))
    content = (place / "image.png").read_bytes()
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = MAINS[verb]([verb, *arguments])
    assert (code, out.getvalue()) == (2, ""), err.getvalue()
    assert err.getvalue().startswith("jaxflow: "), err.getvalue()
    assert err.getvalue().count("\n") == 1, err.getvalue()
    assert sorted(place.rglob("*")) == before
    assert (place / "image.png").read_bytes() == content


def test_the_table_is_long():
    assert len(OVERRIDES) + len(CASES) >= 120


@pytest.mark.parametrize("override", OVERRIDES, ids=lambda text: text[:60])
def test_a_bad_key_is_refused(config_file, place, override):
    refuse("train", [f"--config={config_file}", f"--workdir={place / 'run'}", override], place)


@pytest.mark.parametrize(("verb", "arguments"), CASES, ids=lambda part: str(part)[:60])
def test_a_bad_flag_is_refused(config_file, trained, place, verb, arguments):
    given = {
        "train": [f"--config={config_file}", f"--workdir={place / 'run'}"],
        "evaluate": [f"--workdir={trained[0]}"],
        "predict": [
            f"--workdir={trained[0]}",
            f"--input={place / 'image.png'}",
            f"--output={place / 'out'}",
        ],
        "generate": [
            f"--workdir={trained[0]}",
            f"--input={place / 'image.png'}",
            f"--output={place / 'out.png'}",
        ],
        "compare": [f"--configs={config_file}", f"--workdir={place / 'work'}"],
        "benchmark": [f"--config={config_file}"],
    }[verb]
    names = {"IMAGE": "image.png", "FIFO": "pipe.png", "EMPTY": "empty"}
    for name, file in names.items():
        arguments = [a.replace(f"={name}", f"={place / file}") for a in arguments]
    refuse(verb, [*given, *arguments], place)
