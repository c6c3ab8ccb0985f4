import random

import numpy as np
import pytest
from PIL import Image

from jaxflow.data.loading import DATASETS
from jaxflow.data.sets.mvtec import CATEGORIES, MvtecAd
from jaxflow.errors import DataWarning


def write(path, shape=(12, 10, 3), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def write_mask(path, shape=(12, 10)):
    mask = np.zeros(shape, np.bool_)
    mask[3:6, 4:9] = True
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask * np.uint8(255)).save(path)
    return mask


def write_layout(folder, mask_name="{}_mask.png", suffix="png"):
    for i in range(10):
        write(folder / "train" / "good" / f"{i:03d}.{suffix}", seed=i)
    for i in range(3):
        write(folder / "test" / "good" / f"{i:03d}.{suffix}", seed=20 + i)
        for defect in ("broken", "cut"):
            write(folder / "test" / defect / f"{i:03d}.{suffix}", seed=30 + i)
            write_mask(folder / "ground_truth" / defect / mask_name.format(f"{i:03d}"))
    return folder


@pytest.mark.parametrize("mask_name", ["{}_mask.png", "{}.png", "{}.bmp"])
def test_layout_gives_every_image_once_with_its_mask(tmp_path, load, mask_name):
    data = load("folder", write_layout(tmp_path / "mine", mask_name))
    assert (len(data.train), len(data.validation), len(data.test)) == (9, 1, 9)
    assert data.category == "mine"
    assert data.has_masks
    assert data.unavailable_metrics == ()
    assert data.explain_unavailable() is None
    names = [f"test/{d}/{i:03d}.png" for d in ("broken", "cut", "good") for i in range(3)]
    assert data.test.names == names
    assert data.test.defects == ["broken"] * 3 + ["cut"] * 3 + ["good"] * 3
    np.testing.assert_array_equal(data.test.labels, [1] * 6 + [0] * 3)
    assert data.test.labels.dtype == np.int32
    for i in range(9):
        example = data.test[i]
        assert (example.name, example.defect) == (names[i], data.test.defects[i])
        assert example.label == data.test.labels[i]
        expected = write_mask(tmp_path / "reference.png") & bool(example.label)
        np.testing.assert_array_equal(example.mask, expected)
        image = np.asarray(Image.open(tmp_path / "mine" / example.name))
        np.testing.assert_array_equal(example.image, image)


def test_train_and_validation_are_disjoint_complete_normal_and_seeded(tmp_path, load):
    folder = write_layout(tmp_path / "mine")

    def names(seed):
        data = load("folder", folder, validation_fraction=0.3, seed=seed)
        assert not data.train.labels.any()
        assert not data.validation.labels.any()
        return data.train.names, data.validation.names

    train, validation = names(seed=0)
    assert len(validation) == 3
    assert sorted(train + validation) == [f"train/good/{i:03d}.png" for i in range(10)]
    assert names(seed=0) == (train, validation)
    assert any(names(seed=seed)[1] != validation for seed in (1, 2, 3))


def test_validation_of_zero_is_empty_and_any_other_holds_at_least_one(tmp_path, load, line):
    folder = write_layout(tmp_path / "mine")
    data = load("folder", folder, validation_fraction=0)
    assert (len(data.train), len(data.validation)) == (10, 0)
    assert data.validation.names == []
    assert len(load("folder", folder, validation_fraction=0.001).validation) == 1
    assert "leaves none to train on" in line("folder", folder, validation_fraction=0.99)
    assert "must be in [0, 1), got 1.0" in line("folder", folder, validation_fraction=1.0)


def test_subset_follows_the_indices(tmp_path, load):
    test = load("folder", write_layout(tmp_path / "mine")).test
    chosen = test.subset([7, 1]).subset([1, 0])
    assert chosen.names == [test.names[1], test.names[7]]
    np.testing.assert_array_equal(chosen.labels, [1, 0])
    assert chosen[1].name == test.names[7]


@pytest.mark.parametrize("place", ["", "train", "train/good"])
def test_normal_images_alone_load_and_say_what_cannot_be_computed(tmp_path, load, place):
    for i in range(4):
        write(tmp_path / "own" / place / f"{i}.JPG", seed=i)
    (tmp_path / "own" / place / "notes.txt").write_text("not an image")
    (tmp_path / "own" / place / "._0.jpg").write_text("left by a file manager")
    with pytest.warns(DataWarning, match=r"1 file passed over .* \(\.txt\), the first is .*notes"):
        data = load("folder", tmp_path / "own")
    assert data.test is None
    assert len(data.train) + len(data.validation) == 4
    assert set(data.unavailable_metrics) > {"image_auroc", "pixel_auroc", "pixel_aupro"}
    assert "no test images" in data.explain_unavailable()


def test_anomalies_without_masks_leave_the_image_metrics(tmp_path, load):
    folder = write_layout(tmp_path / "mine")
    for mask in folder.glob("ground_truth/*/*"):
        mask.unlink()
    data = load("folder", folder)
    assert not data.has_masks
    assert data.test[0].mask is None
    assert not data.test[8].mask.any()
    assert data.unavailable_metrics == (
        "pixel_auroc",
        "pixel_aupro",
        "pixel_aupimo",
        "pixel_f1_max",
    )
    assert "it has no masks" in data.explain_unavailable()


def test_without_normal_test_images_the_pixel_metrics_are_left_that_need_none(tmp_path, load):
    folder = write_layout(tmp_path / "mine")
    for path in folder.glob("test/good/*"):
        path.unlink()
    data = load("folder", folder)
    assert data.unavailable_metrics == ("image_auroc", "image_f1_max", "pixel_aupimo")
    assert "none of its test images is normal" in data.explain_unavailable()


def test_missing_masks_are_counted_and_the_first_is_named(tmp_path, line):
    folder = write_layout(tmp_path / "mine")
    for name in ("broken/001_mask.png", "cut/000_mask.png"):
        (folder / "ground_truth" / name).unlink()
    message = line("folder", folder)
    assert "2 of 6 anomalous images have no mask" in message
    assert "test/broken/001.png" in message


def test_mask_of_another_size_names_both_files_and_sizes(tmp_path, line):
    folder = write_layout(tmp_path / "mine")
    write_mask(folder / "ground_truth" / "cut" / "001_mask.png", (10, 12))
    message = line("folder", folder)
    assert "cut/001_mask.png is 10 x 12" in message
    assert "cut/001.png is 12 x 10" in message


def test_bad_images_are_counted_and_the_first_is_named(tmp_path, line):
    folder = write_layout(tmp_path / "mine")
    (folder / "train/good/004.png").write_bytes(b"")
    (folder / "train/good/006.png").write_bytes(b"nonsense")
    (folder / "test/cut/000.png").write_bytes((folder / "test/cut/001.png").read_bytes()[:80])
    message = line("folder", folder)
    assert "004.png: the file is empty" in message
    assert "3 of 19 images are bad" in message


def test_missing_folders_and_normal_images_are_said(tmp_path, line):
    assert "needs data_dir" in line("folder")
    assert f"{tmp_path / 'gone'} does not exist" in line("folder", tmp_path / "gone")
    (tmp_path / "file").write_text("")
    assert "is a file, not a folder" in line("folder", tmp_path / "file")
    (tmp_path / "hollow" / "train" / "good").mkdir(parents=True)
    assert "no normal images" in line("folder", tmp_path / "hollow")
    (tmp_path / "blank").mkdir()
    assert "no normal images" in line("folder", tmp_path / "blank")


def test_images_in_places_without_meaning_are_refused(tmp_path, line):
    folder = write_layout(tmp_path / "mine")
    write(folder / "test" / "stray.png")
    assert "named by their defect" in line("folder", folder)
    (folder / "test" / "stray.png").unlink()
    write(folder / "train" / "broken" / "0.png")
    assert "found the folder broken" in line("folder", folder)


def test_folder_of_categories_asks_for_one_of_them(tmp_path, load, line):
    for category in ("nut", "bolt"):
        write_layout(tmp_path / "all" / category)
    assert "a category is needed; there are bolt, nut" in line("folder", tmp_path / "all")
    message = line("folder", tmp_path / "all", category="screw")
    assert "no category 'screw'; there are bolt, nut" in message
    assert load("folder", tmp_path / "all", category="nut").category == "nut"


def test_mvtec_ad_has_15_configs_and_reads_one(tmp_path, load):
    assert len(set(CATEGORIES)) == 15
    assert [config.name for config in MvtecAd.BUILDER_CONFIGS] == list(CATEGORIES)
    write_layout(tmp_path / "mvtec" / "bottle")
    data = load("mvtec_ad", tmp_path / "mvtec", category="bottle")
    assert (data.name, data.category) == ("mvtec_ad", "bottle")
    assert len(data.test) == 9
    assert data.has_masks


def test_mvtec_ad_lists_the_categories_that_exist(tmp_path, line):
    write_layout(tmp_path / "mvtec" / "bottle")
    assert "there are bottle, cable, capsule" in line("mvtec_ad", tmp_path / "mvtec")
    assert "no category 'cup'" in line("mvtec_ad", tmp_path / "mvtec", category="cup")
    message = line("mvtec_ad", tmp_path / "mvtec", category="cable")
    assert "has no folder cable; categories found there: bottle" in message


def test_builder_serves_tensorflow_datasets_alone(tmp_path):
    import tensorflow_datasets as tfds

    write_layout(tmp_path / "mvtec" / "bottle")
    builder = MvtecAd(config="bottle", data_dir=tmp_path / "prepared")
    builder.download_and_prepare(
        file_format="array_record",
        download_config=tfds.download.DownloadConfig(manual_dir=tmp_path / "mvtec"),
    )
    source = builder.as_data_source(split="test")
    assert len(source) == 9
    assert source[0]["image"].shape == (12, 10, 3)
    assert source[0]["label"] == 1


def test_magnetic_tile_splits_by_the_protocol(tmp_path, load):
    root = tmp_path / "tile"
    for i in range(11):
        write(root / "MT_Free" / "Imgs" / f"n{i:02d}.jpg", (12, 10))
        write_mask(root / "MT_Free" / "Imgs" / f"n{i:02d}.png")
    for defect in ("Blowhole", "Break", "Crack", "Fray", "Uneven"):
        write(root / f"MT_{defect}" / "Imgs" / "d.jpg", (12, 10))
        mask = write_mask(root / f"MT_{defect}" / "Imgs" / "d.png")
    data = load("magnetic_tile", root, validation_fraction=0)
    normal = [f"MT_Free/Imgs/n{i:02d}.jpg" for i in range(11)]
    random.Random(0).shuffle(normal)
    assert data.train.names == normal[:8]
    assert data.test.names[:3] == normal[8:]
    assert data.test.defects == ["good"] * 3 + ["blowhole", "break", "crack", "fray", "uneven"]
    assert not data.test[0].mask.any()
    np.testing.assert_array_equal(data.test[3].mask, mask)
    assert data.test[3].image.shape == (12, 10, 3)


def test_magnetic_tile_in_another_layout_is_refused(tmp_path, line):
    write_layout(tmp_path / "mine")
    assert "no normal images MT_Free/Imgs" in line("magnetic_tile", tmp_path / "mine")
    write(tmp_path / "mine" / "MT_Free" / "Imgs" / "0.jpg")
    assert "no images MT_Blowhole/Imgs" in line("magnetic_tile", tmp_path / "mine")


def test_unknown_data_sets_and_options_are_answered_with_the_known_ones(line):
    assert all(name in line("mvtec") for name in DATASETS)
    assert "no option 'sise'; did you mean size?" in line("textures", sise=3)
    assert "no option 'x'; it takes drawing_seed, n_test_anomalous" in line("textures", x=3)
    assert "no option 'size'; it takes none" in line("folder", size=3)
