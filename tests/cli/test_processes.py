"""The command line as its own process: signals, exit codes and several devices."""

import json
import os
import signal
import subprocess
import sys

import pytest

COMMAND = [sys.executable, "-m", "jaxflow.train"]


@pytest.fixture
def arguments(config_file, tmp_path):
    """Give the flags of a run long enough to be stopped in the middle."""
    return [
        f"--config={config_file}",
        f"--workdir={tmp_path / 'run'}",
        "--config.training.epochs=100",
        "--config.training.validate_every=10",
    ]


def test_ctrl_c_saves_and_the_same_command_goes_on(command, arguments, tmp_path):
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    for line in process.stdout:
        if line.startswith("epoch 10:"):
            process.send_signal(signal.SIGINT)
            break
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Traceback" not in err
    last = err.splitlines()[-1]
    assert last.startswith("jaxflow: interrupted at step ")
    assert "saved; the same command goes on from there" in last
    step = int(last.split("at step ")[1].split()[0])
    assert 20 <= step < 200
    assert not (tmp_path / "run/model").exists()
    outcome = command("train", *arguments)
    assert outcome.code == 0, outcome
    assert f"going on from step {step} of 200" in outcome.out
    log = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    assert [json.loads(entry)["epoch"] for entry in log] == list(range(1, 101))


def test_a_batch_that_the_devices_cannot_share_is_refused(arguments, tmp_path):
    done = subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8",
        },
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "jaxflow: config.training.batch_size 4: 8 devices cannot share it equally; "
        "use a multiple of 8, such as 8\n"
    )
    assert not (tmp_path / "run").exists()
