"""Commands run in this process, and one tiny trained run that the tests share."""

import contextlib
import io
import json
import shutil
from typing import NamedTuple

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from jaxflow import evaluate, predict, train

MAINS = {"train": train.main, "evaluate": evaluate.main, "predict": predict.main}

CONFIG = '''"""A run of seconds."""

from jaxflow.experiments.config import default_config


def get_config():
    config = default_config()
    config.data.cache_dir = {cache_dir!r}
    config.data.image_size = (32, 32)
    config.data.options = {{"size": 32, "n_train": 12, "n_test_normal": 3, "n_test_anomalous": 4}}
    config.encoder.weights = "random"
    config.encoder.stages = (1,)
    config.model.steps = 1
    config.training.epochs = 2
    config.training.batch_size = 4
    return config
'''


class Outcome(NamedTuple):
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


def run_command(verb, *arguments):
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = MAINS[verb]([verb, *map(str, arguments)])
    return Outcome(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def command():
    """Give the function that runs a command."""
    return run_command


@pytest.fixture(scope="session")
def mistake():
    """Run a command that the user got wrong; give the one line that says so."""

    def mistake(verb, *arguments):
        outcome = run_command(verb, *arguments)
        assert outcome.code == 2, outcome
        assert outcome.out == ""
        assert outcome.err.startswith("jaxflow: ")
        assert outcome.err.count("\n") == 1, outcome.err
        return outcome.err

    return mistake


@pytest.fixture(scope="session")
def config_file(tmp_path_factory):
    """Give the path of a config whose run takes seconds."""
    folder = tmp_path_factory.mktemp("config")
    path = folder / "tiny.py"
    path.write_text(CONFIG.format(cache_dir=str(folder / "cache")))
    return path


@pytest.fixture
def train_mistake(mistake, config_file, tmp_path):
    """Train wrongly; give the line, having checked that no workdir was made."""

    def train_mistake(*arguments, config=config_file):
        workdir = tmp_path / "run"
        line = mistake("train", f"--config={config}", f"--workdir={workdir}", *arguments)
        assert not workdir.exists()
        return line

    return train_mistake


@pytest.fixture(scope="session")
def trained(config_file, tmp_path_factory):
    """Give the workdir of a finished run, not to be changed, and what training said."""
    workdir = tmp_path_factory.mktemp("trained") / "run"
    outcome = run_command("train", f"--config={config_file}", f"--workdir={workdir}")
    assert outcome.code == 0, outcome
    return workdir, outcome


@pytest.fixture
def trained_copy(trained, tmp_path):
    """Give a copy of the finished run, to be changed."""
    return shutil.copytree(trained[0], tmp_path / "copy")


def write_image(path, seed=0, size=(32, 32)):
    """Write a noise image; size is (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="session")
def image():
    """Give the writer of noise images."""
    return write_image


@pytest.fixture(scope="session")
def image_folder():
    """Give a function that writes a data set of noise images in the layout of MVTec AD."""

    def image_folder(root, masks=True):
        for i in range(6):
            write_image(root / "train/good" / f"{i}.png", i)
        for i in range(2):
            write_image(root / "test/good" / f"{i}.png", 10 + i)
            write_image(root / "test/broken" / f"{i}.png", 20 + i)
            if masks:
                path = root / "ground_truth/broken" / f"{i}_mask.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.eye(32, dtype=np.uint8) * 255).save(path)
        return root

    return image_folder


@pytest.fixture(scope="session")
def weights_file():
    """Give a function that writes ResNet-18's first stage, changed as asked."""

    def weights_file(path, without=(), **extra):
        rng = np.random.default_rng(0)
        tensors = {"conv1.weight": rng.normal(0, 0.1, (64, 3, 7, 7))}
        norms = ["bn1"]
        for block in range(2):
            for i in (1, 2):
                name = f"layer1.{block}.conv{i}.weight"
                tensors[name] = rng.normal(0, 0.04, (64, 64, 3, 3))
                norms.append(f"layer1.{block}.bn{i}")
        for norm in norms:
            for part in ("weight", "bias", "running_mean", "running_var"):
                tensors[f"{norm}.{part}"] = np.full(64, part in ("weight", "running_var"))
        tensors = {k: v.astype(np.float32) for k, v in tensors.items() if k not in without}
        safetensors.numpy.save_file(tensors | extra, path)
        return path

    return weights_file


@pytest.fixture
def model_content():
    """Give the content of a run's model without its training time: model_content(workdir)."""

    def model_content(workdir):
        content = {path.name: path.read_bytes() for path in (workdir / "model").iterdir()}
        said = json.loads(content.pop("model.json"))
        assert said.pop("sha256")
        assert said["about"].pop("train_seconds") > 0
        return content, said

    return model_content
