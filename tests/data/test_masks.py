"""What counts as anomalous in a mask, whatever wrote it."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from jaxflow.data.image import decode_mask, resize_mask
from jaxflow.data.masks import count_vanished
from jaxflow.errors import InputError


def decoded(pixels, kind="png", **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return decode_mask(buffer.getvalue())


def disks(values, size=96, width=22):
    """Draw one disk for each value, apart from each other, in the order given."""
    image = Image.new("L", (size, size))
    for k, value in enumerate(values):
        x, y = 4 + k % 3 * 30, 4 + k // 3 * 30
        ImageDraw.Draw(image).ellipse([x, y, x + width, y + width], fill=value)
    return image


@pytest.mark.parametrize("values", [(60, 200), (1, 130), (85, 170), (40, 90, 255), (1, 2, 3, 254)])
def test_every_class_with_hard_edges_is_anomalous(values):
    image = disks(values)
    np.testing.assert_array_equal(decoded(image), np.asarray(image) > 0)
    deep = np.asarray(image).astype(np.uint16) * 250
    np.testing.assert_array_equal(decoded(deep), deep > 0)


def test_thin_lines_of_a_dark_class_and_touching_classes_are_anomalous():
    pixels = np.zeros((40, 40), np.uint8)
    pixels[5, 3:30] = 2
    pixels[10:20, 10:20] = 60
    pixels[20:30, 10:20] = 200
    np.testing.assert_array_equal(decoded(pixels), pixels > 0)


def test_numbers_of_instances_are_all_anomalous():
    pixels = np.kron(np.arange(256).reshape(16, 16), np.pad(np.ones((4, 4)), 1)).astype(np.uint8)
    np.testing.assert_array_equal(decoded(pixels), pixels > 0)


@pytest.mark.parametrize("quality", [5, 20, 50, 75, 90, 95, 100])
def test_noise_of_jpeg_is_not_anomalous(quality):
    buffer = io.BytesIO()
    disks((255, 255, 255, 255)).save(buffer, format="jpeg", quality=quality)
    pixels = np.asarray(Image.open(buffer))
    assert ((pixels > 0) & (pixels < 128)).any()
    np.testing.assert_array_equal(decode_mask(buffer.getvalue()), pixels > 127)


@pytest.mark.parametrize("radius", [0.5, 2, 12, 40])
def test_smoothed_edges_are_split_in_the_middle(radius):
    image = Image.new("L", (200, 200))
    ImageDraw.Draw(image).rectangle([40, 30, 150, 170], fill=255)
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(radius)))
    np.testing.assert_array_equal(decoded(pixels), pixels > 127)


def test_the_same_soft_mask_is_split_at_the_same_pixels_in_every_container():
    pixels = np.asarray(disks((255, 255)).resize((41, 37), Image.Resampling.BILINEAR))
    expected = pixels > 127
    assert ((pixels > 0) & ~expected).any()
    grey_palette = Image.fromarray(pixels).convert("P")
    containers = {
        "uint16 of 0..255": (pixels.astype(np.uint16), "png"),
        "uint16 of 0..65535": (pixels.astype(np.uint16) * 257, "tiff"),
        "12 bits in 16": (pixels.astype(np.uint16) * 16, "png"),
        "int32": (pixels.astype(np.int32), "tiff"),
        "float of 0..1": ((pixels / 255).astype(np.float32), "tiff"),
        "float of 0..255": (pixels.astype(np.float32), "tiff"),
        "rgb": (np.repeat(pixels[..., None], 3, -1), "png"),
        "gif": (Image.fromarray(pixels), "gif"),
        "webp": (Image.fromarray(pixels), "webp"),
        "palette of greys": (grey_palette, "png"),
        "opaque": (np.dstack([pixels, np.full_like(pixels, 255)]), "png"),
        "painted white": (np.dstack([np.full_like(pixels, 255), pixels]), "png"),
    }
    for name, (stored, kind) in containers.items():
        options = {"lossless": True} if kind == "webp" else {}
        np.testing.assert_array_equal(decoded(stored, kind, **options), expected, err_msg=name)


TRUTH = np.zeros((8, 8), bool)
TRUTH[2:5, 3:6] = True
PAINT = TRUTH * np.uint8(255)
WHITE, BLACK = np.full_like(PAINT, 255), np.zeros_like(PAINT)


@pytest.mark.parametrize(
    "layers",
    [
        (WHITE, WHITE, WHITE, PAINT),
        (WHITE, 255 - PAINT, 255 - PAINT, PAINT),
        (BLACK, BLACK, BLACK, PAINT),
        (255 - PAINT, 255 - PAINT, 255 - PAINT, PAINT),
        (WHITE, PAINT),
        (PAINT, PAINT, BLACK, WHITE),
        (PAINT, PAINT, BLACK, WHITE - 55),
        (PAINT, WHITE),
    ],
)
def test_transparent_pixels_are_not_anomalous(layers):
    np.testing.assert_array_equal(decoded(np.dstack(layers)), TRUTH)


def test_transparency_of_a_palette_and_a_transparent_color_count_too():
    index = Image.fromarray(TRUTH.astype(np.uint8)).convert("P")
    index.putpalette([255, 255, 255, 255, 0, 0])
    index.putdata(TRUTH.astype(np.uint8).ravel().tolist())
    np.testing.assert_array_equal(decoded(index, transparency=0), TRUTH)
    red = Image.fromarray(np.dstack([WHITE, 255 - PAINT, 255 - PAINT]))
    np.testing.assert_array_equal(decoded(red, transparency=(255, 255, 255)), TRUTH)


def test_a_brush_with_soft_edges_is_split_in_the_middle_whatever_its_color():
    soft = np.array([[0, 3, 90, 200, 255]], np.uint8)
    for colors in ([[9] * 5], [[0, 250, 251, 252, 255]]):
        stored = np.dstack([np.array(colors, np.uint8), soft])
        np.testing.assert_array_equal(decoded(stored), soft > 127)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value):
    with pytest.raises(InputError, match="values that are not finite"):
        decoded(np.where(TRUTH, 1, value).astype(np.float32), "tiff")


def test_a_wholly_transparent_mask_is_empty():
    assert not decoded(np.dstack([PAINT, PAINT, PAINT, BLACK])).any()


def test_colors_of_a_palette_are_classes():
    image = Image.new("P", (8, 8))
    image.putpalette([0, 0, 0, 0, 0, 40, 128, 0, 0])
    image.putdata(np.arange(64) % 3)
    np.testing.assert_array_equal(decoded(image).ravel(), np.arange(64) % 3 > 0)


def test_a_16_bit_mask_on_which_0_is_white_is_turned_round():
    deep = Image.fromarray(np.where(TRUTH, 0, 65535).astype(np.uint16))
    np.testing.assert_array_equal(decoded(deep, "tiff", tiffinfo={262: 0}), TRUTH)


def test_values_below_zero_are_not_anomalous():
    np.testing.assert_array_equal(decoded(np.where(TRUTH, 1, -1).astype(np.int32), "tiff"), TRUTH)


def test_a_mask_between_the_pixels_taken_is_kept_and_others_are_nearest():
    thin = np.zeros((64, 64), bool)
    thin[8:40, 9] = True
    kept = resize_mask(thin, (8, 8))
    np.testing.assert_array_equal(np.argwhere(kept), [[1, 1], [2, 1], [3, 1], [4, 1]])
    thin[:, 40:64] = True
    nearest = np.asarray(Image.fromarray(thin).resize((8, 8), Image.Resampling.NEAREST))
    np.testing.assert_array_equal(resize_mask(thin, (8, 8)), nearest)
    assert not resize_mask(np.zeros((64, 64), bool), (8, 8)).any()


def test_a_kept_mask_stays_in_the_frame_at_any_size():
    for point in ((0, 0), (36, 52)):
        mask = np.zeros((37, 53), bool)
        mask[point] = True
        assert resize_mask(mask, (5, 7)).sum() == 1
        assert resize_mask(mask, (200, 300)).any()


def test_regions_that_vanish_are_counted():
    mask = np.zeros((64, 64), bool)
    mask[0:20, 0:20] = True
    mask[40, 40] = mask[41, 41] = True
    mask[60, 33] = True
    assert count_vanished(mask, (64, 64)) == (0, 3)
    assert count_vanished(mask, (8, 8)) == (2, 3)
    assert count_vanished(np.zeros((4, 4), bool), (2, 2)) == (0, 0)
