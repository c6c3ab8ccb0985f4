"""The files of examples/ run as their first lines say, at a tiny size."""

import contextlib
import io
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxflow import evaluate, train
from jaxflow.experiments.user_files import run_file

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PLUGINS = [path for path in EXAMPLES if "--plugin" in path.read_text()]
MAINS = {"train": train.main, "evaluate": evaluate.main}
IMAGES = {"size": 32, "n_train": 12, "n_test_normal": 3, "n_test_anomalous": 4}
TINY = [
    "--config.data.image_size=(32,32)",
    "--config.training.epochs=2",
    "--config.training.batch_size=4",
]
# What of a run an example is about, as its report says it.
SAID = {
    "glow_flow": "Glow: steps 1, hidden_ratio 1.0, kernel_size 3, param_dtype float32",
    "gabor_encoder": "gabor, stages [1, 2], tag unknown",
    "worst_channel_score": "worst_channel",
    "listed_data": "listed (all)",
    "mean_detector": "MeanDetector: power 1.0",
}


def commands(path):
    """List the commands in the first lines of an example: a verb and its flags each."""
    text = re.sub(r"\\\n\s*", "", path.read_text().split('"""')[1])
    return [shlex.split(line) for line in re.findall(r"python -m jaxflow\.(.*)", text)]


def run(verb, arguments, folder):
    """Run a command with its folders in another."""
    places = {"=runs/": f"={folder}/", "=PATH": f"={folder}/data"}
    for place, here in places.items():
        arguments = [each.replace(place, here) for each in arguments]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = MAINS[verb]([verb, *arguments])
    assert code == 0, err.getvalue()
    return out.getvalue()


def write_table(folder):
    """Write images of noise, and the table that names them."""
    folder.mkdir()
    rng, rows = np.random.default_rng(0), ["image,mask,split,defect"]
    for i in range(12):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / f"{i}.png")
        split, defect = ("train", "good") if i < 8 else ("test", ("good", "noise")[i % 2])
        rows.append(f"{i}.png,,{split},{defect}")
    (folder / "images.csv").write_text("\n".join(rows))


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


def test_each_example_says_how_it_is_run():
    assert {path.stem for path in PLUGINS} == set(SAID)
    for path in EXAMPLES:
        assert f"examples/{path.name}" in path.read_text().split('"""')[1]


@pytest.mark.usefixtures("registries_kept")
@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.stem)
def test_a_part_from_outside_is_trained_and_evaluated(path, tmp_path, cache_dir, monkeypatch):
    monkeypatch.chdir(ROOT)
    (train_verb, *train_flags), (evaluate_verb, *evaluate_flags) = commands(path)
    tiny = [*TINY, f"--config.data.cache_dir={cache_dir}"]
    given = " ".join(train_flags)
    if "encoder.name" not in given:
        tiny += ["--config.encoder.weights=random", "--config.encoder.stages=(1,)"]
    if "model.detector" not in given:
        tiny.append("--config.model.steps=1")
    if "data_dir=PATH" in given:
        write_table(tmp_path / "data")
    else:
        tiny += [f"--config.data.options.{key}={value}" for key, value in IMAGES.items()]
    run(train_verb, [*train_flags, *tiny], tmp_path)
    printed = run(evaluate_verb, [*evaluate_flags, "--pictures=0"], tmp_path)
    (metrics,) = tmp_path.glob("*/evaluation/metrics.json")
    reported = json.loads(metrics.read_text())
    said = [*map(str, reported["protocol"].values()), *(r["score"] for r in reported["results"])]
    assert any(SAID[path.stem] in text for text in said), said
    assert "image_auroc" in printed


def test_a_loop_of_ones_own_lowers_the_loss(capsys, cache_dir):
    main = run_file(str(ROOT / "examples" / "own_loop.py"), "example_own_loop")[0]["main"]
    auroc = main("random", (1,), steps=1, epochs=3, batch=4, cache_dir=cache_dir, **IMAGES)
    printed = capsys.readouterr().out
    losses = [float(loss) for loss in re.findall(r"epoch \d: (\S+)", printed)]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    assert f"image AUROC {auroc:.3f}" in printed
