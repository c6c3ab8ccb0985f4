"""Files that appear whole or not at all, sealed JSON, and locked folders."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from jaxflow import files
from jaxflow.errors import InputError
from jaxflow.files import (
    check_outputs,
    explain,
    is_held,
    locked,
    read_sealed_json,
    remove_parts,
    replacing,
    write_atomically,
    write_json,
    write_sealed_json,
)


def test_json_holds_plain_numbers_and_refuses_nan_by_name(tmp_path):
    path = tmp_path / "metrics.json"
    payload = {"last": {"nll": {"image_auroc": np.float32(0.5), "counts": np.arange(2)}}, "x": None}
    write_json(path, payload)
    expected = {"last": {"nll": {"image_auroc": 0.5, "counts": [0, 1]}}, "x": None}
    assert json.loads(path.read_text()) == expected
    for bad in (float("nan"), np.float32("inf"), [1.0, np.nan]):
        with pytest.raises(InputError, match=r"metrics\.last\.a.*has no place in JSON"):
            write_json(path, {"last": {"a": bad}})
    with pytest.raises(InputError, match=r"metrics\.a: set has no form in JSON"):
        write_json(path, {"a": set()})
    assert json.loads(path.read_text()) == expected


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = write_json(tmp_path / "metrics.json", {"a": 1})
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "no space")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(OSError, match="no space") as caught:
        write_json(path, {"a": 2})
    assert caught.value.filename == str(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_and_the_file_behind_it_kept(tmp_path):
    (tmp_path / "original").write_text("mine")
    (tmp_path / "link").symlink_to("original")
    os.link(tmp_path / "original", tmp_path / "hard")
    for name in ("link", "hard"):
        write_atomically(tmp_path / name, "ours")
        assert (tmp_path / name).read_text() == "ours"
    assert (tmp_path / "original").read_text() == "mine"


def test_a_name_of_255_bytes_can_be_written(tmp_path):
    path = write_atomically(tmp_path / ("n" * 255), "x")
    assert path.read_text() == "x"


def test_sealed_json_gives_back_what_was_written(tmp_path):
    payload = {"a": [1, 2.5, None], "name": "gr\udcfc\u00df", "size": (3, 4)}
    path = write_sealed_json(tmp_path / "run.json", payload)
    assert read_sealed_json(path) == {**payload, "size": [3, 4]}


def test_no_flipped_bit_of_sealed_json_changes_what_is_read(tmp_path):
    payload = {"clamp": 2.0, "names": ["good", "bad"], "steps": 8}
    path = write_sealed_json(tmp_path / "run.json", payload)
    whole, refused = path.read_bytes(), 0
    for position in range(len(whole)):
        for bit in (1, 2, 8, 32, 128):
            changed = bytearray(whole)
            changed[position] ^= bit
            path.write_bytes(bytes(changed))
            try:
                found = read_sealed_json(path)
            except InputError:
                refused += 1
            else:
                assert found == payload
    assert refused > 4 * len(whole)


@pytest.mark.parametrize("content", [b"", b"[]", b"3", b"\xff\xfe", b"{", b"[" * 10**5])
def test_what_is_no_sealed_json_is_named(tmp_path, content):
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(InputError, match="is damaged"):
        read_sealed_json(tmp_path / "run.json")


def test_a_missing_sealed_file_and_a_folder_in_its_place_are_named(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(InputError, match=str(path)):
            read_sealed_json(path)


def test_a_locked_folder_refuses_the_second_and_names_the_first(tmp_path):
    with locked(tmp_path, "a training"):
        assert is_held(tmp_path)
        with (
            pytest.raises(InputError, match=f"in use by a training .process {os.getpid()}."),
            locked(tmp_path, "a training"),
        ):
            pass
    assert not is_held(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path, "a training"):
        pass


def test_a_lock_that_a_killed_process_left_is_taken(tmp_path):
    program = (
        "import os, pathlib, sys\n"
        "from jaxflow.files import locked\n"
        "with locked(pathlib.Path(sys.argv[1]), 'a training'):\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert done.returncode == -9
    assert (tmp_path / ".lock").exists()
    with locked(tmp_path, "a training"):
        pass
    assert not (tmp_path / ".lock").exists()


def test_parts_that_a_killed_process_left_are_removed_and_nothing_else(tmp_path):
    for name in (".jaxflow.abc.part", "mine.part", ".jaxflow.txt"):
        (tmp_path / name).touch()
    remove_parts(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"mine.part", ".jaxflow.txt"}


def test_an_input_is_never_an_output_whatever_it_is_called(tmp_path, monkeypatch):
    original = write_atomically(tmp_path / "a.png", "mine")
    (tmp_path / "soft").symlink_to("a.png")
    os.link(original, tmp_path / "hard")
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "soft", "hard", "../" + tmp_path.name + "/a.png"):
        with pytest.raises(InputError, match=r"--output: .* would overwrite the input .*a\.png"):
            check_outputs("output", [files.Path("new"), files.Path(name)], [original])


def test_a_file_that_is_not_ours_is_no_output(tmp_path):
    write_atomically(tmp_path / "mine.csv", "name,price\n")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    for name in ("mine.csv", "dangling", "folder", "fifo"):
        with pytest.raises(InputError, match=f"--output: .*{name}"):
            check_outputs("output", [tmp_path / name])


@pytest.mark.parametrize("mark", files.OUR_MARKS)
def test_a_file_of_ours_is_replaced(tmp_path, mark):
    check_outputs("output", [write_atomically(tmp_path / "ours", b"x" + mark), tmp_path / "new"])


def test_what_the_system_refuses_is_one_line_with_advice():
    error = OSError(28, "No space left on device", "/full/file")
    assert explain(error) == ("/full/file: No space left on device; make room")
    assert explain(OSError("odd")) == "odd"


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "evaluation"
    for name, content in (("a", "old"), ("pictures/0", "old"), ("pictures/mine", "mine")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    (folder / ".jaxflow.new.part").mkdir()  # Left by a killed process.
    before = {path: path.read_text() for path in folder.rglob("*") if path.is_file()}

    def write(stop):
        with replacing(folder, "another evaluation") as new:
            (new / "pictures").mkdir()
            (new / "a").write_text("new")
            if stop:
                raise OSError(28, "no space")
            (new / "pictures/0").write_text("new")

    with pytest.raises(OSError, match="no space"):
        write(stop=True)
    assert {path: path.read_text() for path in folder.rglob("*") if path.is_file()} == before
    write(stop=False)
    found = {path.relative_to(folder).as_posix(): path.read_text() for path in before}
    assert found == {"a": "new", "pictures/0": "new", "pictures/mine": "mine"}
    assert sorted(path.name for path in folder.iterdir()) == ["a", "pictures"]


def test_a_second_writer_of_a_folder_is_refused(tmp_path):
    with (
        locked(tmp_path, "another evaluation"),
        pytest.raises(InputError, match="in use by another evaluation"),
        replacing(tmp_path, "another evaluation"),
    ):
        pass
