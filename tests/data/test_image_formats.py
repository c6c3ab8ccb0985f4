import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from jaxflow.data.image import (
    decode_image,
    decode_mask,
    encode_png,
    examine_image,
    resize_image,
    resize_mask,
)
from jaxflow.errors import InputError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 7), np.uint8)
RGB = RNG.integers(0, 256, (5, 7, 3), np.uint8)
ALPHA = RNG.integers(0, 256, (5, 7, 1), np.uint8)


def encoded(image: Image.Image, kind: str = "png", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def repeated(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=-1)


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff"])
def test_rgb_is_decoded_exactly(kind):
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(RGB), kind)), RGB)


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff"])
def test_grey_is_repeated_over_channels(kind):
    np.testing.assert_array_equal(
        decode_image(encoded(Image.fromarray(GREY), kind)), repeated(GREY)
    )


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_16_bit_grey_is_scaled_by_its_full_range(kind):
    deep = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    decoded = decode_image(encoded(Image.fromarray(deep), kind))
    np.testing.assert_array_equal(decoded, repeated(np.array([[0, 1, 128, 255]], np.uint8)))


def test_alpha_is_dropped_and_not_blended():
    rgba = Image.fromarray(np.concatenate([RGB, ALPHA], -1))
    np.testing.assert_array_equal(decode_image(encoded(rgba)), RGB)
    grey_alpha = Image.fromarray(np.concatenate([GREY[..., None], ALPHA], -1))
    np.testing.assert_array_equal(decode_image(encoded(grey_alpha)), repeated(GREY))


@pytest.mark.parametrize("options", [{}, {"transparency": 1}, {"transparency": b"\x00\x80"}])
def test_palette_gives_its_colors_with_or_without_transparency(options):
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), mode=None)
    palette = image.convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    palette.putdata([0, 1, 2, 1])
    expected = [[[10, 20, 30], [40, 50, 60]], [[70, 80, 90], [40, 50, 60]]]
    np.testing.assert_array_equal(decode_image(encoded(palette, **options)), expected)


def test_one_bit_is_black_and_white():
    bits = GREY > 127
    decoded = decode_image(encoded(Image.fromarray(bits)))
    np.testing.assert_array_equal(decoded, repeated(bits * np.uint8(255)))


def test_cmyk_jpeg_is_converted():
    red = Image.new("RGB", (8, 8), (200, 30, 40)).convert("CMYK")
    decoded = decode_image(encoded(red, "jpeg", quality=95)).astype(int)
    assert decoded.shape == (8, 8, 3)
    assert np.abs(decoded - [200, 30, 40]).max() < 8


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # Turned by a quarter: rows become columns.
    decoded = decode_image(encoded(Image.fromarray(RGB), "png", exif=exif))
    np.testing.assert_array_equal(decoded, np.rot90(RGB, -1))


def test_corrupt_empty_foreign_and_missing_files_are_named_in_one_line(tmp_path):
    whole = encoded(Image.fromarray(RNG.integers(0, 256, (64, 64, 3), np.uint8)))
    cases = {
        "cut.png": (whole[: len(whole) // 2], "corrupt"),
        "flipped.png": (whole[:60] + bytes(40) + whole[100:], "corrupt"),
        "empty.png": (b"", "empty"),
        "text.png": (b"not an image at all", "not an image"),
    }
    for name, (data, reason) in cases.items():
        path = tmp_path / name
        path.write_bytes(data)
        for decode in (decode_image, decode_mask):
            with pytest.raises(InputError) as caught:
                decode(path)
            assert str(path) in str(caught.value)
            assert reason in str(caught.value)
            assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"gone\.png: cannot be read"):
        decode_image(tmp_path / "gone.png")


def test_jpeg_cut_short_is_refused_not_filled_with_grey(tmp_path):
    whole = encoded(Image.fromarray(RNG.integers(0, 256, (64, 64, 3), np.uint8)), "jpeg")
    with pytest.raises(InputError, match=r"x\.jpg: the image is corrupt"):
        decode_image(whole[: len(whole) // 2], name="x.jpg")


def test_float_pixels_are_refused_with_the_remedy():
    with pytest.raises(InputError, match="save it with 8 or 16 bits"):
        decode_image(encoded(Image.fromarray(np.ones((4, 4), np.float32)), "tiff"))


@pytest.mark.parametrize(("kind", "bits"), [("signed 16-bit", "<i2"), ("32-bit", "<i4")])
def test_signed_pixels_are_called_by_their_bits(kind, bits):
    data = np.array([[0, 100, 2000, 32000]], bits).tobytes()
    size = np.dtype(bits).itemsize * 8
    tags = {256: 4, 257: 1, 258: size, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: len(data)}
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in (tags | {339: 2}).items()]
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    tiff = b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory
    with pytest.raises(InputError, match=f"{kind} pixels have no known range"):
        decode_image(tiff)


def test_a_16_bit_scale_on_which_0_is_white_is_turned_round():
    deep = Image.fromarray(np.array([[0, 257, 65535]], np.uint16))
    decoded = decode_image(encoded(deep, "tiff", tiffinfo={262: 0}))
    np.testing.assert_array_equal(decoded, repeated(np.array([[255, 254, 0]], np.uint8)))


def test_a_pgm_of_16_bits_is_scaled_by_its_own_maximum():
    pixels = np.array([[0, 2048, 4095]], ">u2")
    decoded = decode_image(b"P5 3 1 4095\n" + pixels.tobytes())
    np.testing.assert_array_equal(decoded, repeated(np.array([[0, 128, 255]], np.uint8)))


def test_the_greatest_16_bit_value_is_known_for_grey_and_for_colors():
    assert examine_image(encoded(Image.fromarray(np.full((2, 3), 4095, np.uint16)))).peak == 4095
    assert examine_image(encoded(Image.fromarray(GREY))).peak is None
    # Pillow writes no 16-bit colors: a PNG of 1 x 1 pixels by hand.
    rows = zlib.compress(b"\0" + struct.pack(">3H", 4095, 100, 0))
    header = struct.pack(">2I5B", 1, 1, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks
    )
    assert 3800 < examine_image(png).peak < 4352


@pytest.mark.filterwarnings("error")
def test_an_image_over_the_limits_of_pillow_is_read_and_the_limits_stay():
    limit = Image.MAX_IMAGE_PIXELS
    # Black and white, 181 megapixels: more than twice Pillow's limit, and few bytes.
    data = encoded(Image.new("1", (13500, 13400)))
    assert decode_mask(data).shape == (13400, 13500)
    assert Image.MAX_IMAGE_PIXELS == limit


def test_an_image_too_large_for_the_memory_says_so(monkeypatch):
    monkeypatch.setattr("os.sysconf", lambda name: 2**10)
    with pytest.raises(InputError, match=r"x\.png: 300 x 400 pixels take .* GiB of memory"):
        decode_image(encoded(Image.new("L", (400, 300))), name="x.png")


def test_what_is_no_regular_file_is_refused_without_opening_it(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for path, kind in (
        (tmp_path / "pipe.png", "a device or a pipe"),
        ("/dev/zero", "a device or a pipe"),
        (tmp_path / "folder.png", "a folder"),
    ):
        with pytest.raises(InputError, match=f"is {kind}, not an image file"):
            decode_image(path)
    for path in ("a\0b.png", "x" * 5000):
        with pytest.raises(InputError, match="cannot be read: "):
            decode_image(path)


@pytest.mark.parametrize("anomalous", [1, 255])
def test_masks_of_0_and_1_and_of_0_and_255_are_equal(anomalous):
    mask = GREY > 100
    stored = Image.fromarray(mask * np.uint8(anomalous))
    np.testing.assert_array_equal(decode_mask(encoded(stored)), mask)
    np.testing.assert_array_equal(decode_mask(encoded(stored.convert("RGB"))), mask)
    deep = Image.fromarray(mask * np.uint16(anomalous))
    np.testing.assert_array_equal(decode_mask(encoded(deep)), mask)


def test_smoothed_edges_of_a_mask_are_split_at_half():
    stored = Image.fromarray(np.array([[0, 100, 127, 128, 255]], np.uint8))
    np.testing.assert_array_equal(decode_mask(encoded(stored)), [[False, False, False, True, True]])


def test_black_mask_has_no_anomaly():
    assert not decode_mask(encoded(Image.new("L", (4, 3)))).any()


def test_png_of_image_and_mask_is_lossless():
    np.testing.assert_array_equal(decode_image(encode_png(RGB)), RGB)
    np.testing.assert_array_equal(decode_mask(encode_png(GREY > 100)), GREY > 100)


def test_size_is_height_then_width_and_own_size_is_left_alone():
    assert resize_image(RGB, (10, 20)).shape == (10, 20, 3)
    assert resize_mask(GREY > 9, (10, 20)).shape == (10, 20)
    np.testing.assert_array_equal(resize_image(RGB, (5, 7)), RGB)


def test_reduction_is_antialiased():
    # One white column in eight: sampling points would give 0 or 255, the mean is 32.
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::8] = 255
    reduced = resize_image(stripes, (8, 8))
    np.testing.assert_array_equal(reduced[1:-1, 1:-1], 32)


def test_resized_mask_is_nearest():
    mask = np.array([[True, False], [False, True]])
    np.testing.assert_array_equal(resize_mask(mask, (4, 4)), np.kron(mask, np.ones((2, 2), bool)))
