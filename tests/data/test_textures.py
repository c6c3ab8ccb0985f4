import numpy as np
import pytest

from jaxflow.data.loading import load_dataset
from jaxflow.data.sets.texture_defects import DEFECTS
from jaxflow.data.sets.texture_drawing import TEXTURES
from jaxflow.data.sets.textures import draw_example
from jaxflow.errors import InputError


def test_four_textures_and_four_defects_are_there():
    assert set(TEXTURES) >= {"woven", "brushed", "speckled", "striped"}
    assert set(DEFECTS) >= {"scratch", "spot", "hole", "pulled_thread"}


@pytest.mark.parametrize("texture", TEXTURES)
def test_drawing_depends_on_its_arguments_alone(texture):
    first, _ = draw_example(texture, 64, 3, "train", 5)
    np.random.default_rng(0).random(10)
    again, _ = draw_example(texture, 64, 3, "train", 5)
    np.testing.assert_array_equal(first, again)
    assert first.shape == (64, 64, 3)
    assert first.dtype == np.uint8
    for other in ((64, 4, "train", 5), (64, 3, "test", 5), (64, 3, "train", 6)):
        assert (draw_example(texture, *other)[0] != first).mean() > 0.5


@pytest.mark.parametrize("texture", TEXTURES)
@pytest.mark.parametrize("defect", DEFECTS)
def test_mask_is_where_pixels_differ(texture, defect):
    for index in range(0, 36, 4):
        clean, none = draw_example(texture, 96, 0, "test", index)
        damaged, mask = draw_example(texture, 96, 0, "test", index, defect)
        differs = (clean != damaged).any(axis=-1)
        assert not none.any()
        assert mask.any()
        assert not (differs & ~mask).any()
        # A few pixels inside come out equal by chance, most must show the defect.
        assert (differs & mask).sum() > 0.7 * mask.sum()


@pytest.mark.parametrize("texture", TEXTURES)
def test_defects_come_in_several_sizes_and_contrasts(texture):
    for defect in DEFECTS:
        areas, changes = [], []
        for index in range(0, 36, 4):
            clean, _ = draw_example(texture, 96, 0, "test", index)
            damaged, mask = draw_example(texture, 96, 0, "test", index, defect)
            areas.append(mask.mean())
            changes.append(np.abs(clean.astype(int) - damaged)[mask].mean())
        assert max(areas) > 2.5 * min(areas)
        assert max(areas) < 0.2
        assert max(changes) > 1.5 * min(changes)


def test_defects_are_not_found_by_brightness_alone():
    # The image's mean and spread, which a trivial detector would read, overlap with the normal.
    for texture in TEXTURES:
        normal = [draw_example(texture, 96, 0, "train", i)[0] for i in range(12)]
        kinds = list(DEFECTS)
        bad = [draw_example(texture, 96, 0, "test", i, kinds[i % 4])[0] for i in range(12)]
        low, high = min(x.mean() for x in normal), max(x.mean() for x in normal)
        assert sum(low <= x.mean() <= high for x in bad) >= 6


def test_set_has_the_sizes_asked_for_and_every_kind(tmp_path):
    data = load_dataset(
        "textures",
        category="striped",
        cache_dir=str(tmp_path),
        validation_fraction=0.25,
        size=48,
        n_train=8,
        n_test_normal=3,
        n_test_anomalous=9,
    )
    assert (len(data.train), len(data.validation), len(data.test)) == (6, 2, 12)
    assert data.has_masks
    assert data.test.labels.sum() == 9
    assert set(data.test.defects) == {"good", *DEFECTS}
    assert len(set(data.test.names)) == 12
    position = data.test.names.index("test/hole/002.png")
    image, mask = draw_example("striped", 48, 0, "test", 1_000_002, "hole")
    np.testing.assert_array_equal(data.test[position].image, image)
    np.testing.assert_array_equal(data.test[position].mask, mask)


def test_parameters_and_seed_change_what_is_cached(tmp_path):
    def first(**options):
        options = {"size": 32, "n_train": 2, "n_test_normal": 1, "n_test_anomalous": 1} | options
        data = load_dataset("textures", cache_dir=str(tmp_path), validation_fraction=0, **options)
        return data.train[0].image, data.fingerprint

    image, fingerprint = first()
    assert first(size=40)[0].shape == (40, 40, 3)
    other, other_fingerprint = first(drawing_seed=1)
    assert (other != image).any()
    assert other_fingerprint != fingerprint
    assert first(n_train=3)[1] != fingerprint
    np.testing.assert_array_equal(first()[0], image)


def test_default_category_is_woven(tmp_path):
    data = load_dataset(
        "textures", cache_dir=str(tmp_path), size=32, n_train=2, n_test_normal=0, n_test_anomalous=0
    )
    assert data.category == "woven"
    assert data.test is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"category": "velvet"}, "no category 'velvet'; there are woven, brushed"),
        ({"size": 8}, "size must be a whole number of at least 32, got 8"),
        ({"n_train": 0}, "n_train must be a whole number of at least 1, got 0"),
        ({"n_test_normal": -1}, "n_test_normal must be a whole number of at least 0, got -1"),
        ({"data_dir": "/somewhere"}, "leave data_dir out"),
    ],
)
def test_wrong_arguments_are_answered_in_one_line(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        load_dataset("textures", cache_dir=str(tmp_path), **arguments)
