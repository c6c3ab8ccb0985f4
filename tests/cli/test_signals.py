"""Signals at every moment of every command: one line, the right exit code, and nothing lost."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

NAMES = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


@pytest.fixture(scope="module")
def commands(config_file, trained, image, tmp_path_factory):
    """Give the arguments of each command, which ends by itself after seconds."""
    root = tmp_path_factory.mktemp("signals")
    for i in range(3):
        image(root / "photos" / f"{i}.png", i)
    return {
        "train": [f"--config={config_file}", f"--workdir={root / 'run'}"],
        "evaluate": [f"--workdir={trained[0]}", "--pictures=2"],
        "predict": [
            f"--workdir={trained[0]}",
            f"--input={root / 'photos'}",
            f"--output={root / 'out'}",
        ],
    }


def stop(verb, arguments, moment, signals):
    """Start a command, send it signals after a moment; give exit code and stderr."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"jaxflow.{verb}", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    time.sleep(moment)
    for number in signals:
        process.send_signal(number)
        time.sleep(0.05)
    _, err = process.communicate(timeout=120)
    return process.returncode, err


def check(verb, arguments, moment, signals):
    code, err = stop(verb, arguments, moment, signals)
    lines = [line for line in err.splitlines() if line.startswith("jaxflow: ")]
    lines = [line for line in lines if "WARNING" not in line]
    told = f"{verb} after {moment:.2f} s: exit code {code}: {err}"
    assert "Traceback" not in err, told
    assert code in (0, 128 + signals[0]), told
    assert len(lines) == (code != 0), told


@pytest.mark.parametrize("number", NAMES, ids=NAMES.get)
def test_a_signal_during_the_imports_is_one_line(commands, number):
    code, err = stop("train", commands["train"], 0.6, [number])
    assert code == 128 + number
    assert err.count("\n") == 1
    assert err.startswith(f"jaxflow: {NAMES[number]}")


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["train", "evaluate", "predict"])
@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
def test_a_signal_at_any_moment_is_one_line(commands, verb, twice):
    moments = random.Random(f"{verb}{twice}")
    for _ in range(6):
        number = moments.choice(list(NAMES))
        signals = [number, number] if twice else [number]
        check(verb, commands[verb], moments.uniform(0.3, 9.0), signals)


def test_what_libraries_print_of_failures_in_passing_is_dropped():
    program = """
import sys
from jaxflow.experiments import signals
signals.leave_speaking_to_main()
try:
    1 / 0
except ZeroDivisionError:
    sys.excepthook(*sys.exc_info())
raise RuntimeError("the end")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "ZeroDivisionError" not in done.stderr
    assert "RuntimeError: the end" in done.stderr
