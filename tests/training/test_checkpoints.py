import pathlib
import shutil
import threading

import jax
import numpy as np
import pytest

from jaxflow.errors import InputError, RunStopped
from jaxflow.training import Checkpoints


def make_state(seed=0):
    noise = np.random.default_rng(seed)
    kernel = noise.standard_normal((5, 4)).astype(np.float32)
    return {"kernel": kernel, "index": noise.permutation(7).astype(np.int32), "step": np.int32(1)}


def write(folder, steps, keep=2):
    checkpoints = Checkpoints(folder, keep)
    for step in steps:
        checkpoints.save(step, make_state(step), {"data": {"next_index": step}})
    checkpoints.close()


def read(folder, template=None):
    checkpoints = Checkpoints(folder, read_only=True)
    lines = []
    try:
        template = make_state() if template is None else template
        return checkpoints.restore_latest(template, lines.append), lines
    finally:
        checkpoints.close()


def content(folder):
    """List the files of a checkpoint whose bytes matter."""
    return sorted(
        p for part in ("state", "info") for p in (folder / part).rglob("*") if p.is_file()
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    write(folder, (1, 2))
    return folder


def test_what_is_saved_is_restored(written):
    found, lines = read(written)
    assert (found.step, found.info, lines) == (2, {"data": {"next_index": 2}}, [])
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a, b, strict=True), found.state, make_state(2)
    )


def test_what_changes_while_it_is_written_is_saved_as_it_was(tmp_path):
    checkpoints, state, info = Checkpoints(tmp_path), make_state(), {"losses": [0.5]}
    checkpoints.save(1, state, info)
    info["losses"] += [1.5]
    checkpoints.close()
    assert read(tmp_path)[0].info == {"losses": [0.5]}


def test_empty_folder_has_no_checkpoint(tmp_path):
    assert read(tmp_path) == (None, [])


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [cut, flip, pathlib.Path.unlink])
def test_damage_to_any_file_is_noticed(written, tmp_path, damage):
    files = [path.relative_to(written) for path in content(written / "2")]
    assert len(files) > 5
    for i, file in enumerate([*files, pathlib.Path("2", "SHA256SUMS")]):
        folder = tmp_path / str(i)
        shutil.copytree(written, folder)
        damage(folder / file)
        found, lines = read(folder)
        assert found.step == 1, file
        assert len(lines) == 1
        assert lines[0].startswith(f"checkpoint {folder / '2'} is damaged: ")
        assert lines[0].endswith("going back to the one before")


def test_checkpoints_all_damaged_are_an_error_of_one_line(written, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(written, folder)
    for step in "12":
        cut(content(folder / step)[-1])
    with pytest.raises(InputError, match="none of the 2 checkpoints there can be used") as caught:
        read(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"kernel": np.zeros((5, 3), np.float32)},
            r"expected float32\[5, 3\] at .* float32\[5, 4\]",
        ),
        (
            {"kernel": np.zeros((5, 4), np.float64)},
            r"expected float64\[5, 4\] at .* float32\[5, 4\]",
        ),
        ({"extra": np.zeros(2, np.int32)}, r"expected int32\[2\] at \['extra'\], got nothing"),
    ],
)
def test_other_shapes_and_dtypes_are_refused(written, change, message):
    with pytest.raises(InputError, match=message) as caught:
        read(written, make_state() | change)
    assert "\n" not in str(caught.value)


def test_save_that_was_cut_is_ignored_and_cleaned_up(written, tmp_path):
    folder = tmp_path / "cut"
    shutil.copytree(written, folder)
    shutil.copytree(folder / "2", folder / "3.orbax-checkpoint-tmp")
    found, lines = read(folder)
    assert (found.step, lines) == (2, [])
    assert (folder / "3.orbax-checkpoint-tmp").exists()
    write(folder, (3,))
    assert sorted(path.name for path in folder.iterdir()) == ["2", "3"]
    assert read(folder)[0].step == 3


def test_a_reader_leaves_a_save_under_way_alone(written, tmp_path):
    folder = tmp_path / "under_way"
    shutil.copytree(written, folder)
    (folder / "3.orbax-checkpoint-tmp").mkdir()
    before = sorted(folder.rglob("*"))
    read(folder)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(("keep", "expected"), [(2, [3, 4]), (1, [4]), (None, [1, 2, 3, 4])])
def test_the_latest_are_kept(tmp_path, keep, expected):
    write(tmp_path, (1, 2, 3, 4), keep)
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == expected


def test_an_earlier_step_replaces_those_from_it_on(tmp_path):
    write(tmp_path, (1, 2, 3), keep=None)
    write(tmp_path, (2,), keep=None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


def test_best_survives_worse_epochs(tiny, kept, tmp_path):
    losses = iter([3.0, 1.0, 2.0, 1.5])
    trainer = tiny.make_trainer(kept, tmp_path, epochs=4, validate=lambda state: next(losses))
    trainer.run(kept.state)
    best, _ = read(tmp_path / "best", kept.state)
    last, _ = read(tmp_path / "checkpoints", kept.state)
    assert (best.step, best.info["validation_nll"]) == (4, 1.0)
    assert (last.step, last.info["validation_nll"]) == (8, 1.5)
    assert last.info["best_validation_nll"] == 1.0


def poisoned(kept, bad_step, where):
    """Make one step give a loss or parameters that are not finite."""
    count = 0

    def step(*arguments):
        nonlocal count
        count += 1
        state, loss = kept.train_step(*arguments)
        if count == bad_step and where == "loss":
            return state, loss * np.nan
        if count == bad_step:
            return state.replace(params=jax.tree.map(lambda x: x * np.inf, state.params)), loss
        return state, loss

    return step


@pytest.mark.parametrize(
    ("bad_step", "where", "message"),
    [
        (1, "loss", "the loss is nan at step 1; no checkpoint yet"),
        (5, "loss", "the loss is nan at step 5; the checkpoint of step 4 is kept"),
        (4, "params", "after step 4; the checkpoint of step 2 is kept"),
    ],
)
@pytest.mark.parametrize("held_out", [True, False])
def test_run_stops_where_numbers_are_not_finite(
    tiny, kept, tmp_path, bad_step, where, message, held_out
):
    changes = {} if held_out else {"validate": None}
    step = poisoned(kept, bad_step, where)
    with pytest.raises(RunStopped, match=message) as caught:
        tiny.make_trainer(kept, tmp_path, train_step=step, **changes).run(kept.state)
    assert caught.value.exit_code == 1
    if found := read(tmp_path / "checkpoints", kept.state)[0]:
        assert f"step {found.step} is kept" in str(caught.value)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found.state.params))
    log = tmp_path / "metrics.jsonl"
    assert not log.exists() or "NaN" not in log.read_text()


def test_no_thread_outlives_a_run(tiny, kept, tmp_path):
    before = set(threading.enumerate())
    tiny.make_trainer(kept, tmp_path).run(kept.state)
    assert set(threading.enumerate()) <= before
