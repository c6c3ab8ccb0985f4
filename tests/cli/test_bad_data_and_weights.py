"""What training says to data and weights that it cannot use, before it writes anything."""

import numpy as np
import pytest
from huggingface_hub import constants
from PIL import Image

from jaxflow.experiments.build import load_encoder_or_random
from jaxflow.experiments.config import load_config

FOLDER = "--config.data.name=folder"


@pytest.fixture
def folder_mistake(train_mistake):
    """Train on a folder that cannot be trained on; give the line."""
    return lambda root, *more: train_mistake(FOLDER, f"--config.data.data_dir={root}", *more)


@pytest.fixture
def images(image_folder, tmp_path):
    """Give a good folder of images, to be spoilt."""
    return image_folder(tmp_path / "images")


def test_a_folder_that_does_not_exist_is_named(folder_mistake, tmp_path):
    assert str(tmp_path / "nowhere") in folder_mistake(tmp_path / "nowhere")


def test_a_data_set_without_its_folder_asks_for_it(train_mistake):
    line = train_mistake("--config.data.name=mvtec_ad", "--config.data.category=screw")
    assert "mvtec_ad" in line
    assert "data_dir" in line


def test_a_folder_without_normal_images_is_refused(folder_mistake, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no normal images" in folder_mistake(tmp_path / "empty")
    (tmp_path / "layout/train/good").mkdir(parents=True)
    assert "no normal images" in folder_mistake(tmp_path / "layout")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "the file is empty"), (b"no image", "not an image"), (None, "the image is corrupt")],
)
def test_a_bad_image_is_named_with_the_reason(folder_mistake, images, content, reason):
    path = images / "train/good/3.png"
    path.write_bytes(path.read_bytes()[:-200] if content is None else content)
    line = folder_mistake(images)
    assert f"{path}: {reason}" in line


def test_a_mask_of_another_size_is_named_with_both_sizes(folder_mistake, images):
    path = images / "ground_truth/broken/1_mask.png"
    Image.fromarray(np.eye(40, 24, dtype=np.uint8) * 255).save(path)
    line = folder_mistake(images)
    assert f"{path} is 40 x 24" in line
    assert "is 32 x 32" in line


def test_a_missing_mask_among_others_is_named(folder_mistake, images):
    (images / "ground_truth/broken/1_mask.png").unlink()
    line = folder_mistake(images)
    assert "1 of 2 anomalous images have no mask" in line
    assert "test/broken/1.png" in line


def test_an_unknown_category_is_answered_with_those_that_exist(
    folder_mistake, image_folder, tmp_path
):
    for name in ("cog", "gear"):
        image_folder(tmp_path / "parts" / name)
    line = folder_mistake(tmp_path / "parts", "--config.data.category=geer")
    assert "'geer'" in line
    assert "cog, gear" in line


def test_weights_with_missing_and_unknown_keys_are_refused(train_mistake, weights_file, tmp_path):
    path = weights_file(
        tmp_path / "w.safetensors", without=["bn1.weight"], more=np.zeros(1, np.float32)
    )
    line = train_mistake(f"--config.encoder.weights={path}")
    assert "1 keys missing (bn1.weight)" in line
    assert "1 keys unknown to the encoder (more)" in line


def test_weights_that_are_no_safetensors_file_are_refused(train_mistake, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"not weights")
    assert f"{path}: not a readable safetensors file" in train_mistake(
        f"--config.encoder.weights={path}"
    )
    line = train_mistake("--config.encoder.weights=w.pth")
    assert "'w.pth'" in line
    assert "pickles are never loaded" in line


def test_a_missing_weights_file_is_named_with_where_to_get_it(train_mistake, tmp_path):
    line = train_mistake(f"--config.encoder.weights={tmp_path / 'w.safetensors'}")
    assert f"{tmp_path / 'w.safetensors'}: no such weights file" in line
    assert "huggingface.co/timm/resnet18" in line


@pytest.fixture
def no_hub(monkeypatch, tmp_path):
    """Make the hub unreachable and its cache empty."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.usefixtures("no_hub")
def test_without_the_hub_the_file_and_the_flag_are_named(train_mistake):
    line = train_mistake("--config.encoder.weights=hub")
    assert "timm/resnet18.tv_in1k/resolve/main/model.safetensors" in line
    assert "--config.encoder.weights=PATH" in line


@pytest.mark.usefixtures("no_hub")
def test_without_the_hub_a_config_that_allows_it_goes_on_loudly(config_file, capsys):
    config = load_config(str(config_file))
    config.encoder.update(weights="hub", random_if_unreachable=True)
    encoder = load_encoder_or_random(config)
    assert (encoder.sha256, config.encoder.weights) == (None, "random")
    err = capsys.readouterr().err
    assert err.startswith("jaxflow: WARNING: ")
    assert "GOING ON WITH RANDOM WEIGHTS" in err
    assert err.count("\n") == 1
