"""Parts from outside: `--plugin=FILE` through every command, and an import in Python."""

import contextlib
import importlib
import io
import json
import sys

import numpy as np
import pytest

import jaxflow
from jaxflow import benchmark, compare, evaluate, generate, predict, train
from jaxflow.errors import InputError
from jaxflow.experiments.plugins import PLUGINS, registries
from jaxflow.files import file_sha256

MAINS = {
    "train": train.main,
    "evaluate": evaluate.main,
    "predict": predict.main,
    "compare": compare.main,
    "generate": generate.main,
    "benchmark": benchmark.main,
}

# A part of each kind, small and unlike those that are there.
PARTS = '''"""Parts of my own."""

import jax.numpy as jnp

from jaxflow.data.loading import DATASETS
from jaxflow.data.sets.textures import Textures
from jaxflow.detectors import DETECTORS, SCORES, Family, FlowDetector, LatentScore
from jaxflow.detectors import flow_detector
from jaxflow.encoders import ENCODERS, function_encoder
from jaxflow.flows import FLOWS, Bijection, Chain, GlobalAffine


class Slow(Bijection):
    """An affine map, and a fixed gain."""

    gain: float = 2.0

    def setup(self):
        self.affine = GlobalAffine()

    def forward_and_log_det(self, x, condition=None):
        z, log_det = self.affine.forward_and_log_det(x)
        return self.gain * z, log_det + x.shape[-1] * jnp.log(self.gain)

    def inverse_and_log_det(self, z, condition=None):
        x, log_det = self.affine.inverse_and_log_det(z / self.gain)
        return x, log_det - z.shape[-1] * jnp.log(self.gain)


def patches(scales, images):
    return (jnp.concatenate([images[:, ::4, ::4] * s for s in scales], -1),)


def encoder(copies=2):
    return function_encoder("mine", patches, jnp.arange(1.0, copies + 1))


class MyTextures(Textures):
    """The drawn ones by another name."""

    name = "my_textures"


FLOWS["my_flow"] = Slow
ENCODERS["my_encoder"] = encoder
SCORES["my_score"] = LatentScore(lambda latent: jnp.abs(latent.z).max(-1), "the largest.")
DETECTORS["my_detector"] = Family(flow_detector, FlowDetector.meanings, trained=True)
DATASETS["my_data"] = MyTextures
'''
CHOSEN = {
    "data.name": "my_data",
    "encoder.name": "my_encoder",
    "model.detector": "my_detector",
    "model.flow": "my_flow",
    "evaluation.score": "my_score",
}
OPTIONS = ["--config.encoder.options.copies=3", "--config.model.options.gain=3.0"]

pytestmark = pytest.mark.usefixtures("registries_kept")


def run(verb, *arguments):
    """Run a command in this process; return its exit code, stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = MAINS[verb]([verb, *map(str, arguments)])
    return code, out.getvalue(), err.getvalue()


def refused(verb, *arguments):
    """Run a command that must fail; return the line that says why."""
    code, out, err = run(verb, *arguments)
    assert (code, out) == (2, ""), err
    assert err.startswith("jaxflow: ")
    assert err.count("\n") == 1, err
    return err


def train_flags(config_file, workdir):
    chosen = [f"--config.{key}={value}" for key, value in CHOSEN.items()]
    images = ["size=32", "n_train=12", "n_test_normal=3", "n_test_anomalous=4"]
    return [
        f"--config={config_file}",
        f"--workdir={workdir}",
        *chosen,
        *OPTIONS,
        *(f"--config.data.options.{each}" for each in images),
        "--config.encoder.weights=hub",
        "--config.encoder.stages=()",
        "--config.model.steps=8",
    ]


def forget_parts():
    """Leave the registries as a new process has them."""
    PLUGINS.clear()
    for key, name in CHOSEN.items():
        registries()[key].pop(name, None)


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    """Give the file of the parts, not to be changed."""
    path = tmp_path_factory.mktemp("plugin") / "my_parts.py"
    path.write_text(PARTS)
    return path


@pytest.fixture(scope="module")
def run_of_parts(plugin, config_file, tmp_path_factory):
    """Give the workdir of a run all of whose parts are from outside, and what training said."""
    workdir = tmp_path_factory.mktemp("plugin_run") / "run"
    code, out, err = run("train", *train_flags(config_file, workdir), f"--plugin={plugin}")
    assert code == 0, err
    forget_parts()
    return workdir, out


@pytest.fixture
def images(image, tmp_path):
    for i in range(2):
        image(tmp_path / "photos" / f"{i}.png", i)
    return tmp_path / "photos"


@pytest.fixture
def import_parts(monkeypatch):
    """Import `my_parts` from a folder: import_parts(folder); no later test knows it."""

    def import_parts(folder):
        monkeypatch.syspath_prepend(folder)
        importlib.import_module("my_parts")

    sys.modules.pop("my_parts", None)
    yield import_parts
    sys.modules.pop("my_parts", None)


def outputs(verb, images, tmp_path):
    """Return the further flags that a command on a run needs."""
    return [] if verb == "evaluate" else [f"--input={images}", f"--output={tmp_path / 'out'}"]


def test_a_run_records_the_hash_of_its_plugins(run_of_parts, plugin):
    workdir, said = run_of_parts
    expected = {"my_parts.py": file_sha256(plugin)}
    assert json.loads((workdir / "run.json").read_text())["plugins"] == expected
    about = json.loads((workdir / "model" / "model.json").read_text())["about"]
    assert about["facts"]["plugins"] == expected
    assert f"--workdir={workdir} --plugin={plugin.resolve()}" in said


def test_a_run_with_its_plugin_is_evaluated_and_scores_images(
    run_of_parts, plugin, images, tmp_path
):
    workdir, _ = run_of_parts
    code, out, err = run("evaluate", f"--workdir={workdir}", f"--plugin={plugin}")
    assert code == 0, err
    protocol = json.loads((workdir / "evaluation" / "metrics.json").read_text())["protocol"]
    assert "Slow: gain 3.0" in protocol["detector"]
    assert "my_data (woven)" in protocol["data set"]
    assert "mine, stages [1]" in protocol["encoder"]
    assert protocol["plugins"] == f"my_parts.py, SHA-256 {file_sha256(plugin)}"
    assert "my_score" in out
    code, _, err = run(
        "predict",
        f"--workdir={workdir}",
        f"--plugin={plugin}",
        *outputs("predict", images, tmp_path),
    )
    assert code == 0, err
    assert "my_score" in (tmp_path / "out" / "scores.csv").read_text().splitlines()[0]


def test_a_plugin_that_is_imported_is_as_good(run_of_parts, plugin, images, import_parts):
    import_parts(plugin.parent)
    model = jaxflow.load(run_of_parts[0])
    assert np.isfinite(model.score(images).anomaly_scores).all()
    assert model.detector.encoder.channels == (9,)


@pytest.mark.parametrize("verb", ["evaluate", "predict", "load"])
@pytest.mark.parametrize("key", CHOSEN)
def test_a_part_that_is_missing_is_named_with_its_plugin(
    verb, key, run_of_parts, plugin, images, tmp_path
):
    workdir, _ = run_of_parts
    code, _, err = run("train", "--workdir=x", f"--plugin={plugin}")
    assert code == 2, err  # The plugin was run, and no config is given.
    del registries()[key][CHOSEN[key]]
    if key == "data.name" and verb != "evaluate":
        jaxflow.load(workdir)  # It needs no data.
        return
    if verb == "load":
        with pytest.raises(InputError) as caught:
            jaxflow.load(workdir)
        line = str(caught.value)
    else:
        line = refused(verb, f"--workdir={workdir}", *outputs(verb, images, tmp_path))
    assert f"no {key} '{CHOSEN[key]}' is registered" in line
    assert f"my_parts.py (SHA-256 {file_sha256(plugin)[:12]}...)" in line
    assert "--plugin=FILE, or import it" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", ["evaluate", "predict", "train"])
def test_a_plugin_that_was_changed_is_refused(
    verb, run_of_parts, plugin, config_file, images, tmp_path
):
    workdir, _ = run_of_parts
    before = (workdir / "run.json").read_bytes()
    changed = tmp_path / plugin.name
    changed.write_text(PARTS.replace("2.0", "2.5"))
    flags = [f"--workdir={workdir}", *outputs(verb, images, tmp_path)]
    if verb == "train":
        flags = train_flags(config_file, workdir)
    line = refused(verb, *flags, f"--plugin={changed}")
    assert "my_parts.py" in line
    assert f"{file_sha256(plugin)[:12]}..." in line
    assert f"{file_sha256(changed)[:12]}..." in line
    assert (workdir / "run.json").read_bytes() == before
    assert not (tmp_path / "out").exists()


def test_an_imported_plugin_that_was_changed_is_refused(run_of_parts, tmp_path, import_parts):
    (tmp_path / "my_parts.py").write_text(PARTS.replace("2.0", "2.5"))
    import_parts(tmp_path)
    with pytest.raises(InputError, match=r"trained with another my_parts\.py"):
        jaxflow.load(run_of_parts[0])


def test_a_cell_of_a_changed_plugin_is_not_read_as_its_own(plugin, config_file, tmp_path):
    own = [flag.removeprefix("--config.") for flag in train_flags(config_file, "")[2:]]
    flags = [
        f"--configs={config_file}",
        f"--workdir={tmp_path / 'comparison'}",
        *(f"--set={setting}" for setting in own),
    ]
    code, _, err = run("compare", *flags, f"--plugin={plugin}")
    assert code == 0, err
    forget_parts()
    changed = tmp_path / plugin.name
    changed.write_text(PARTS + "# Changed.\n")
    code, _, err = run("compare", *flags, f"--plugin={changed}")
    assert code == 2
    assert "trained with another my_parts.py" in err


def test_nothing_in_the_folder_of_a_run_is_executed(run_of_parts, tmp_path):
    workdir, _ = run_of_parts
    (workdir / "my_parts.py").write_text(PARTS)
    try:
        line = refused("evaluate", f"--workdir={workdir}")
    finally:
        (workdir / "my_parts.py").unlink()
    assert "is registered" in line


def test_help_lists_the_parts_of_a_plugin(plugin):
    code, out, _ = run("train", f"--plugin={plugin}", "--help")
    assert code == 0
    assert {name for name in CHOSEN.values() if name in out} == set(CHOSEN.values())


@pytest.mark.parametrize("verb", MAINS)
@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (None, ["no such file"]),
        ("\nx = (\n", ["line 2", "SyntaxError"]),
        (PARTS + "\n1 / 0\n", [f"line {PARTS.count(chr(10)) + 2}", "ZeroDivisionError"]),
        ("import sys\nsys.exit(0)\n", ["line 2", "SystemExit"]),
    ],
)
def test_a_broken_plugin_is_named_with_its_line(verb, content, parts, tmp_path):
    path = tmp_path / "broken.py"
    if content is not None:
        path.write_text(content)
    line = refused(verb, f"--plugin={path}")
    assert line.startswith(f"jaxflow: --plugin {path}")
    assert all(part in line for part in parts), line
    assert PLUGINS == {}
    assert [key for key, name in CHOSEN.items() if name in registries()[key]] == []


@pytest.mark.parametrize(
    "where",
    [
        "        z, log_det = self.affine.forward_and_log_det(x)\n",
        "    return (jnp.concatenate",
        "    return function_encoder(",
        "        self.affine = GlobalAffine()\n",
    ],
)
@pytest.mark.parametrize("fault", ["1 / 0", "jnp.ones(2) @ jnp.ones(3)", "None.x", "int('x')"])
def test_a_part_that_fails_is_named_with_its_line(where, fault, config_file, tmp_path):
    path, workdir = tmp_path / "faulty.py", tmp_path / "run"
    indent = where[: len(where) - len(where.lstrip())]
    path.write_text(PARTS.replace(where, f"{indent}{fault}\n{where}", 1))
    line = PARTS[: PARTS.index(where)].count("\n") + 1
    said = refused("train", *train_flags(config_file, workdir), f"--plugin={path}")
    assert f"{path}, line {line}: " in said
    assert not workdir.exists()


@pytest.mark.parametrize("key", registries())
def test_a_name_that_exists_is_refused(key, tmp_path):
    registry = registries()[key]
    name, entry = next(iter(registry.items()))
    path = tmp_path / "mine.py"
    path.write_text(
        "from jaxflow.experiments.plugins import registries\n"
        f"registries()[{key!r}].update(new=print)\nregistries()[{key!r}][{name!r}] = print\n"
    )
    line = refused("train", f"--plugin={path}")
    assert f"{key} {name!r} exists already" in line
    assert registry[name] is entry
    assert "new" not in registry


@pytest.mark.parametrize("key", registries())
def test_what_is_no_such_part_is_refused(key, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from jaxflow.experiments.plugins import registries\n"
        f"registries()[{key!r}]['mine'] = 'a name'\n"
    )
    line = refused("train", f"--plugin={path}")
    assert f"{key} 'mine' must be " in line
    assert "'a name'" in line
    assert "mine" not in registries()[key]


def test_a_flow_that_is_made_already_is_refused(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from jaxflow.flows import FLOWS, Identity\nFLOWS['mine'] = Identity()\n")
    assert "model.flow 'mine' must be a class or a function" in refused("train", f"--plugin={path}")


def test_a_plugin_is_run_once_in_a_process(tmp_path, capsys):
    path = tmp_path / "counted.py"
    path.write_text("print('run')\n")
    _, out, _ = run("train", f"--plugin={path}", f"--plugin={path}")
    assert out == "run\n"
    assert run("evaluate", f"--plugin={path}")[1] == ""


def test_two_plugins_of_one_name_are_refused(tmp_path):
    paths = [tmp_path / folder / "mine.py" for folder in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
        path.write_text("")
    line = refused("train", *(f"--plugin={path}" for path in paths))
    assert f"{paths[0].resolve()}" in line
    assert "rename" in line


@pytest.mark.parametrize(
    ("option", "nearest"),
    [
        ("model.options.gian=3.0", "gain"),
        ("encoder.options.copys=3", "copies"),
        ("data.options.n_trian=3", "n_train"),
    ],
)
def test_an_unknown_option_is_answered_with_the_nearest(
    option, nearest, plugin, config_file, tmp_path
):
    workdir = tmp_path / "run"
    flags = [*train_flags(config_file, workdir), f"--plugin={plugin}", f"--config.{option}"]
    line = refused("train", *flags)
    assert f"did you mean {nearest}?" in line
    assert not workdir.exists()


@pytest.mark.parametrize("key", ["encoder.weights=random", "encoder.stages=(1,)", "encoder.tag=x"])
def test_a_key_that_an_encoder_does_not_take_is_refused(key, plugin, config_file, tmp_path):
    flags = [*train_flags(config_file, tmp_path / "run"), f"--plugin={plugin}", f"--config.{key}"]
    line = refused("train", *flags)
    assert f"config.{key.partition('=')[0]}" in line
    assert "no effect with encoder my_encoder" in line


def test_without_the_plugin_training_says_that_there_is_such_a_flag(config_file, tmp_path):
    line = refused("train", *train_flags(config_file, tmp_path / "run"))
    assert "or come with --plugin" in line
    assert not (tmp_path / "run").exists()
