"""The plain install and the extras: each holds what its part of jaxflow imports, and no more."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import jaxflow
from jaxflow import cli
from jaxflow.errors import MissingPackage, needs_extra

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]

FLOW = """
import jax, jax.numpy as jnp
from jaxflow.flows import FastFlow2D
flow = FastFlow2D(steps=2)
x = jax.random.normal(jax.random.key(0), (2, 6, 5, 4))
variables = flow.init(jax.random.key(1), x)
z, log_det = flow.apply(variables, x, method="forward_and_log_det")
log_prob = flow.apply(variables, x, method="log_prob")
again, _ = flow.apply(variables, z, method="inverse_and_log_det")
assert log_prob.shape == log_det.shape == (2, 6, 5)
assert jnp.allclose(x, again, atol=1e-4)
"""
FIT = """
import jaxflow
from jaxflow.detectors import MemoryBank
from jaxflow.encoders import load_encoder
options = dict(size=32, n_train=8, n_test_normal=2, n_test_anomalous=2)
dataset = jaxflow.load_dataset("textures", category="woven", cache_dir="cache", **options)
encoder = load_encoder("resnet18", stages=(1,), weights="random")
detector = MemoryBank(encoder, coreset=0.1, projection=8)
model = jaxflow.fit(detector, dataset, size=(32, 32))
assert "pixel_auroc" in model.evaluate(dataset)["last", "distance"].evaluation.metrics
"""
LOAD = """
import jaxflow
assert jaxflow.load({!r}).score(["image.png"]).anomaly_scores.shape == (1,)
"""
READ_WEIGHTS = """
import pathlib
from jaxflow.encoders.weights import read_tensors
read_tensors(pathlib.Path("x.safetensors"), {}, {})
"""
# What a user of each extra does; "" is the plain install.
USES = [
    ("", "import jaxflow, jaxflow.flows, jaxflow.detectors, jaxflow.encoders, jaxflow.data"),
    ("", FLOW),
    ("distrax", "import jaxflow.flows.distrax"),
    (
        "reports",
        "import jaxflow.reports.page, jaxflow.reports.run_report, jaxflow.reports.comparison, "
        "jaxflow.reports.generation_picture",
    ),
    ("training", FIT),
    ("all", f"import {', '.join(f'jaxflow.{verb}' for verb in cli.VERBS)}"),
]
# What needs an extra, and says so without it.
DOORS = [
    ("distrax", "import jaxflow.flows.distrax"),
    ("detectors", "import jaxflow; jaxflow.load('model')"),
    ("detectors", READ_WEIGHTS),
    ("training", "import jaxflow; jaxflow.load_dataset('textures')"),
    ("training", "import jaxflow; jaxflow.fit(None, None)"),
]


def requirements(extra):
    """List the requirements of an extra, its references to other extras resolved."""
    found = []
    for requirement in map(Requirement, EXTRAS[extra] if extra else []):
        if requirement.name == PROJECT["name"]:
            for other in sorted(requirement.extras):
                found += requirements(other)
        else:
            found.append(requirement)
    return found


def installed_with(extra):
    """Return the names of the distributions that the plain install and an extra bring."""
    waiting = [*map(Requirement, PROJECT["dependencies"]), *requirements(extra)]
    found, seen = set(), set()
    while waiting:
        requirement = waiting.pop()
        name, extras = canonicalize_name(requirement.name), requirement.extras or {""}
        if (name, *sorted(extras)) in seen:
            continue
        seen.add((name, *sorted(extras)))
        try:
            needed = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # Of another platform.
            continue
        found.add(name)
        waiting += [
            each
            for each in map(Requirement, needed)
            if not each.marker or any(each.marker.evaluate({"extra": e}) for e in extras)
        ]
    return found


def run_with(extra, program, folder):
    """Run a program in a process in which other packages than those of an extra are missing."""
    kept = installed_with(extra)
    missing = [
        module
        for module, owners in metadata.packages_distributions().items()
        if module != "jaxflow" and not kept.intersection(map(canonicalize_name, owners))
    ]
    hidden = f"import sys; sys.modules.update(dict.fromkeys({missing}))\n"
    command = [sys.executable, "-c", hidden + program]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder)


def test_the_plain_install_is_jax_flax_and_numpy():
    names = {Requirement(text).name for text in PROJECT["dependencies"]}
    assert names == {"jax", "flax", "numpy"}


def test_all_brings_every_extra_that_is_no_accelerator_or_tool():
    everything = {requirement.name for requirement in requirements("all")}
    for extra in set(EXTRAS) - {"cuda12", "cuda13", "tpu", "notebooks", "dev"}:
        assert {requirement.name for requirement in requirements(extra)} <= everything


def test_the_pins_are_versions_of_what_all_allows():
    wanted = {
        canonicalize_name(each.name): each.specifier
        for each in [*map(Requirement, PROJECT["dependencies"]), *requirements("all")]
    }
    pins = {}
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            pins[canonicalize_name(name)] = version
    assert set(pins) - set(wanted) == {"jaxlib"}
    assert [name for name in wanted if not wanted[name].contains(pins[name], True)] == []


def test_every_import_is_of_a_declared_package():
    declared = {
        canonicalize_name(each.name)
        for each in [*map(Requirement, PROJECT["dependencies"]), *requirements("all")]
    }
    declared |= {"jaxlib", "protobuf"}  # Of jax, and of tensorflow-datasets.
    owners = metadata.packages_distributions()
    undeclared = set()
    for path in (ROOT / "jaxflow").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for module in {name.split(".")[0] for name in names} - {"jaxflow"}:
                packages = {canonicalize_name(name) for name in owners.get(module, [module])}
                if module not in sys.stdlib_module_names and not packages & declared:
                    undeclared.add((module, str(path.relative_to(ROOT))))
    assert undeclared == set()


@pytest.mark.parametrize(("extra", "program"), USES)
def test_an_extra_brings_all_that_its_use_imports(extra, program, tmp_path):
    done = run_with(extra, program, tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_trained_model_is_used_with_the_extra_of_detectors(trained, image, tmp_path):
    image(tmp_path / "image.png")
    done = run_with("detectors", LOAD.format(str(trained[0])), tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("extra", "program"), DOORS)
def test_a_missing_package_and_its_extra_are_named_in_one_line(extra, program, tmp_path):
    done = run_with("", program, tmp_path)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("jaxflow.errors.MissingPackage: the package ")
    assert last.endswith(
        f"is not installed; the extra {extra} of {jaxflow.DISTRIBUTION} brings it: "
        f"run pip install '.[{extra}]' in a copy of its repository"
    )


@pytest.mark.parametrize("start", [["jaxflow", "{}"], ["jaxflow.{}"]], ids=["script", "module"])
@pytest.mark.parametrize("verb", cli.VERBS)
def test_a_command_names_a_missing_package_in_one_line(verb, start, tmp_path):
    module, *arguments = [each.format(verb) for each in start]
    program = (
        f"import runpy, sys; sys.argv = ['x', *{arguments}, '--help']; "
        f"runpy.run_module({module!r}, run_name='__main__')"
    )
    done = run_with("", program, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("jaxflow: the package ")
    assert "the extra all of jaxflow-ad" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_script_lists_its_verbs_without_any_extra(tmp_path):
    program = "import sys; sys.argv = ['jaxflow']; from jaxflow.cli import main; main()"
    done = run_with("", program, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "train" in done.stdout


def test_a_package_that_only_other_code_imports_is_not_ours_to_name():
    with pytest.raises(ModuleNotFoundError) as caught, needs_extra("all"):
        import no_such_package  # noqa: F401
    assert not isinstance(caught.value, MissingPackage)


def test_the_innermost_extra_is_the_one_named():
    with pytest.raises(MissingPackage, match="^one$"), needs_extra("all"):
        raise MissingPackage("one")


def test_the_readme_shows_how_to_install_each_extra():
    shown = re.findall(r"'\.\[([\w,]+)\]'", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert {extra for extras in shown for extra in extras.split(",")} == (
        set(EXTRAS) - {"notebooks", "dev"}
    )


def test_nothing_tells_anybody_to_install_the_other_project():
    wrong = [
        f"{path.relative_to(ROOT)}: {line}"
        for path in [*ROOT.glob("*.*"), *ROOT.rglob("jaxflow/**/*.py"), *ROOT.glob("notebooks/*")]
        if path.suffix in (".md", ".py", ".ipynb", ".toml", ".txt")
        for line in path.read_text(encoding="utf-8").splitlines()
        if "pip install jaxflow" in line.replace("'", "").replace('"', "")
    ]
    assert wrong == []


PLAIN = f"""{FLOW}
import importlib.util, subprocess, sys
optional = ("distrax", "grain", "matplotlib", "safetensors", "sklearn",
            "tensorflow_datasets")
assert [name for name in optional if importlib.util.find_spec(name)] == []
"""


@pytest.mark.slow  # Installs JAX with pip.
def test_the_plain_install_runs_a_flow_and_says_what_a_command_needs(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    left = shutil.ignore_patterns(".*", "runs", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, tmp_path / "copy", ignore=left)
    venv.create(tmp_path / "venv", with_pip=True)
    programs = tmp_path / "venv" / "bin"

    def run(name, *arguments):
        command = [programs / name, *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    installed = run("pip", "install", "--quiet", tmp_path / "copy")
    assert installed.returncode == 0, installed.stderr
    flow = run("python", "-c", PLAIN)
    assert flow.returncode == 0, flow.stderr
    assert run("jaxflow").returncode == 0
    train = run("jaxflow", "train", "--help")
    assert (train.returncode, train.stdout, train.stderr.count("\n")) == (2, "", 1)
    assert train.stderr.startswith("jaxflow: the package ")
    load = run("python", "-c", "import jaxflow; jaxflow.load('model')")
    assert "MissingPackage: the package" in load.stderr.splitlines()[-1]
