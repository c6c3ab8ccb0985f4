import numpy as np
import pytest
from PIL import Image

from jaxflow.data.image import decode_image
from jaxflow.data.sets.cifar10 import CATEGORIES as CLASSES


def write(path, shape=(12, 10, 3), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    Image.fromarray(pixels).save(path)


def make_mask(i, shape=(12, 10)):
    mask = np.zeros(shape, np.bool_)
    mask[i : i + 3, 4:9] = True
    return mask


# BTAD


def write_btad(root, category="01", suffix="bmp", mask_suffix="png"):
    folder = root / category
    for i in range(4):
        write(folder / "train" / "ok" / f"{i:04d}.{suffix}", seed=i)
    for i in range(2):
        write(folder / "test" / "ok" / f"{i:04d}.{suffix}", seed=10 + i)
        write(folder / "test" / "ko" / f"{i:04d}.{suffix}", seed=20 + i)
        mask = folder / "ground_truth" / "ko" / f"{i:04d}.{mask_suffix}"
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(make_mask(i) * np.uint8(255)).save(mask)
    return root


@pytest.mark.parametrize(
    ("category", "suffix", "mask_suffix"),
    [("01", "bmp", "png"), ("02", "png", "png"), ("03", "bmp", "bmp")],
)
@pytest.mark.parametrize("top", ["", "BTech_Dataset_transformed"])
def test_btad_pairs_images_and_masks_of_either_format(
    tmp_path, load, top, category, suffix, mask_suffix
):
    root = write_btad(tmp_path / "btad" / top, category, suffix, mask_suffix)
    data = load("btad", tmp_path / "btad", category=category, validation_fraction=0)
    assert (data.name, data.category) == ("btad", category)
    assert data.train.names == [f"train/ok/{i:04d}.{suffix}" for i in range(4)]
    assert data.test.names == [f"test/{d}/{i:04d}.{suffix}" for d in ("ko", "ok") for i in (0, 1)]
    assert data.test.defects == ["ko", "ko", "good", "good"]
    assert data.unavailable_metrics == ()
    for i in range(4):
        example = data.test[i]
        expected = make_mask(i) if i < 2 else np.zeros((12, 10), np.bool_)
        np.testing.assert_array_equal(example.mask, expected)
        np.testing.assert_array_equal(
            example.image, decode_image(root / category / data.test.names[i])
        )


def test_btad_in_another_layout_is_answered_with_its_own(tmp_path, line):
    write(tmp_path / "btad" / "01" / "train" / "good" / "0.bmp")
    message = line("btad", tmp_path / "btad", category="01")
    assert "no images (bmp or png) in" in message
    assert "BTech_Dataset_transformed holds 01/train/ok, 01/test/ok, 01/test/ko" in message
    assert "no category '04'; there are 01, 02, 03" in line(
        "btad", tmp_path / "btad", category="04"
    )
    assert "a category is needed" in line("btad", tmp_path / "btad")


def test_btad_counts_missing_masks(tmp_path, line):
    root = write_btad(tmp_path / "btad")
    (root / "01/ground_truth/ko/0001.png").unlink()
    assert "1 of 2 anomalous images have no mask" in line("btad", root, category="01")
    (root / "01/ground_truth/ko/0000.png").unlink()
    assert f"{root / '01/ground_truth/ko'}; unpack" in line("btad", root, category="01")


# ShanghaiTech Campus

LABELS = {"01_0014": [0, 1, 1, 0, 0], "01_0015": [0, 0, 1]}


def write_shanghaitech(root, dtype=np.uint8):
    for video, n in (("01_001", 7), ("01_002", 3), ("02_001", 2), ("13_001", 4)):
        for i in range(n):
            write(root / "training" / "frames" / video / f"{i:08d}.jpg", seed=i)
    for video, labels in LABELS.items():
        for i in range(len(labels)):
            write(root / "testing" / "frames" / video / f"{i:03d}.jpg", seed=30 + i)
        masks = np.stack([make_mask(i) * bool(label) for i, label in enumerate(labels)])
        for kind, array in (("frame", np.array(labels)), ("pixel", masks)):
            path = root / "testing" / f"test_{kind}_mask" / f"{video}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, array.astype(dtype))
    return root


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.bool_, np.float32])
def test_shanghaitech_frames_have_their_labels_and_masks(tmp_path, load, dtype):
    root = write_shanghaitech(tmp_path / "campus", dtype)
    data = load("shanghaitech", root, category="01", validation_fraction=0)
    assert data.category == "01"
    assert len(data.train) == 10
    names = [f"testing/frames/{v}/{i:03d}.jpg" for v, n in LABELS.items() for i in range(len(n))]
    assert data.test.names == names
    labels = [label for video in LABELS.values() for label in video]
    np.testing.assert_array_equal(data.test.labels, labels)
    numbers = [i for video in LABELS.values() for i in range(len(video))]
    for k, (i, label) in enumerate(zip(numbers, labels, strict=True)):
        np.testing.assert_array_equal(data.test[k].mask, make_mask(i) & bool(label))
        np.testing.assert_array_equal(data.test[k].image, decode_image(root / names[k]))
    assert data.unavailable_metrics == ()


def test_shanghaitech_frames_without_leading_zeros_keep_the_order_of_time(tmp_path, load):
    root = tmp_path / "campus"
    write(root / "training/frames/03_001/0.jpg")
    for i in range(12):
        write(root / "testing/frames/03_0001" / f"{i}.jpg")
    for kind, array in (("frame", np.arange(12) >= 10), ("pixel", np.ones((12, 12, 10)))):
        (root / f"testing/test_{kind}_mask").mkdir()
        np.save(root / f"testing/test_{kind}_mask/03_0001.npy", array)
    data = load("shanghaitech", root, category="03", validation_fraction=0)
    assert [n for n, y in zip(data.test.names, data.test.labels, strict=True) if y] == [
        "testing/frames/03_0001/10.jpg",
        "testing/frames/03_0001/11.jpg",
    ]


def test_shanghaitech_scene_13_trains_without_a_test(tmp_path, load):
    data = load("shanghaitech", write_shanghaitech(tmp_path / "campus"), category="13")
    assert data.test is None
    assert len(data.train) + len(data.validation) == 4
    assert "no test images" in data.explain_unavailable()


def test_shanghaitech_stride_thins_each_training_video_alone(tmp_path, load, line):
    root = write_shanghaitech(tmp_path / "campus")
    data = load("shanghaitech", root, category="01", train_stride=3, validation_fraction=0)
    numbers = [name[len("training/frames/") :] for name in data.train.names]
    assert numbers == ["01_001/00000000.jpg", "01_001/00000003.jpg", "01_001/00000006.jpg"] + [
        "01_002/00000000.jpg"
    ]
    assert len(data.test) == 8
    assert "at least 1, got 0" in line("shanghaitech", root, category="01", train_stride=0)


def test_shanghaitech_in_another_layout_is_answered_with_its_own(tmp_path, line):
    root = write_shanghaitech(tmp_path / "campus")
    message = line("shanghaitech", root, category="05")
    assert "no folders 05_* of frames" in message
    assert "expected training/frames/01_001/*.jpg" in message
    (root / "training/videos").mkdir()
    (root / "training/videos/05_001.avi").write_bytes(b"RIFF")
    message = line("shanghaitech", root, category="05")
    assert "05_001.avi is a video; extract each" in message
    # Scene 02 has training videos in the miniature, and no test.
    assert f"no folders 02_* of frames in {root / 'testing/frames'}" in line(
        "shanghaitech", root, category="02"
    )
    assert "there are 01, 02" in line("shanghaitech", root, category="14")


def test_shanghaitech_masks_that_do_not_fit_their_video_are_refused(tmp_path, line):
    root = write_shanghaitech(tmp_path / "campus")
    pixel = root / "testing/test_pixel_mask/01_0014.npy"
    whole = np.load(pixel)
    np.save(pixel, whole[:4])
    message = line("shanghaitech", root, category="01")
    assert f"{pixel} has the shape [4, 12, 10], expected [frames, height, width] for the 5" in (
        message
    )
    np.save(pixel, whole[:, :-1])
    assert "the mask is 11 x 10 pixels" in line("shanghaitech", root, category="01")
    pixel.unlink()
    assert f"no file {pixel}; expected training" in line("shanghaitech", root, category="01")


@pytest.mark.parametrize("kind", ["pickle", "cut", "empty", "text", "zip"])
def test_shanghaitech_arrays_that_cannot_be_read_are_refused(tmp_path, line, kind):
    root = write_shanghaitech(tmp_path / "campus")
    path = root / "testing/test_frame_mask/01_0014.npy"
    if kind == "pickle":
        np.save(path, np.array([{}] * 5, object), allow_pickle=True)
    elif kind == "zip":
        np.savez(path.with_suffix(".npz"), np.zeros(5))
        path.with_suffix(".npz").replace(path)
    else:
        cut = path.read_bytes()[:-2]
        path.write_bytes({"cut": cut, "empty": b"", "text": b"0 1 1"}[kind])
    assert f"shanghaitech: {path} " in line("shanghaitech", root, category="01")


def test_changed_masks_are_prepared_anew(tmp_path, load):
    root = write_shanghaitech(tmp_path / "campus")
    before = load("shanghaitech", root, category="01")
    path = root / "testing/test_pixel_mask/01_0014.npy"
    np.save(path, np.ones_like(np.load(path), np.int64))
    after = load("shanghaitech", root, category="01")
    assert after.fingerprint != before.fingerprint
    assert after.test[1].mask.all()


# CIFAR-10


def write_cifar10(root, n=20):
    """Write the binary version, n images a file; of each file the classes follow each other."""
    root.mkdir(parents=True, exist_ok=True)
    images = {}
    for k, name in enumerate([f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]):
        images[name] = np.random.default_rng(k).integers(0, 256, (n, 32, 32, 3), np.uint8)
        labels = np.arange(n, dtype=np.uint8)[:, None] % 10
        planes = images[name].transpose(0, 3, 1, 2).reshape(n, -1)
        (root / name).write_bytes(np.hstack([labels, planes]).tobytes())
    return images


@pytest.mark.parametrize("top", ["", "cifar-10-batches-bin"])
def test_cifar10_one_normal_trains_on_the_class_and_tests_on_all(tmp_path, load, top):
    images = write_cifar10(tmp_path / "cifar" / top)
    data = load("cifar10", tmp_path / "cifar", category="bird", validation_fraction=0)
    assert len(data.train) == 10
    assert all(name.startswith("train/bird/") for name in data.train.names)
    np.testing.assert_array_equal(data.train[3].image, images["data_batch_2.bin"][12])
    assert len(data.test) == 20
    assert data.test.defects[:4] == ["airplane", "automobile", "good", "cat"]
    np.testing.assert_array_equal(data.test.labels, [i % 10 != 2 for i in range(20)])
    for i in range(20):
        np.testing.assert_array_equal(data.test[i].image, images["test_batch.bin"][i])
    assert data.unavailable_metrics == (
        "pixel_auroc",
        "pixel_aupro",
        "pixel_aupimo",
        "pixel_f1_max",
    )


def test_cifar10_one_anomalous_is_the_reverse(tmp_path, load):
    write_cifar10(tmp_path / "cifar")
    data = load(
        "cifar10",
        tmp_path / "cifar",
        category="bird",
        setting="one_anomalous",
        validation_fraction=0,
    )
    assert len(data.train) == 90
    assert not any("bird" in name for name in data.train.names)
    np.testing.assert_array_equal(data.test.labels, [i % 10 == 2 for i in range(20)])
    assert set(data.test.defects) == {"good", "bird"}


def test_cifar10_settings_and_classes_are_listed(tmp_path, line):
    write_cifar10(tmp_path / "cifar")
    message = line("cifar10", tmp_path / "cifar", category="bird", setting="unimodal")
    assert "no setting 'unimodal'; there are one_normal, one_anomalous" in message
    assert f"there are {', '.join(CLASSES)}" in line("cifar10", tmp_path / "cifar", category="cow")
    assert "it takes setting" in line("cifar10", tmp_path / "cifar", category="bird", sise=1)


@pytest.mark.parametrize(
    "name", ["cifar-10-python.tar.gz", "data_batch_1", "cifar-10-batches-py/data_batch_1"]
)
def test_cifar10_python_version_is_never_opened(tmp_path, line, name):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    import pickle

    path = tmp_path / "cifar" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps(Trap()))
    message = line("cifar10", tmp_path / "cifar", category="bird")
    assert "is the python version, a pickle, which is never opened" in message
    assert "cifar-10-binary.tar.gz" in message
    assert not (tmp_path / "sprung").exists()


def test_cifar10_files_missing_cut_short_or_of_other_classes_are_refused(tmp_path, line):
    root = tmp_path / "cifar"
    write_cifar10(root)
    path = root / "data_batch_3.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert f"{path} has 61459 bytes, not a multiple of 3073" in line(
        "cifar10", root, category="bird"
    )
    path.write_bytes(b"")
    assert f"{path} has 0 bytes" in line("cifar10", root, category="bird")
    path.write_bytes(b"\x0a" + whole[1:])
    assert "an image of class 10, expected 0 to 9" in line("cifar10", root, category="bird")
    path.unlink()
    assert f"no file data_batch_3.bin in {root}; unpack" in line("cifar10", root, category="bird")
