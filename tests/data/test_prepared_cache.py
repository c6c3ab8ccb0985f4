import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxflow.data.builder import AnomalyBuilder, default_cache_dir
from jaxflow.data.loading import DATASETS, load_dataset
from jaxflow.data.pipeline import read_images
from jaxflow.errors import InputError
from jaxflow.files import locked


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for i in range(4):
        write(tmp_path / "images" / f"{i}.bmp", i)
    return tmp_path / "images"


def write(path, value):
    # All files have one size, so that only their times tell them apart.
    Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(path)


def values(folder, cache):
    data = load_dataset("folder", data_dir=str(folder), cache_dir=str(cache), validation_fraction=0)
    return [int(data.train[i].image[0, 0, 0]) for i in range(len(data.train))], data.fingerprint


@pytest.fixture
def preparations(monkeypatch):
    """Count how often data are prepared."""
    count = []
    prepare = AnomalyBuilder.download_and_prepare
    monkeypatch.setattr(
        AnomalyBuilder,
        "download_and_prepare",
        lambda self, **arguments: (count.append(1), prepare(self, **arguments)),
    )
    return count


def test_second_load_reads_what_the_first_prepared(folder, tmp_path, preparations):
    first = values(folder, tmp_path / "cache")
    assert values(folder, tmp_path / "cache") == first
    assert first[0] == [0, 1, 2, 3]
    assert len(preparations) == 1


def test_another_data_set_of_the_same_files_has_its_own(folder, tmp_path, monkeypatch):
    class Mine(DATASETS["folder"]):
        """The same files by another name."""

        name = "mine"

    monkeypatch.setitem(DATASETS, "mine", Mine)
    options = {"data_dir": str(folder), "cache_dir": str(tmp_path), "validation_fraction": 0}
    first, second = (load_dataset(name, **options) for name in ("folder", "mine"))
    assert first.fingerprint == second.fingerprint
    assert len(first.train) == len(second.train) == 4


def test_changed_file_of_the_same_size_is_read_anew(folder, tmp_path):
    _, before = values(folder, tmp_path / "cache")
    write(folder / "2.bmp", 77)
    os.utime(folder / "2.bmp", ns=(10**18, 10**18))
    found, after = values(folder, tmp_path / "cache")
    assert found == [0, 1, 77, 3]
    assert after != before


def test_added_and_removed_files_are_noticed(folder, tmp_path):
    values(folder, tmp_path / "cache")
    write(folder / "4.bmp", 4)
    (folder / "0.bmp").unlink()
    assert values(folder, tmp_path / "cache")[0] == [1, 2, 3, 4]


def test_other_folder_with_equal_names_sizes_and_times_is_not_confused(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for i in range(4):
        write(other / f"{i}.bmp", 100 + i)
        for path in (folder / f"{i}.bmp", other / f"{i}.bmp"):
            os.utime(path, ns=(10**18, 10**18))
    assert values(folder, tmp_path / "cache")[0] == [0, 1, 2, 3]
    assert values(other, tmp_path / "cache")[0] == [100, 101, 102, 103]


def test_fingerprint_is_of_contents_and_not_of_places_or_times(folder, tmp_path):
    _, before = values(folder, tmp_path / "cache")
    moved = folder.rename(tmp_path / "moved")
    os.utime(moved / "0.bmp", ns=(10**18, 10**18))
    assert values(moved, tmp_path / "elsewhere")[1] == before


def test_interrupted_preparation_is_not_read(folder, tmp_path, monkeypatch):
    generate = AnomalyBuilder._generate_examples

    def interrupted(self, records):
        for key, example in generate(self, records):
            if key == 2:
                raise KeyboardInterrupt
            yield key, example

    with monkeypatch.context() as patch:
        patch.setattr(AnomalyBuilder, "_generate_examples", interrupted)
        with pytest.raises(KeyboardInterrupt):
            values(folder, tmp_path / "cache")
    assert values(folder, tmp_path / "cache")[0] == [0, 1, 2, 3]


def test_killed_preparation_is_not_read(folder, tmp_path):
    # kill -9 runs no clean-up: the temporary folder stays, with whatever was written.
    program = (
        "import os, sys\n"
        "from jaxflow.data.loading import DATASETS, load_dataset\n"
        "from jaxflow.data.builder import AnomalyBuilder\n"
        "def killed(self, records):\n"
        "    for i in range(2):\n"
        "        yield i, dict(image=b'x', mask=b'', label=0, defect='good', name='x')\n"
        "    os.kill(os.getpid(), 9)\n"
        "AnomalyBuilder._generate_examples = killed\n"
        "load_dataset('folder', data_dir=sys.argv[1], cache_dir=sys.argv[2])\n"
    )
    cache = tmp_path / "cache"
    done = subprocess.run([sys.executable, "-c", program, str(folder), str(cache)], check=False)
    assert done.returncode == -9
    assert list(cache.rglob("*incomplete*"))
    assert values(folder, cache)[0] == [0, 1, 2, 3]
    assert not list(cache.rglob("*incomplete*"))  # The next preparation removes it.


def test_a_preparation_that_goes_on_is_not_removed_by_another(folder, tmp_path):
    unfinished = tmp_path / "cache/jaxflow/incomplete.other"
    unfinished.mkdir(parents=True)
    with locked(unfinished, "a preparation"):
        values(folder, tmp_path / "cache")
        assert unfinished.is_dir()


def test_two_processes_may_prepare_the_same_data_at_once(folder, tmp_path, monkeypatch):
    generate = AnomalyBuilder._generate_examples
    others = []

    def overtaken(self, records):
        monkeypatch.setattr(AnomalyBuilder, "_generate_examples", generate)
        others.append(values(folder, tmp_path / "cache"))
        yield from generate(self, records)

    monkeypatch.setattr(AnomalyBuilder, "_generate_examples", overtaken)
    assert values(folder, tmp_path / "cache") == others[0]
    assert len(others) == 1


def test_preparation_is_silent_and_uses_no_network(folder, tmp_path, monkeypatch, capfd):
    def refuse(*arguments, **options):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    values(folder, tmp_path / "cache")
    assert capfd.readouterr() == ("", "")


def test_tensorflow_is_not_imported(folder, tmp_path):
    values(folder, tmp_path / "cache")
    assert "tensorflow" not in sys.modules


def test_cache_lies_where_tensorflow_datasets_keeps_data(monkeypatch, tmp_path, folder):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "chosen"))
    assert default_cache_dir() == tmp_path / "chosen"
    load_dataset("folder", data_dir=str(folder))
    assert list((tmp_path / "chosen").rglob("*.array_record*"))
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "tensorflow_datasets"


def test_cache_that_cannot_be_written_is_named(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another cache_dir"):
        values(folder, tmp_path / "file")


def test_our_builders_stay_out_of_the_registry():
    assert not set(tfds.core.registered._DATASET_REGISTRY) & {"folder", "textures", "anomaly"}


def prepared_file(cache, pattern):
    (path,) = cache.rglob(pattern)
    return path


@pytest.mark.parametrize("part", [0.0, 0.5, 0.99])
def test_prepared_records_cut_short_name_the_folder_to_delete(folder, tmp_path, part):
    cache = tmp_path / "cache"
    before = values(folder, cache)
    records = prepared_file(cache, "*.array_record*")
    records.write_bytes(records.read_bytes()[: int(part * records.stat().st_size)])
    with pytest.raises(InputError) as caught:
        values(folder, cache)
    (named,) = (cache / "jaxflow").iterdir()
    assert str(caught.value).startswith(f"{named}: prepared data are damaged")
    assert "delete this folder" in str(caught.value)
    assert "\n" not in str(caught.value)
    # What the message advises helps.
    shutil.rmtree(named)
    assert values(folder, cache) == before


def test_prepared_records_changed_or_gone_are_noticed_by_the_threads_that_read_them(
    folder, tmp_path
):
    cache = tmp_path / "cache"
    values(folder, cache)
    data = load_dataset("folder", data_dir=str(folder), cache_dir=str(cache))
    records = prepared_file(cache, "*.array_record*")
    contents = bytearray(records.read_bytes())
    contents[100] ^= 255
    records.write_bytes(contents)
    with pytest.raises(InputError, match="prepared data are damaged"):
        read_images(data.train, (4, 4))
    records.unlink()
    with pytest.raises(InputError, match="prepared data are damaged"):
        values(folder, cache)


def test_no_flipped_bit_of_prepared_data_is_read(folder, tmp_path):
    cache = tmp_path / "cache"
    values(folder, cache)
    for path in sorted(p for p in cache.rglob("*") if p.is_file()):
        whole = path.read_bytes()
        for position in (0, len(whole) // 3, len(whole) - 2):
            changed = bytearray(whole)
            changed[position] ^= 4
            path.write_bytes(changed)
            with pytest.raises(InputError, match="prepared data are damaged"):
                values(folder, cache)
        path.write_bytes(whole)


@pytest.mark.parametrize("name", ["dataset_info.json", "metadata.json"])
@pytest.mark.parametrize("contents", [b"", b'{"fing', b"\xff\xfe", None])
def test_damaged_description_names_the_folder_to_delete(folder, tmp_path, name, contents):
    cache = tmp_path / "cache"
    before = values(folder, cache)
    path = prepared_file(cache, name)
    path.unlink()
    if contents is not None:
        path.write_bytes(contents)
    with pytest.raises(InputError, match="prepared data are damaged") as caught:
        values(folder, cache)
    assert "\n" not in str(caught.value)
    named = Path(str(caught.value).split(": ")[0])
    assert named in path.parents
    shutil.rmtree(named)
    assert values(folder, cache) == before
