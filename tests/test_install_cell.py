"""The notebooks' first cell: installs our package and no other, or stops with one line."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import jupytext
import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))

# Stands for pip: notes what it was asked for, and installs it and perhaps a newer jax.
PIP = """
import pathlib, sys
here = pathlib.Path(__file__).parents[1]
(here / "asked.txt").write_text(sys.argv[-1])
sys.path.insert(0, str(here))
from fake import install
install("jaxflow", "jaxflow-ad", "0.1.0", 'DISTRIBUTION = "jaxflow-ad"')
if (here / "jax").exists():
    install("jax", "jax", "0.12.0")
"""
FAKE = """
import pathlib, shutil
here = pathlib.Path(__file__).parent
def install(module, name, version, content=""):
    (here / module).mkdir(exist_ok=True)
    (here / module / "__init__.py").write_text(content)
    for old in here.glob(f"{name.replace('-', '_')}-*"):
        shutil.rmtree(old)
    folder = here / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Name: {name}\\nVersion: {version}\\n")
    (folder / "INSTALLER").write_text("pip")
    (folder / "top_level.txt").write_text(module)
"""
FAILING_PIP = """
import sys
sys.exit("a notice\\nERROR: Package 'jaxflow-ad' requires a different Python: 3.9.1\\na hint")
"""
COLAB = 'import sys, types\nsys.modules["google.colab"] = types.ModuleType("google.colab")\n'


def _cell(source="", notebook=NOTEBOOKS[0]):
    """Return the first code cell, with SOURCE set."""
    cells = jupytext.read(notebook).cells
    cell = next(cell.source for cell in cells if cell.cell_type == "code")
    assert cell.count('\nSOURCE = ""') == 1
    return cell.replace('\nSOURCE = ""', f"\nSOURCE = {source!r}")


@pytest.fixture
def packages(tmp_path):
    """Return the only folder, besides the standard library, that modules come from."""
    folder = tmp_path / "packages"
    (folder / "pip").mkdir(parents=True)
    (folder / "pip" / "__init__.py").touch()
    (folder / "pip" / "__main__.py").write_text(PIP)
    (folder / "fake.py").write_text(FAKE)
    return folder


@pytest.fixture
def bare(packages, tmp_path, monkeypatch):
    """Return a function that runs code in an empty folder, without any site-packages."""
    monkeypatch.setenv("PYTHONPATH", str(packages))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "empty").mkdir()

    def run(code, folder=tmp_path / "empty"):
        script = tmp_path / "cell.py"
        script.write_text(code)
        command = [sys.executable, "-S", "-P", str(script)]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True)

    return run


def _only_line(result):
    """Return the one line of an expected failure."""
    assert result.returncode == 1, result.stdout + result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr.strip()


def _asked(packages):
    asked = packages / "asked.txt"
    return asked.read_text() if asked.exists() else None


def test_both_notebooks_install_with_the_same_cell():
    assert len({_cell(notebook=notebook) for notebook in NOTEBOOKS}) == 1


def test_without_source_and_copy_the_cell_stops_with_one_line(bare, packages, tmp_path):
    line = _only_line(bare(_cell()))
    assert f"no copy of jaxflow-ad around {tmp_path / 'empty'}" in line
    assert "set SOURCE" in line
    assert _asked(packages) is None


@pytest.mark.parametrize("content", [None, "", '[project]\nname = "jaxflow"\n', "\xff\x00"])
def test_a_folder_of_another_project_is_refused(content, bare, packages, tmp_path):
    folder = tmp_path / "other"
    folder.mkdir()
    if content is not None:
        (folder / "pyproject.toml").write_bytes(content.encode("latin-1"))
    assert f"no copy of jaxflow-ad in {folder}" in _only_line(bare(_cell(str(folder))))
    assert _asked(packages) is None


def test_the_copy_around_the_notebook_is_installed(bare, packages, tmp_path):
    copy = tmp_path / "a copy"
    (copy / "notebooks").mkdir(parents=True)
    shutil.copy(ROOT / "pyproject.toml", copy)
    result = bare(_cell(), copy / "notebooks")
    assert result.returncode == 0, result.stderr
    assert _asked(packages) == f"jaxflow-ad[all] @ {copy.as_uri()}"
    assert result.stdout.splitlines()[-1] == f"jaxflow-ad 0.1.0 in {packages / 'jaxflow'}"


def test_source_may_be_a_url_or_a_folder(bare, packages, tmp_path):
    url = "git+https://example.org/repository@main"
    assert bare(_cell(url)).returncode == 0
    assert _asked(packages) == f"jaxflow-ad[all] @ {url}"
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "empty")
    assert bare(_cell("../empty")).returncode == 0
    assert _asked(packages) == f"jaxflow-ad[all] @ {(tmp_path / 'empty').as_uri()}"


@pytest.mark.parametrize(
    ("machine", "extras"),
    [("cpu", "all"), ("gpu", "all,cuda12"), ("tpu", "all,tpu"), ("both", "all,tpu")],
)
def test_on_colab_the_extra_follows_the_accelerator(machine, extras, bare, packages, tmp_path):
    if machine in ("gpu", "both"):
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "nvidia-smi").write_text("#!/bin/sh\n")
        (tmp_path / "bin" / "nvidia-smi").chmod(0o755)
    if machine in ("tpu", "both"):
        (packages / "libtpu.py").touch()
    assert bare(COLAB + _cell("git+https://example.org/r")).returncode == 0
    assert _asked(packages) == f"jaxflow-ad[{extras}] @ git+https://example.org/r"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras.split(",")) <= set(project["optional-dependencies"])


def test_what_is_installed_is_not_installed_again(bare, packages, tmp_path):
    assert bare(_cell("git+https://example.org/r")).returncode == 0
    (packages / "asked.txt").unlink()
    result = bare(_cell())
    assert result.returncode == 0, result.stderr
    assert _asked(packages) is None


def test_what_was_only_built_does_not_count_as_installed(bare, packages):
    (packages / "jaxflow_ad.egg-info").mkdir()
    (packages / "jaxflow_ad.egg-info" / "PKG-INFO").write_text("Name: jaxflow-ad\nVersion: 0.1.0\n")
    assert "set SOURCE" in _only_line(bare(_cell()))


@pytest.mark.parametrize("content", ["", "raise RuntimeError('not yours')", "import nothing_such"])
def test_a_module_of_a_different_project_is_named_in_one_line(content, bare, packages, tmp_path):
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "jaxflow.py").write_text(content)
    path = f"import sys\nsys.path.insert(0, {str(tmp_path / 'first')!r})\n"
    line = _only_line(bare(path + _cell("git+https://example.org/r")))
    assert "different project" in line
    assert "restart the kernel" in line
    assert content or str(tmp_path / "first" / "jaxflow.py") in line


def test_a_package_imported_before_its_version_changed_asks_for_a_restart(bare):
    old = 'from fake import install\ninstall("jax", "jax", "0.7.2")\nimport jax\n'
    cell = _cell("git+https://example.org/r")
    line = _only_line(bare(old + cell))
    assert line.startswith("Restart the kernel")
    assert "jax 0.7.2 to 0.12.0" in line
    # A new kernel imports the new version.
    assert bare("import jax\n" + cell).returncode == 0


def test_running_the_cell_again_does_not_hide_that_a_restart_is_needed(bare):
    old = 'from fake import install\ninstall("jax", "jax", "0.7.2")\nimport jax\n'
    cell = _cell("git+https://example.org/r")
    line = _only_line(bare(f"{old}try:\n    exec({cell!r})\nexcept SystemExit:\n    pass\n{cell}"))
    assert line.startswith("Restart the kernel")


def test_an_unchanged_import_needs_no_restart(bare):
    same = 'from fake import install\ninstall("jax", "jax", "0.12.0")\nimport jax\n'
    assert bare(same + _cell("git+https://example.org/r")).returncode == 0


def test_pips_reason_is_the_line_that_is_shown(bare, packages):
    (packages / "pip" / "__main__.py").write_text(FAILING_PIP)
    line = _only_line(bare(_cell("git+https://example.org/r")))
    assert line.startswith("pip could not install jaxflow-ad[all] @ git+https://example.org/r")
    assert line.endswith("requires a different Python: 3.9.1")


@pytest.mark.slow  # Installs everything with pip: one to three minutes.
def test_the_cell_installs_into_a_fresh_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    left = shutil.ignore_patterns(".*", "runs", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, tmp_path / "copy", ignore=left)
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    code = _cell(str(tmp_path / "copy")) + "\nfrom jaxflow.flows import FastFlow2D\n"
    result = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert re.search(r"^jaxflow-ad \S+ in .*site-packages", result.stdout, re.MULTILINE)
