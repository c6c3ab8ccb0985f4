import contextlib
import json
import random
import shutil
import time

import jax
import numpy as np
import pytest

from jaxflow.errors import InputError, RunStopped
from jaxflow.training import Checkpoints


def read_log(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def without_time(records):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def assert_identical(got, expected):
    got, expected = (jax.tree_util.tree_leaves_with_path(tree) for tree in (got, expected))
    assert [path for path, _ in got] == [path for path, _ in expected]
    for (path, a), (_, b) in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path), strict=True)


@pytest.fixture(params=["kept", "augmented", "grouped"])
def parts(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("number", [1, 3, 4, 6])
def test_interrupted_run_ends_as_an_uninterrupted_one(tiny, parts, interrupt_at, tmp_path, number):
    expected = tiny.make_trainer(parts, tmp_path / "whole").run(parts.state)
    batches = interrupt_at(parts.make_batches(), number)
    with pytest.raises(RunStopped, match=f"interrupted at step {number} of 6; saved") as caught:
        tiny.make_trainer(parts, tmp_path / "cut", batches=batches).run(parts.state)
    assert caught.value.exit_code == 130
    lines = []
    got = tiny.make_trainer(parts, tmp_path / "cut", say=lines.append).run(parts.state)
    assert lines == [f"going on from step {number} of 6"]
    assert_identical(got, expected)
    logs = [without_time(read_log(tmp_path / name)) for name in ("cut", "whole")]
    assert logs[0] == logs[1]
    assert [record["epoch"] for record in logs[0]] == [1, 2, 3]


def test_time_goes_on_after_an_interruption(tiny, kept, interrupt_at, tmp_path):
    with pytest.raises(RunStopped):
        tiny.make_trainer(kept, tmp_path, batches=interrupt_at(kept.make_batches(), 3)).run(
            kept.state
        )
    tiny.make_trainer(kept, tmp_path).run(kept.state)
    seconds = [record["seconds"] for record in read_log(tmp_path)]
    assert seconds == sorted(seconds)


def test_seconds_without_compilation_go_on_after_an_interruption(
    tiny, kept, interrupt_at, tmp_path
):
    def seconds():
        with contextlib.closing(Checkpoints(tmp_path / "checkpoints", read_only=True)) as saved:
            return saved.restore_latest(kept.state).info["seconds_without_compilation"]

    with pytest.raises(RunStopped):
        tiny.make_trainer(kept, tmp_path, batches=interrupt_at(kept.make_batches(), 3)).run(
            kept.state
        )
    first = seconds()
    tiny.make_trainer(kept, tmp_path).run(kept.state)
    assert 0 < first < seconds()


def test_finished_run_is_not_trained_further(tiny, kept, tmp_path):
    expected = tiny.make_trainer(kept, tmp_path).run(kept.state)
    log = (tmp_path / "metrics.jsonl").read_text()

    def refuse(*arguments):
        raise AssertionError("a step was taken")

    got = tiny.make_trainer(kept, tmp_path, train_step=refuse).run(kept.state)
    assert_identical(got, expected)
    assert (tmp_path / "metrics.jsonl").read_text() == log


def test_a_folder_that_is_removed_stops_its_training(tiny, kept, tmp_path):
    calls = []

    def validate(state):
        calls.append(state)
        if len(calls) == 2:
            trainer._last.wait()  # Or the checkpoint before would say it first.
            shutil.rmtree(tmp_path / "run")
        return 1.0

    trainer = tiny.make_trainer(kept, tmp_path / "run", epochs=9, validate=validate)
    with pytest.raises(RunStopped, match="was removed while it was trained"):
        trainer.run(kept.state)
    assert len(calls) == 2


def test_log_after_the_checkpoint_and_a_line_cut_short_are_dropped(tiny, kept, tmp_path):
    tiny.make_trainer(kept, tmp_path, epochs=1).run(kept.state)
    whole = (tmp_path / "metrics.jsonl").read_text()
    (tmp_path / "metrics.jsonl").write_text(whole + '{"step": 4, "epoch": 2}\n{"step": 1, "ep')
    tiny.make_trainer(kept, tmp_path, epochs=1).run(kept.state)
    assert (tmp_path / "metrics.jsonl").read_text() == whole


def test_damaged_latest_checkpoint_is_passed_over_and_replaced(tiny, kept, tmp_path):
    expected = tiny.make_trainer(kept, tmp_path).run(kept.state)
    damaged = next((tmp_path / "checkpoints" / "6" / "state").rglob("d/*"))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    lines = []
    got = tiny.make_trainer(kept, tmp_path, say=lines.append).run(kept.state)
    assert "6 is damaged" in lines[0]
    assert lines[0].endswith("going back to the one before")
    assert lines[1:] == ["going on from step 4 of 6"]
    assert_identical(got, expected)
    assert [record["epoch"] for record in read_log(tmp_path)] == [1, 2, 3]
    lines = []
    tiny.make_trainer(kept, tmp_path, say=lines.append).run(kept.state)
    assert lines == ["going on from step 6 of 6"]


def test_run_of_other_shapes_is_refused_in_one_line(tiny, kept, tmp_path):
    tiny.make_trainer(kept, tmp_path, epochs=1).run(kept.state)
    other = kept.state.replace(key=np.zeros(4, np.uint32))
    with pytest.raises(InputError, match=r"expected uint32\[4\] at .key, got uint32\[2\]") as error:
        tiny.make_trainer(kept, tmp_path, epochs=1).run(other)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("variant", ["kept", "augmented"])
def test_run_killed_at_random_moments_ends_as_an_uninterrupted_one(
    request, tiny, start, tmp_path, variant
):
    parts = request.getfixturevalue(variant)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    arguments = ("--epochs", 6, *(["--augment"] if variant == "augmented" else []))
    expected = tiny.make_trainer(parts, whole, epochs=6).run(parts.state)
    seed = random.SystemRandom().randrange(10**6)
    moments = random.Random(seed)
    killed, code = 0, None
    while code != 0:
        # Slow steps leave the kill time to hit any part of the loop; the last start runs through.
        run = start(cut, *arguments, *(("--slow", 0.05) if killed < 2 else ()))
        assert run.stdout.readline() == "begins\n", run.stderr.read()
        if killed < 2:
            time.sleep(moments.uniform(0.0, 1.0))
            run.kill()
        code = run.wait()
        assert code in (0, -9), f"seed {seed}, killed {killed} times: {run.stderr.read()}"
        killed += code == -9
    tiny.save_leaves(whole / "final0.npz", expected)
    with np.load(whole / "final0.npz") as expected, np.load(cut / "final0.npz") as got:
        assert_identical(dict(got), dict(expected))
    assert without_time(read_log(cut)) == without_time(read_log(whole))
    for folder in ("checkpoints", "best"):
        names = [sorted(p.name for p in (run / folder).iterdir()) for run in (cut, whole)]
        assert names[0] == names[1]
