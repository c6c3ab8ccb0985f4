"""What `--help` prints: it fits a terminal, and each line stands by itself."""

import contextlib
import io

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


@pytest.fixture(params=MAINS)
def help_lines(request):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert MAINS[request.param]([request.param, "--help"]) == 0
    return out.getvalue().splitlines()


def test_help_fits_80_columns(help_lines):
    assert [line for line in help_lines if len(line) > 80] == []


@pytest.mark.parametrize("verb", MAINS)
def test_help_that_nobody_reads_to_its_end_is_no_failure(verb):
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError(32, "Broken pipe")

    with contextlib.redirect_stdout(Closed()):
        assert MAINS[verb]([verb, "--help"]) == 0


def test_each_line_of_help_stands_by_itself(help_lines):
    meanings = [line.strip() for line in help_lines if line.startswith("      ")]
    assert meanings
    assert [line for line in meanings if line.startswith(("of ", "at ", "for "))] == []


def test_help_says_that_a_configuration_is_run(help_lines):
    names = [line.split()[0] for line in help_lines if line.startswith("  --")]
    if "--config" in names or "--configs" in names:
        assert any("Python file" in line and "run" in line for line in help_lines)
