"""README.md: its snippets run, and what it names exists."""

import importlib
import re
import shlex
from pathlib import Path

import pytest
import yaml

import jaxflow
from jaxflow.experiments.config import KEYS

# November 2026: TensorFlow Probability's JAX substrate under distrax 0.1.9.
pytestmark = pytest.mark.filterwarnings("ignore:jax.core:DeprecationWarning")

ROOT = Path(__file__).resolve().parents[1]
KEY_NAMES = {name for name, _, _ in KEYS}

# Languages of fenced blocks that hold commands.
SHELLS = {"", "bash", "sh", "shell", "console"}


@pytest.fixture
def readme():
    return (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(text):
    """List (language, content) of the fenced blocks."""
    found = re.findall(r"^```(\w*)[^\n]*\n(.*?)^```\s*$", text, re.DOTALL | re.MULTILINE)
    return [(language, content) for language, content in found]


def _prose(text):
    """Return the text without its fenced blocks."""
    return re.sub(r"^```.*?^```\s*$", "", text, flags=re.DOTALL | re.MULTILINE)


def _code_lines(text):
    """List what a reader may type: lines of shell blocks, continued ones joined, and `spans`."""
    lines = []
    for language, content in _blocks(text):
        if language in SHELLS:
            lines += re.sub(r"\\\n\s*", "", content).splitlines()
    return lines + re.findall(r"`([^`\n]+)`", _prose(text))


def _commands(text):
    """List (verb, arguments) of the commands `jaxflow VERB` and `python -m jaxflow.VERB`."""
    found = []
    for line in _code_lines(text):
        for verb, rest in re.findall(
            r"(?:python3? -m jaxflow\.|^jaxflow )([a-z]+)([^|&;>]*)", line
        ):
            found.append((verb, shlex.split(rest, comments=True)))
    return found


def _flags(verb, capsys):
    """Return the flags that a verb's help lists."""
    assert importlib.import_module(f"jaxflow.{verb}").main([verb, "--help"]) == 0
    return set(re.findall(r"^  --(?:\[no\])?(\w+)", capsys.readouterr().out, re.MULTILINE))


def _is_known(flag, flags):
    """Tell whether --flag, --noflag or --config.key exists."""
    if flag.startswith("config."):
        key = re.sub(r"\[.*", "", flag.removeprefix("config."))
        return "config" in flags and (key in KEY_NAMES or ".options." in key)
    return flag in flags or flag.removeprefix("no") in flags


def _targets(text):
    """List the targets of links and pictures, in Markdown and in HTML."""
    prose = _prose(text)
    markdown = re.findall(r"\]\(([^)\s]+)[^)]*\)", prose)
    return markdown + re.findall(r"(?:src|href)=\"([^\"]+)\"", prose)


def _anchors(text):
    """Return the anchors of the headings."""
    titles = re.findall(r"^#+ +(.+?) *#*$", _prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_python_snippets_run_in_order(readme, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    snippets = [content for language, content in _blocks(readme) if language == "python"]
    assert snippets, "README.md shows no Python"
    namespace = {"__name__": "readme"}
    for number, snippet in enumerate(snippets, 1):
        exec(compile(snippet, f"README.md, Python block {number}", "exec"), namespace)


def test_every_flag_of_every_command_exists(readme, capsys):
    commands = _commands(readme)
    assert {"train", "evaluate", "predict"} <= {verb for verb, _ in commands}
    known = {verb: _flags(verb, capsys) for verb in {verb for verb, _ in commands}}
    for verb, arguments in commands:
        for argument in arguments:
            if argument.startswith("--"):
                flag = argument.removeprefix("--").partition("=")[0]
                assert _is_known(flag, known[verb]), f"jaxflow.{verb} has no --{flag}"


def test_every_config_key_spoken_of_exists(readme):
    spans = " ".join(re.findall(r"`([^`\n]+)`", _prose(readme)))
    # A key in capitals, as in --config.KEY=VALUE, stands for any.
    for key in re.findall(r"--config\.([\w.]+)", spans):
        assert key.isupper() or _is_known(f"config.{key}", {"config"}), f"no config key {key}"


def test_the_citation_is_of_this_version_and_of_the_papers_that_the_readme_names(readme):
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == jaxflow.__version__
    urls = {reference["url"] for reference in citation["references"]}
    assert urls == set(re.findall(r"https://arxiv\.org/abs/[\d.]+", readme))


def test_every_make_target_exists(readme):
    names = re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    used = [name for line in _code_lines(readme) for name in re.findall(r"\bmake ([\w-]+)", line)]
    assert "quickstart" in used
    assert set(used) <= set(names)


def test_every_relative_link_leads_somewhere(readme):
    relative = [t for t in _targets(readme) if not re.match(r"\w+:", t)]
    pictures = [t for t in relative if t.endswith((".png", ".jpg", ".svg"))]
    assert pictures, "README.md shows no picture"
    for target in relative:
        path, _, anchor = target.partition("#")
        if path:
            assert (ROOT / path).exists(), f"no file {path}"
        elif anchor:
            assert anchor in _anchors(readme), f"no heading #{anchor}"


def test_every_path_of_the_repository_exists(readme):
    folders = r"\b(?:jaxflow|configs|examples|notebooks|tests|docs)/[\w./*-]*"
    text = "\n".join([*_code_lines(readme), *re.findall(r"`([^`\n]+)`", _prose(readme))])
    paths = {path.rstrip(".") for path in re.findall(folders, text)}
    assert any(path.startswith("configs/") for path in paths)
    for path in paths:
        assert list(ROOT.glob(path.rstrip("/"))), f"README.md names {path}, which does not exist"
