"""The console script: it lists the verbs without importing them, and runs one as `-m` does."""

import ast
import importlib.util
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from jaxflow import cli

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "jaxflow"


def run(*arguments):
    """Run Python in a process of its own."""
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True)


def first_line(verb):
    tree = ast.parse((PACKAGE / f"{verb}.py").read_text(encoding="utf-8"))
    return ast.get_docstring(tree).splitlines()[0]


def test_every_module_with_flags_is_a_verb():
    with_flags = {
        path.stem
        for path in PACKAGE.glob("*.py")
        if re.search(r"^def _define\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert set(cli.VERBS) == with_flags


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_the_verbs_are_listed_with_their_first_lines(arguments):
    done = run("-m", "jaxflow", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    words = " ".join(done.stdout.split())
    for verb in cli.VERBS:
        assert f"{verb} {first_line(verb)}" in words
    assert [line for line in done.stdout.splitlines() if len(line) > 80] == []


def test_listing_the_verbs_imports_only_the_standard_library():
    program = (
        "import sys; before = set(sys.modules); sys.argv = ['jaxflow']\n"
        "from jaxflow.cli import main\n"
        "try:\n    main()\nexcept SystemExit: pass\n"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before}, file=sys.stderr)"
    )
    done = run("-c", program)
    assert "train" in done.stdout
    assert set(done.stderr.split()) - set(sys.stdlib_module_names) == {"jaxflow"}


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("trian", "did you mean train?"),
        ("evalute", "did you mean evaluate?"),
        ("Predict", "did you mean predict?"),
        ("--config=x.py", f"there are {', '.join(cli.VERBS)}"),
        ("", f"there are {', '.join(cli.VERBS)}"),
    ],
)
def test_an_unknown_verb_is_one_line_with_the_nearest_name(word, hint):
    done = run("-m", "jaxflow", word)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"jaxflow: no command {word!r}; {hint}\n"


@pytest.mark.parametrize("verb", cli.VERBS)
def test_a_verb_run_as_a_module_starts_itself(verb, monkeypatch):
    started = []

    def note(name):
        started.append(name)
        raise SystemExit(0)

    monkeypatch.setattr(cli, "run", note)
    with pytest.raises(SystemExit):
        runpy.run_path(str(PACKAGE / f"{verb}.py"), run_name="__main__")
    assert started == [verb]


def test_a_verb_is_the_same_command_both_ways():
    both = [run("-m", "jaxflow", "train", "--help"), run("-m", "jaxflow.train", "--help")]
    assert [done.returncode for done in both] == [0, 0]
    assert both[0].stdout.startswith(first_line("train"))
    assert both[0].stdout == both[1].stdout
    assert [done.stderr for done in both] == ["", ""]


def test_a_verb_gets_the_flags_and_its_exit_code_is_that_of_the_process():
    done = run("-m", "jaxflow", "train", "--nonsense=1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("jaxflow: Unknown command line flag 'nonsense'")
    assert done.stderr.count("\n") == 1


def test_the_script_is_the_one_that_the_project_declares():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"jaxflow": f"{cli.__name__}:{cli.main.__name__}"}
    assert importlib.util.find_spec("jaxflow.__main__")
