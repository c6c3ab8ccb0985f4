"""Every file of a folder is read, or named in one line."""

import os

import numpy as np
import pytest
from PIL import Image

from jaxflow.data.loading import load_dataset
from jaxflow.errors import DataWarning, InputError
from jaxflow.experiments import command_line
from jaxflow.experiments.inputs import find_images


def write(path, size=(6, 5), seed=0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def write_mask(path, column=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((6, 5), np.uint8)
    pixels[2:4, column] = 255
    Image.fromarray(pixels).save(path)
    return path


def note(data):
    """Give the one note of a data set."""
    assert len(data.notes) == 1, data.notes
    return data.notes[0]


# Where images lie


def test_a_clean_folder_has_no_notes(root, loaded):
    assert loaded(root).notes == ()


def test_images_in_subfolders_are_read_with_the_masks_of_their_place(root, loaded):
    write(root / "train/good/day2/a/0.png")
    write(root / "test/good/day2/0.png")
    write(root / "test/scratch/batch2/0.png")
    write_mask(root / "ground_truth/scratch/batch2/0_mask.png", column=4)
    data = loaded(root)
    assert "train/good/day2/a/0.png" in data.train.names
    assert data.test.names[-1] == "test/scratch/batch2/0.png"
    assert data.test.labels.sum() == 3
    assert data.test[len(data.test) - 1].mask[2, 4]
    assert not data.notes


def test_masks_without_the_subfolders_of_their_images_are_found_by_name(root, loaded):
    write(root / "test/scratch/batch2/100.png")
    write_mask(root / "ground_truth/scratch/100_mask.png", column=4)
    data = loaded(root)
    assert data.test[len(data.test) - 1].mask[2, 4]


@pytest.mark.parametrize(
    "suffix", ["webp", "jfif", "GIF", "jp2", "ppm", "pgm", "tga", "JPE", "avif", "qoi", "dib"]
)
def test_every_format_is_read(root, loaded, suffix):
    kind = {"jfif": "jpeg", "JPE": "jpeg", "pgm": "ppm"}.get(suffix)
    write(root / f"train/good/new.{suffix}", **({"format": kind} if kind else {}))
    assert f"train/good/new.{suffix}" in loaded(root).train.names


def test_files_that_are_no_images_are_counted_with_their_suffixes(root, loaded):
    for name in ("a.heic", "b.HEIC", "c", "notes.txt", "README.md", "Thumbs.db"):
        (root / "train/good" / name).write_bytes(b"x")
    line = note(loaded(root))
    assert "4 files passed over" in line
    assert "(.heic, .txt, no suffix)" in line
    assert str(root / "train/good/a.heic") in line


def test_an_eps_file_under_the_name_of_an_image_runs_no_other_program(root, refusal):
    (root / "train/good/x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    assert "x.png: not an image that can be read" in refusal(root)


def test_links_to_files_and_folders_are_followed(root, loaded, tmp_path):
    write(tmp_path / "elsewhere/deep/0.png")
    (root / "train/good/linked").symlink_to(tmp_path / "elsewhere")
    (root / "train/good/one.png").symlink_to(tmp_path / "elsewhere/deep/0.png")
    write(tmp_path / "dents/deep/0.png")
    (root / "test/dent").symlink_to(tmp_path / "dents")
    (root / "ground_truth/dent").mkdir()
    write_mask(root / "ground_truth/dent/0.png")
    data = loaded(root)
    assert data.train.names[-2:] == ["train/good/linked/deep/0.png", "train/good/one.png"]
    assert data.test.names[0] == "test/dent/deep/0.png"
    assert not data.notes


def test_a_loop_of_links_ends_and_a_link_to_nothing_is_named(root, loaded):
    (root / "train/good/again").symlink_to(root / "train/good")
    (root / "train/good/gone.png").symlink_to(root / "nowhere.png")
    (root / "test/scratch/self").symlink_to("self")
    nowhere, above = loaded(root).notes
    assert "self is a link that leads nowhere (2 such paths" in nowhere
    assert "again is a link to a folder above it" in above


def test_a_folder_reached_by_two_links_is_read_once(root, loaded, tmp_path):
    write(tmp_path / "elsewhere/0.png")
    for name in ("x", "y"):
        (root / "train/good" / name).symlink_to(tmp_path / "elsewhere")
    data = loaded(root)
    assert len(data.train) == 5
    assert "y is a link to a folder that is read already" in note(data)


@pytest.mark.parametrize("place", ["train/good", "test/scratch", "ground_truth/scratch"])
def test_a_pipe_is_named_and_a_folder_with_the_name_of_an_image_is_a_folder(root, loaded, place):
    os.mkfifo(root / place / "pipe.png")
    (root / place / "folder.png").mkdir()
    assert "pipe.png is a device or a pipe, not a file" in note(loaded(root))


def test_hidden_files_do_not_count_and_images_among_them_are_counted(root, loaded):
    for place in ("train/good", "test/scratch", "ground_truth/scratch"):
        (root / place / "._0.png").write_bytes(b"left by macOS")
        (root / place / ".DS_Store").write_bytes(b"x")
    (root / "__MACOSX").mkdir()
    (root / "__MACOSX/._0.png").write_bytes(b"x")
    assert not loaded(root).notes
    write(root / "train/good/.ipynb_checkpoints/0-checkpoint.png")
    write(root / "test/.hidden/0.png")
    data = loaded(root)
    assert len(data.train) == 4
    assert data.test.labels.sum() == 2
    assert "2 images passed over in hidden files and folders" in note(data)


@pytest.mark.parametrize("place", ["", "train", "validation/good", "masks", "test_public"])
def test_images_beside_the_folders_that_are_read_are_counted(root, loaded, place):
    path = write(root / place / "x.png")
    assert f"are not used: 1, the first is {path}" in note(loaded(root))


def test_subfolders_of_a_folder_of_normal_images_are_named_and_not_taken_for_normal(
    tmp_path, loaded, refusal
):
    for i in range(3):
        write(tmp_path / "own" / f"{i}.png")
        write(tmp_path / "own/day2" / f"{i}.png")
    data = loaded(tmp_path / "own")
    assert len(data.train) == 3
    assert "3 images in subfolders" in note(data)
    assert "day2/0.png" in note(data)
    for i in range(3):
        (tmp_path / "own" / f"{i}.png").unlink()
    assert "its folder day2 holds images" in refusal(tmp_path / "own")


# Pixels


def test_few_bits_in_16_are_named(root, loaded):
    for i in range(4):
        pixels = np.linspace(0, 4095, 30).astype(np.uint16).reshape(6, 5)
        Image.fromarray(pixels).save(root / f"train/good/{i}.png")
    assert "4 images have 16 bits a channel and use 12 of them" in note(loaded(root))
    Image.fromarray(pixels * 16).save(root / "train/good/3.png")
    assert not loaded(root).notes


def test_frames_that_are_left_out_are_named(root, loaded):
    frames = [Image.new("RGB", (5, 6), color) for color in ("red", "blue")]
    frames[0].save(root / "train/good/0.gif", save_all=True, append_images=frames[1:])
    frames[0].save(root / "train/good/0.tif", save_all=True, append_images=frames[1:])
    pages = [Image.new("L", (5, 6), value) for value in (255, 0)]
    (root / "ground_truth/scratch/0_mask.png").unlink()
    path = root / "ground_truth/scratch/0_mask.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    assert "of 3 files with several frames or pages only the first is read" in note(loaded(root))


# Changed files


def test_a_file_replaced_by_one_of_the_same_size_and_time_is_read_again(root, loaded):
    path = root / "train/good/0.bmp"
    Image.new("RGB", (5, 6), "red").save(path)
    status = path.stat()
    before = loaded(root)
    Image.new("RGB", (5, 6), "blue").save(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    after = loaded(root)
    assert after.fingerprint != before.fingerprint
    np.testing.assert_array_equal(after.train[0].image[0, 0], [0, 0, 255])


# Other layouts


def test_magnetic_tile_names_what_it_does_not_read(tmp_path, loaded):
    root = tmp_path / "tile"
    for kind in ("Free", "Blowhole", "Break", "Crack", "Fray", "Uneven"):
        for name in ("a.jpg", "sub/b.JPG"):
            write(root / f"MT_{kind}/Imgs" / name, format="jpeg")
            write_mask((root / f"MT_{kind}/Imgs" / name).with_suffix(".png"))
        (root / f"MT_{kind}/Imgs/._a.jpg").write_bytes(b"left by macOS")
    data = loaded(root, "magnetic_tile")
    assert len(data.train) + len(data.test) == 12
    assert data.has_masks
    assert not data.notes
    write_mask(root / "MT_Fray/Imgs/lost.png")
    write(root / "MT_Fray/Imgs/c.bmp")
    write(root / "MT_Scratch/Imgs/d.jpg")
    text = " ".join(loaded(root, "magnetic_tile").notes)
    assert "1 of 11 masks in" in text
    assert "MT_Fray/Imgs/lost.png; a mask is named as its image" in text
    assert "are not used: 2, the first is" in text


def test_btad_names_what_it_does_not_read(tmp_path, loaded):
    root = tmp_path / "btad"
    for place in ("train/ok", "test/ok", "test/ko"):
        write(root / "01" / place / "sub/0.webp")
    write_mask(root / "01/ground_truth/ko/sub/0.gif")
    data = loaded(root, "btad", category="01")
    assert data.has_masks
    assert not data.notes
    write_mask(root / "01/ground_truth/ko/9.png")
    write(root / "01/test/kaputt/0.png")
    text = " ".join(loaded(root, "btad", category="01").notes)
    assert "1 of 2 masks in" in text
    assert "are not used: 1, the first is" in text


def test_shanghaitech_names_what_it_does_not_read(tmp_path, loaded):
    root = tmp_path / "campus"
    write(root / "training/frames/13_001/0.jpg")
    write(root / "training/frames/13_001/more/1.jpg")
    (root / "testing/test_frame_mask").mkdir(parents=True)
    np.save(root / "testing/test_frame_mask/13_0001.npy", np.zeros(3))
    text = " ".join(loaded(root, "shanghaitech", category="13").notes)
    assert "are not used: 1, the first is" in text
    assert "1 masks belong to no video" in text


# Predict


def test_predict_lists_images_as_training_does(tmp_path, capsys):
    root, output = tmp_path / "in", tmp_path / "in/out"
    for name in ("a.png", "sub/b.webp", ".thumbnails/c.png", "out/d.png", "elsewhere.png"):
        write(root / name)
    (root / "loop").symlink_to(root)
    (root / "notes.txt").write_text("x")
    found = [path.relative_to(root).as_posix() for path in find_images([str(root)], output)]
    assert found == ["a.png", "elsewhere.png", "sub/b.webp"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("jaxflow: WARNING: ") for line in lines)
    assert "notes.txt" in lines[0]


def test_predict_refuses_a_pipe_without_opening_it(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", "/dev/zero"):
        with pytest.raises(InputError, match="a device or a pipe, not an image file"):
            find_images([str(path)], tmp_path / "out")


# Notes


def test_a_note_is_warned_of_and_a_command_prints_it_as_one_line_of_its_own(root, tmp_path, capsys):
    (root / "train/good/notes.txt").write_text("x")
    arguments = {"data_dir": str(root), "cache_dir": str(tmp_path / "cache")}
    with pytest.warns(DataWarning, match=r"folder \(set\): 1 file passed over") as caught:
        load_dataset("folder", **arguments)
    assert len(caught) == 1

    def main(values):
        for _ in range(2):
            load_dataset("folder", **arguments)
        return 0

    assert command_line.command(lambda values: None, None)(main)(["load"]) == 0
    err = capsys.readouterr().err
    assert err.startswith("jaxflow: WARNING: folder (set): 1 file passed over")
    assert err.count("\n") == 1
