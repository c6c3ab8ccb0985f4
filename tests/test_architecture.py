import ast
import pathlib
import subprocess
import sys

import pytest

import jaxflow
from jaxflow import cli

PACKAGE = pathlib.Path(jaxflow.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
# Imports run from a greater number to a smaller one, or, without a circle, to an equal one.
LAYERS = {
    "errors": 0,
    "files": 0,
    "parallel": 1,
    "encoders": 1,
    "flows": 1,
    "detectors": 2,
    "data": 3,
    "training": 4,
    "evaluation": 4,
    "reports": 5,
    "model": 5,
    "experiments": 6,
}
COMMAND_LINE = 7
# The modules at the top of the package, beside the verbs.
TOP = {"__init__", "__main__", "cli", "errors", "export", "files", "model"}
OPTIONS = {"absl", "ml_collections"}


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path):
    """Return (dotted name, line) of everything that a file imports, wherever it does so."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            found += [(f"{node.module}.{alias.name}", node.lineno) for alias in node.names]
            found.append((node.module, node.lineno))
    return found


def package_of(name):
    """Return the layer's package of a dotted name, "" for jaxflow itself or a command."""
    part = (name.split(".") + [""])[1]
    return part if part in LAYERS else ""


def height(name):
    return LAYERS.get(package_of(name), COMMAND_LINE)


def upward(importer, name):
    """Tell whether an import of `name` by `importer` points up."""
    return name.startswith("jaxflow.") and height(name) > height(importer)


def test_every_package_has_a_layer():
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages <= set(LAYERS)


@pytest.mark.parametrize(
    ("importer", "name", "expected"),
    [
        ("jaxflow.flows.chain", "jaxflow.detectors", True),
        ("jaxflow.errors", "jaxflow.flows", True),
        ("jaxflow.detectors.detector", "jaxflow.data.sets.folder", True),
        ("jaxflow.training.loop", "jaxflow.data", False),
        ("jaxflow.data.sets.folder", "jaxflow.train", True),
        ("jaxflow.train", "jaxflow.training", False),
        ("jaxflow.detectors.detector", "jaxflow.flows", False),
        ("jaxflow.flows.chain", "jaxflow.flows.affine", False),
        ("jaxflow.flows.chain", "jax.numpy", False),
    ],
)
def test_the_rule_knows_an_upward_arrow(importer, name, expected):
    assert upward(importer, name) == expected


def test_imports_run_downward_only():
    arrows = [
        f"{path.relative_to(PACKAGE)}:{line} imports {name}"
        for path in FILES
        if path != PACKAGE / "__init__.py"
        for name, line in imported(path)
        if upward(module_name(path), name)
    ]
    assert arrows == []


def test_options_stop_at_the_command_line():
    arrows = [
        f"{path.relative_to(PACKAGE)}:{line} imports {name}"
        for path in FILES
        if height(module_name(path)) < LAYERS["experiments"]
        for name, line in imported(path)
        if name.split(".")[0] in OPTIONS
    ]
    assert arrows == []


def find_cycle(graph):
    """Return the names along one cycle, or none."""
    done = set()

    def visit(name, trail):
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name in done:
            return []
        for target in sorted(graph.get(name, ())):
            if cycle := visit(target, [*trail, name]):
                return cycle
        done.add(name)
        return []

    return next((cycle for name in sorted(graph) if (cycle := visit(name, []))), [])


def test_a_cycle_is_found():
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c", "a"]
    assert find_cycle({"a": {"b", "c"}, "b": {"c"}}) == []


def test_modules_do_not_import_in_a_circle():
    names = {module_name(path) for path in FILES}
    graph = {
        module_name(path): {name for name, _ in imported(path) if name in names}
        for path in FILES
        if path.name != "__init__.py"
    }
    assert find_cycle(graph) == []


def test_packages_do_not_import_in_a_circle():
    graph = {}
    for path in FILES:
        if source := package_of(module_name(path)):
            targets = {package_of(n) for n, _ in imported(path) if n.startswith("jaxflow.")}
            graph.setdefault(source, set()).update(targets - {source, ""})
    assert find_cycle(graph) == []


def test_flows_and_encoders_stand_alone():
    arrows = [
        f"{path.relative_to(PACKAGE)}:{line} imports {name}"
        for package in ("flows", "encoders")
        for path in (PACKAGE / package).glob("*.py")
        for name, line in imported(path)
        if name.startswith("jaxflow.") and height(name) > 0 and package_of(name) != package
    ]
    assert arrows == []


def test_no_module_is_a_drawer_for_everything():
    assert [path for path in FILES if path.stem in ("utils", "util", "common", "helpers")] == []


def test_files_stay_under_350_lines():
    lengths = {str(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {path: n for path, n in lengths.items() if n > 350} == {}


def lines_of_code(function):
    """Return the lines of a function without its docstring."""
    first = function.body[0]
    docstring = first if ast.get_docstring(function, clean=False) is not None else None
    lines = function.end_lineno - function.lineno + 1
    return lines - (docstring.end_lineno - docstring.lineno + 1 if docstring else 0)


def test_functions_stay_under_60_lines():
    long = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and lines_of_code(node) > 60
    ]
    assert long == []


HEAVY = (
    "distrax",
    "tensorflow_probability",
    "optax",
    "orbax",
    "tensorflow_datasets",
    "grain",
    "ml_collections",
    "sklearn",
    "matplotlib",
    "tensorflow",
    "torch",
)


@pytest.mark.parametrize(
    "package", ["jaxflow", "jaxflow.flows", "jaxflow.encoders", "jaxflow.detectors", "jaxflow.data"]
)
def test_what_the_plain_install_holds_imports_nothing_that_flax_has_not_imported(package):
    program = (
        f"import sys, flax.linen; before = set(sys.modules); import {package}; "
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) - set(sys.stdlib_module_names) <= {"jaxflow", "jax"}


def test_loading_a_model_reads_no_data_sets_and_trains_nothing():
    program = "import sys, jaxflow.experiments.load; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "ml_collections" in loaded
    assert loaded & {"tensorflow_datasets", "grain", "optax", "orbax", "matplotlib"} == set()


@pytest.mark.parametrize(
    ("package", "others"),
    [("jaxflow.flows", "jaxflow.encoders"), ("jaxflow.encoders", "jaxflow.flows")],
)
def test_the_lowest_packages_import_alone(package, others):
    program = f"import sys, {package}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert package in loaded
    assert loaded & {*HEAVY, others, "jaxflow.detectors"} == set()


def test_the_picture_of_the_design_is_that_of_the_imports(tmp_path):
    docs = PACKAGE.parent / "docs"
    drawn = tmp_path / "design.svg"
    subprocess.run([sys.executable, docs / "design.py", drawn], check=True)
    assert drawn.read_text() == (docs / "design.svg").read_text(), "run `make picture`"
    assert ">experiments/</text>" in drawn.read_text()


def test_the_top_level_holds_the_verbs_and_little_else():
    assert {path.stem for path in PACKAGE.glob("*.py")} <= TOP | set(cli.VERBS)


@pytest.mark.parametrize("verb", cli.VERBS)
def test_a_verb_is_thin(verb):
    assert len((PACKAGE / f"{verb}.py").read_text(encoding="utf-8").splitlines()) < 120


def test_only_experiments_and_verbs_know_a_configuration():
    knowing = {
        module_name(path).split(".")[1]
        for path in FILES
        if any(name.split(".")[0] == "ml_collections" for name, _ in imported(path))
    }
    assert knowing == {"experiments"}


def test_only_parallel_knows_how_devices_share_work():
    words = {"pmap", "shard_map", "NamedSharding", "PartitionSpec", "pmean", "axis_index"}
    used = {
        str(path.relative_to(PACKAGE)): names
        for path in FILES
        if (names := words & attributes(path)) and path.parent != PACKAGE / "parallel"
    }
    assert used == {}
    assert attributes(PACKAGE / "parallel" / "pmap.py") >= {"pmap", "NamedSharding"}


def attributes(path):
    """Return every name and attribute that a file uses."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return names | {node.id for node in nodes if isinstance(node, ast.Name)}
