"""The embedded data set: textures and defects drawn from a seed, with exact masks."""

import functools
from collections.abc import Callable

import numpy as np

from jaxflow.data.builder import AnomalyBuilder, category_configs
from jaxflow.data.image import encode_png
from jaxflow.data.places import require_category
from jaxflow.data.records import Listing, Record
from jaxflow.data.sets.texture_defects import DEFECTS
from jaxflow.data.sets.texture_drawing import TEXTURES
from jaxflow.errors import InputError

# Prepared sets are kept under it: count it up when drawing changes.
DRAWING_VERSION = 1

DEFAULT_CATEGORY = "woven"

# Small, middle, large; faint, clear, strong: in steps, so that each set has all of them.
EXTENTS = (0.08, 0.14, 0.24)
CONTRASTS = (0.15, 0.4, 0.8)

_SPLITS = {"train": 0, "test": 1}

_Draw = Callable[..., tuple[np.ndarray, np.ndarray]]


class Textures(AnomalyBuilder):
    """Drawn textures, one config per texture."""

    name = "textures"
    BUILDER_CONFIGS = category_configs(tuple(TEXTURES))

    @staticmethod
    def list_records(
        *,
        data_dir: str | None = None,
        category: str | None = None,
        size: int = 256,
        n_train: int = 120,
        n_test_normal: int = 32,
        n_test_anomalous: int = 64,
        drawing_seed: int = 0,
    ) -> Listing:
        """List images to be drawn; none is drawn yet.

        Args:
          data_dir: must be None, for nothing is read.
          category: one of `TEXTURES`; "woven" by default.
          size: height and width, pixels; at least 32.
          n_train: normal images in train.
          n_test_normal: normal images in test.
          n_test_anomalous: anomalous images in test; the four kinds of defect in turn, each in
            three sizes and three contrasts in turn.
          drawing_seed: of all images; the seed of `load_dataset` only chooses the validation
            images.

        Returns:
          The listing.

        Raises:
          InputError: if the category does not exist, or a number is out of range.
        """
        if data_dir is not None:
            raise InputError(f"textures: drawn, not read: leave data_dir out, got {data_dir}")
        category = DEFAULT_CATEGORY if category is None else category
        require_category("textures", category, tuple(TEXTURES))
        _require("size", size, 32)
        _require("n_train", n_train, 1)
        _require("n_test_normal", n_test_normal, 0)
        _require("n_test_anomalous", n_test_anomalous, 0)
        _require("drawing_seed", drawing_seed, 0)
        # The mask is asked for right after its image: one drawing serves both.
        draw = functools.lru_cache(maxsize=1)(
            functools.partial(draw_example, category, size, drawing_seed)
        )
        kinds = list(DEFECTS)
        test = [_record(draw, "test", i, None) for i in range(n_test_normal)]
        test += [_record(draw, "test", i, kinds[i % len(kinds)]) for i in range(n_test_anomalous)]
        return Listing(
            category=category,
            train=[_record(draw, "train", i, None) for i in range(n_train)],
            test=sorted(test, key=lambda record: record.name),
            parameters={
                "drawing_version": DRAWING_VERSION,
                "texture": category,
                "size": size,
                "drawing_seed": drawing_seed,
            },
        )


def draw_example(
    category: str, size: int, seed: int, split: str, index: int, defect: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one image; it depends only on the arguments.

    Args:
      category: one of `TEXTURES`.
      size: height and width, pixels.
      seed: at least 0.
      split: "train" or "test".
      index: number of the image in its split.
      defect: one of `DEFECTS`, or None. With and without a defect the texture is the same.

    Returns:
      u8[size, size, 3], and mask bool[size, size]: outside of it the image equals the one without
      a defect exactly.
    """
    key = [seed, list(TEXTURES).index(category), _SPLITS[split], index]
    image = TEXTURES[category](size, np.random.default_rng(key))
    mask = np.zeros((size, size), np.bool_)
    if defect is not None:
        kinds = list(DEFECTS)
        rng = np.random.default_rng([*key, 1 + kinds.index(defect)])
        # All pairs of size and contrast come up within nine rounds over the kinds.
        level = index // len(kinds) % 9
        extent = EXTENTS[level % 3] * rng.uniform(0.85, 1.15)
        contrast = CONTRASTS[(level // 3 + level) % 3] * rng.uniform(0.85, 1.15)
        image, cover = DEFECTS[defect](image, rng, extent, contrast)
        mask = cover > 0
    return np.rint(image * 255).astype(np.uint8), mask


def _record(draw: _Draw, split: str, index: int, defect: str | None) -> Record:
    if defect is None:
        return Record(f"{split}/good/{index:03d}.png", lambda: encode_png(draw(split, index)[0]))
    # Anomalous images continue the numbers of the normal ones, so that no two share a texture.
    number = index + 1_000_000
    return Record(
        f"{split}/{defect}/{index:03d}.png",
        image=lambda: encode_png(draw(split, number, defect)[0]),
        defect=defect,
        mask=lambda: encode_png(draw(split, number, defect)[1]),
    )


def _require(option: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(
            f"textures: {option} must be a whole number of at least {least}, got {value}"
        )
