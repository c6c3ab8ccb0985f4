"""VisA, KolektorSDD, KolektorSDD2, MVTec LOCO and MPDD, as miniatures in their own layouts."""

import numpy as np
import pytest
from PIL import Image

from jaxflow.data.image import decode_image
from jaxflow.data.sets import kolektor_sdd, mpdd, mvtec_loco, visa


def write(path, shape=(12, 10, 3), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def make_mask(i, shape=(12, 10)):
    mask = np.zeros(shape, np.bool_)
    mask[i : i + 3, 4:9] = True
    return mask


def write_mask(path, mask, value=255):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask * np.uint8(value)).save(path)
    return path


def write_layout(folder, defects=("bad",), suffix="png", mask_name="{}_mask.png"):
    """Write MVTec AD's layout: 4 normal images, a normal test image and 2 of each defect."""
    for i in range(4):
        write(folder / "train/good" / f"{i:03d}.{suffix}", seed=i)
    write(folder / "test/good" / f"000.{suffix}", seed=10)
    for defect in defects:
        for i in range(2):
            write(folder / "test" / defect / f"{i:03d}.{suffix}", seed=20 + i)
            place = folder / "ground_truth" / defect / mask_name.format(f"{i:03d}")
            write_mask(place, make_mask(i))
    return folder


def check_images(data, root):
    """Compare every image of a data set with its file."""
    for split in (data.train, data.validation, data.test):
        for i, name in enumerate(split.names):
            np.testing.assert_array_equal(split[i].image, decode_image(root / name))


# VisA

VISA = [
    # split, label, image, value of the mask
    *[("train", "normal", f"Normal/{i:04d}.JPG", None) for i in (3, 1, 4, 0)],
    ("test", "normal", "Normal/0002.JPG", None),
    ("test", "anomaly", "Anomaly/001.JPG", 3),
    ("test", "anomaly", "Anomaly/000.JPG", 1),
]


def write_visa(root, categories=("candle", "pcb1")):
    lines = ["object,split,label,image,mask"]
    for category in categories:
        for seed, (split, label, name, value) in enumerate(VISA):
            image, mask = f"{category}/Data/Images/{name}", ""
            write(root / image, seed=seed)
            if value:
                mask = f"{category}/Data/Masks/{name[:-4]}.png"
                write_mask(root / mask, make_mask(int(name[-5])), value)
            lines.append(f"{category},{split},{label},{image},{mask}")
    (root / "split_csv").mkdir()
    (root / "split_csv/1cls.csv").write_text("\r\n".join(lines) + "\r\n")
    return root


@pytest.mark.parametrize("top", ["", "VisA"])
def test_visa_is_split_by_its_table_and_every_value_of_a_mask_is_anomalous(tmp_path, loaded, top):
    root = write_visa(tmp_path / "visa" / top)
    data = loaded(tmp_path / "visa", "visa", category="candle")
    assert data.train.names == [f"Data/Images/Normal/000{i}.JPG" for i in (0, 1, 3, 4)]
    names = [f"Data/Images/{name}" for name in ("Anomaly/000.JPG", "Anomaly/001.JPG")]
    assert data.test.names == [*names, "Data/Images/Normal/0002.JPG"]
    assert data.test.defects == ["anomaly", "anomaly", "good"]
    for i in range(2):
        np.testing.assert_array_equal(data.test[i].mask, make_mask(i))
    assert not data.test[2].mask.any()
    assert not data.notes
    check_images(data, root / "candle")


@pytest.mark.parametrize("top", ["", "1cls", "VisA_pytorch/1cls"])
def test_visa_is_read_in_the_layout_that_its_preparation_makes(tmp_path, loaded, top):
    write_layout(tmp_path / "visa" / top / "candle", suffix="JPG", mask_name="{}.png")
    data = loaded(tmp_path / "visa", "visa", category="candle")
    assert len(data.train) == 4
    assert data.test.defects == ["bad", "bad", "good"]
    np.testing.assert_array_equal(data.test[1].mask, make_mask(1))
    assert not data.notes


def test_visa_names_files_that_its_table_does_not(tmp_path, loaded):
    root = write_visa(tmp_path / "visa")
    (root / "candle/image_anno.csv").write_text("image,label,mask\n")
    path = write(root / "candle/Data/Images/Normal/0009.JPG")
    unnamed, passed = loaded(root, "visa", category="candle").notes
    assert "1 images and masks that split_csv/1cls.csv does not name are not used" in unnamed
    assert unnamed.endswith(f"the first is {path}")
    assert "1 file passed over that is no image that can be read (.csv)" in passed


def test_visa_in_another_layout_is_answered_with_its_own(tmp_path, refusal):
    assert len(visa.CATEGORIES) == 12
    root = write_visa(tmp_path / "visa")
    line = refusal(root, "visa", category="candles")
    assert "no category 'candles'; there are candle, capsules" in line
    line = refusal(root, "visa", category="fryum")
    assert "has no folder fryum; categories found there: candle, pcb1; unpack" in line
    table = root / "split_csv/1cls.csv"
    whole = table.read_text()
    for text, expected in {
        "image,label,mask\n": "has the columns image,label,mask, expected object,split,label",
        "": "has the columns , expected object",
        whole.replace("train,normal", "train,anomaly"): "row 2 of",
        whole + "candle,test\n": "row 16 of",
    }.items():
        table.write_text(text)
        line = refusal(root, "visa", category="candle")
        assert f"{table}" in line
        assert expected in line
    table.write_bytes(bytes(range(256)))
    assert "has the columns" in refusal(root, "visa", category="candle")
    table.unlink()
    assert f"no file {table}; unpack" in refusal(root, "visa", category="candle")


def test_visa_counts_files_of_its_table_that_are_missing(tmp_path, refusal):
    root = write_visa(tmp_path / "visa")
    for name in ("Images/Normal/0003.JPG", "Masks/Anomaly/001.png"):
        (root / "candle/Data" / name).unlink()
    line = refusal(root, "visa", category="candle")
    assert "2 of 9 images and masks that" in line
    assert f"the first is {root / 'candle/Data/Images/Normal/0003.JPG'}" in line


def test_visa_reads_no_file_outside_the_folder_of_its_category(tmp_path, refusal):
    root = write_visa(tmp_path / "visa")
    table = root / "split_csv/1cls.csv"
    path = write(tmp_path / "elsewhere.JPG")
    table.write_text(table.read_text() + "candle,train,normal,../elsewhere.JPG,\r\n")
    assert "1 of 10 images and masks" in refusal(root, "visa", category="candle")
    assert path.exists()


# KolektorSDD


def write_kolektor_sdd(root, items=3, parts=2, cracked=("kos01/Part1", "kos03/Part0")):
    for item in range(1, items + 1):
        for part in range(parts):
            name = f"kos{item:02d}/Part{part}"
            write(root / f"{name}.jpg", (12, 10), seed=10 * item + part)
            write_mask(root / f"{name}_label.bmp", make_mask(item) & (name in cracked))
    return root


@pytest.mark.parametrize("top", ["", "KolektorSDD"])
def test_kolektor_sdd_trains_on_whole_items_and_tests_on_every_crack(tmp_path, loaded, top):
    root = write_kolektor_sdd(tmp_path / "set" / top)
    data = loaded(tmp_path / "set", "kolektor_sdd")
    assert data.category == kolektor_sdd.CATEGORY
    assert data.train.names == ["kos01/Part0.jpg", "kos02/Part0.jpg", "kos02/Part1.jpg"]
    assert data.test.names == ["kos01/Part1.jpg", "kos03/Part0.jpg", "kos03/Part1.jpg"]
    assert data.test.defects == ["crack", "crack", "good"]
    for i, item in enumerate((1, 3)):
        np.testing.assert_array_equal(data.test[i].mask, make_mask(item))
    assert not data.notes
    check_images(data, root)


def test_kolektor_sdd_divides_50_items_at_33(tmp_path, loaded):
    root = write_kolektor_sdd(tmp_path / "set", items=50, parts=1, cracked=())
    data = loaded(root, "kolektor_sdd")
    assert (data.train.names[-1], data.test.names[0]) == ("kos33/Part0.jpg", "kos34/Part0.jpg")
    assert (len(data.train), len(data.test)) == (33, 17)


def test_kolektor_sdd_is_read_in_the_layout_of_mvtec_ad(tmp_path, loaded):
    root = write_layout(tmp_path / "set", ["defect"])
    data = loaded(root, "kolektor_sdd", category="commutator")
    assert (len(data.train), data.test.defects) == (4, ["defect", "defect", "good"])
    np.testing.assert_array_equal(data.test[1].mask, make_mask(1))


def test_kolektor_sdd_names_what_it_does_not_read(tmp_path, loaded):
    root = write_kolektor_sdd(tmp_path / "set")
    lost = write_mask(root / "kos02/Part7_label.bmp", make_mask(0))
    other = write(root / "boxes/0.png")
    (root / "kos02/notes.txt").write_text("x")
    mask, beside, text = loaded(root, "kolektor_sdd").notes
    assert f"1 of 7 masks in {root} belong to no image, the first is {lost}" in mask
    assert f"are not used: 1, the first is {other}" in beside
    assert "notes.txt" in text


def test_kolektor_sdd_in_another_layout_is_answered_with_its_own(tmp_path, refusal):
    write(tmp_path / "set/images/0.jpg")
    line = refusal(tmp_path / "set", "kolektor_sdd")
    assert f"kolektor_sdd: no folders kos01 to kos50 in {tmp_path / 'set'}; unpack https://" in line
    assert "no category 'tile'; there are commutator" in refusal(
        tmp_path / "set", "kolektor_sdd", category="tile"
    )
    root = write_kolektor_sdd(tmp_path / "whole")
    (root / "kos02/Part1_label.bmp").unlink()
    line = refusal(root, "kolektor_sdd")
    assert f"1 of 6 images have no mask, the first is {root / 'kos02/Part1.jpg'}; only" in line
    (root / "kos02/Part1_label.bmp").write_bytes(b"cut")
    assert "Part1_label.bmp: not an image" in refusal(root, "kolektor_sdd")
    (tmp_path / "hollow/kos01").mkdir(parents=True)
    assert "no images in" in refusal(tmp_path / "hollow", "kolektor_sdd")


def test_a_mask_that_loses_its_defect_makes_the_image_normal(tmp_path, loaded):
    root = write_kolektor_sdd(tmp_path / "set")
    before = loaded(root, "kolektor_sdd")
    write_mask(root / "kos01/Part1_label.bmp", make_mask(0) & False)
    after = loaded(root, "kolektor_sdd")
    assert len(after.train) == len(before.train) + 1
    assert after.fingerprint != before.fingerprint


# KolektorSDD2


def write_kolektor_sdd2(root, defective=(10001, 20000)):
    for split, first in (("train", 10000), ("test", 20000)):
        for i in range(first, first + 3):
            write(root / split / f"{i}.png", seed=i)
            mask = make_mask(i % 10) & (i in defective)
            write_mask(root / split / f"{i}_GT.png", mask)
    return root


@pytest.mark.parametrize("top", ["", "KolektorSDD2"])
def test_kolektor_sdd2_leaves_defective_training_images_out_and_says_so(tmp_path, loaded, top):
    root = write_kolektor_sdd2(tmp_path / "set" / top)
    data = loaded(tmp_path / "set", "kolektor_sdd2")
    assert data.train.names == ["train/10000.png", "train/10002.png"]
    assert data.test.names == ["test/20000.png", "test/20001.png", "test/20002.png"]
    assert data.test.defects == ["defect", "good", "good"]
    np.testing.assert_array_equal(data.test[0].mask, make_mask(0))
    assert data.notes == (
        f"1 defective images of train are not used, the first is {root / 'train/10001.png'}: only "
        "normal images are trained on, and test is the set's own",
    )
    check_images(data, root)


def test_kolektor_sdd2_leaves_the_copies_in_its_archive_out_and_says_so(tmp_path, loaded):
    root = write_kolektor_sdd2(tmp_path / "set", defective=(20000,))
    for name in ("10001", "10001_GT"):
        (root / f"train/{name} (copy).png").write_bytes((root / f"train/{name}.png").read_bytes())
    (root / "train/split_weakly_0.pyb").write_bytes(b"x")
    data = loaded(root, "kolektor_sdd2")
    assert data.train.names == [f"train/{i}.png" for i in (10000, 10001, 10002)]
    copies, passed = data.notes
    assert "2 files that are copies by their names are not used" in copies
    assert copies.endswith(f"the first is {root / 'train/10001 (copy).png'}")
    assert "(.pyb)" in passed


def test_kolektor_sdd2_without_defects_in_train_has_no_notes(tmp_path, loaded):
    root = write_kolektor_sdd2(tmp_path / "set", defective=(20000,))
    assert loaded(root, "kolektor_sdd2", category="surface").notes == ()


def test_kolektor_sdd2_names_what_it_does_not_read(tmp_path, loaded):
    root = write_kolektor_sdd2(tmp_path / "set", defective=(20000,))
    lost = write_mask(root / "test/29999_GT.png", make_mask(0))
    other = write(root / "more/0.png")
    mask, beside = loaded(root, "kolektor_sdd2").notes
    assert f"1 of 4 masks in {root / 'test'} belong to no image, the first is {lost}" in mask
    assert f"are not used: 1, the first is {other}" in beside


def test_kolektor_sdd2_in_another_layout_is_answered_with_its_own(tmp_path, refusal):
    root = write_layout(tmp_path / "set")
    line = refusal(root, "kolektor_sdd2")
    assert "4 of 4 images have no mask, the first is" in line
    assert "train and test hold 10000.png and its mask 10000_GT.png" in line
    write(tmp_path / "flat/10000.png")
    assert f"no images in {tmp_path / 'flat/train'}; unpack" in refusal(
        tmp_path / "flat", "kolektor_sdd2"
    )


# MVTec LOCO


def write_mvtec_loco(root, category="pushpins"):
    folder = root / category
    for split, n in (("train", 4), ("validation", 2), ("test", 1)):
        for i in range(n):
            write(folder / split / "good" / f"{i:03d}.png", seed=10 * n + i)
    for kind in ("logical_anomalies", "structural_anomalies"):
        for i in range(2):
            write(folder / "test" / kind / f"{i:03d}.png", seed=50 + i)
            # An image has a mask for each of its defects, and the value names the defect.
            for k in range(i + 1):
                place = folder / "ground_truth" / kind / f"{i:03d}" / f"{k:03d}.png"
                write_mask(place, make_mask(4 * k), 255 - 7 * k)
    return folder


@pytest.mark.parametrize("top", ["", "mvtec_loco_anomaly_detection"])
@pytest.mark.parametrize("fraction", [0, 0.5])
def test_mvtec_loco_has_its_own_validation_and_joins_the_masks_of_an_image(
    tmp_path, load, top, fraction
):
    folder = write_mvtec_loco(tmp_path / "loco" / top)
    data = load("mvtec_loco", tmp_path / "loco", category="pushpins", validation_fraction=fraction)
    assert data.train.names == [f"train/good/{i:03d}.png" for i in range(4)]
    assert data.validation.names == [f"validation/good/{i:03d}.png" for i in range(2)]
    kinds = ["logical_anomalies"] * 2 + ["structural_anomalies"] * 2
    assert data.test.defects == ["good", *kinds]
    for i in (1, 3):
        np.testing.assert_array_equal(data.test[i].mask, make_mask(0))
        np.testing.assert_array_equal(data.test[i + 1].mask, make_mask(0) | make_mask(4))
    assert not data.validation.labels.any()
    assert not data.notes
    check_images(data, folder)


@pytest.mark.parametrize("value", [1, 31, 32, 128, 240, 255])
def test_every_value_of_a_mask_of_mvtec_loco_is_anomalous(tmp_path, loaded, value):
    folder = write_mvtec_loco(tmp_path / "loco")
    write_mask(folder / "ground_truth/logical_anomalies/001/001.png", make_mask(4), value)
    data = loaded(tmp_path / "loco", "mvtec_loco", category="pushpins")
    np.testing.assert_array_equal(data.test[2].mask, make_mask(0) | make_mask(4))


def test_mvtec_loco_in_another_layout_is_refused(tmp_path, refusal):
    assert len(mvtec_loco.CATEGORIES) == 5
    write_layout(tmp_path / "loco/pushpins")
    line = refusal(tmp_path / "loco", "mvtec_loco", category="pushpins")
    assert f"{tmp_path / 'loco/pushpins/validation'}: no normal images" in line
    line = refusal(tmp_path / "loco", "mvtec_loco", category="screw_bag")
    assert "has no folder screw_bag; categories found there: pushpins; unpack" in line
    folder = write_mvtec_loco(tmp_path / "loco", "screw_bag")
    write(folder / "validation/bent/0.png")
    line = refusal(tmp_path / "loco", "mvtec_loco", category="screw_bag")
    assert "validation: holds normal images only" in line


def test_mvtec_loco_names_what_it_does_not_read(tmp_path, loaded):
    folder = write_mvtec_loco(tmp_path / "loco")
    (folder / "defects_config.json").write_text("[]")
    (folder / "validation/good/same.png").hardlink_to(folder / "train/good/000.png")
    lost = write_mask(folder / "ground_truth/logical_anomalies/009/000.png", make_mask(0))
    text = " ".join(loaded(tmp_path / "loco", "mvtec_loco", category="pushpins").notes)
    assert "(.json)" in text
    assert f"belong to no image, the first is {lost}" in text
    assert (
        "1 images of validation are also in train, the first is validation/good/same.png, the same "
        "file as train/good/000.png"
    ) in text


# MPDD


@pytest.mark.parametrize("top", ["", "MPDD"])
def test_mpdd_is_read_in_the_layout_of_mvtec_ad(tmp_path, loaded, top):
    assert len(mpdd.CATEGORIES) == 6
    folder = write_layout(tmp_path / "mpdd" / top / "bracket_black", ["hole", "scratches"])
    data = loaded(tmp_path / "mpdd", "mpdd", category="bracket_black")
    assert data.test.defects == ["good"] + ["hole"] * 2 + ["scratches"] * 2
    np.testing.assert_array_equal(data.test[2].mask, make_mask(1))
    assert not data.notes
    check_images(data, folder)


def test_mpdd_in_another_layout_is_answered_with_its_own(tmp_path, refusal):
    write(tmp_path / "mpdd/tubes/0.png")
    assert "no normal images" in refusal(tmp_path / "mpdd", "mpdd", category="tubes")
    line = refusal(tmp_path / "mpdd", "mpdd", category="connector")
    assert "has no folder connector; categories found there: tubes; unpack" in line
    assert "a category is needed; there are bracket_black" in refusal(tmp_path / "mpdd", "mpdd")


@pytest.mark.parametrize("name", ["visa", "kolektor_sdd", "kolektor_sdd2", "mvtec_loco", "mpdd"])
def test_a_folder_that_is_missing_is_answered_with_where_to_get_it(tmp_path, refusal, name):
    line = refusal(tmp_path / "gone", name)
    assert f"{name}: data_dir {tmp_path / 'gone'} does not exist; unpack " in line
