"""The numbers of a picture file, by what it stores: 16 and 32 bits, floats, inks, palettes, the camera's turn."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from mgt_core.levels import levels, orientation
from support.picture_files import ORIENTATION, encoded, noise, of_mode, palette, turned

RAMP = np.tile(np.linspace(0, 1, 64), (8, 1))
HALF = np.float32(0.5)


def read(content: bytes):
    with Image.open(BytesIO(content)) as picture:
        return levels(picture)


def grey(values: np.ndarray, kind: str = "TIFF") -> np.ndarray:
    """One channel of what is read of a picture with these values."""
    found = read(encoded(Image.fromarray(values), kind))
    assert found.opacity is None and (found.colours == found.colours[..., :1]).all()
    assert found.colours.dtype == np.float32 and found.colours.flags["C_CONTIGUOUS"]
    return found.colours[..., 0]


STORED = {
    "16 bits": ((RAMP * 65535).astype(np.uint16), "PNG"),
    "16 bits, TIFF": ((RAMP * 65535).astype(np.uint16), "TIFF"),
    "16 bits as integers": ((RAMP * 65535).astype(np.int32), "TIFF"),
    "31 bits": ((RAMP * (2**31 - 1)).astype(np.int32), "TIFF"),
    "floats": (RAMP.astype(np.float32), "TIFF"),
    "floats, PFM": (RAMP.astype(np.float32), "PPM"),
    "floats of 8 bits": ((RAMP * 255).round().astype(np.float32), "TIFF"),
    "floats between 8 bits": ((RAMP * 255).astype(np.float32), "TIFF"),
    "floats of 16 bits": ((RAMP * 65535).astype(np.float32), "TIFF"),
}


@pytest.mark.parametrize("values, kind", STORED.values(), ids=STORED)
def test_a_ramp_is_a_ramp(values, kind):
    np.testing.assert_allclose(grey(values, kind), RAMP, atol=1 / 255)


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 65535), st.integers(0, 65535))
def test_sixteen_bits_keep_their_order(low, high):
    a, b = grey(np.array([[low, high]], np.uint16), "PNG")[0]
    assert (a < b) == (low < high) and 0 <= min(a, b) and max(a, b) <= 1
    assert abs(a - low / 65535) < 1e-6


def test_light_beyond_white_is_cut_off():
    np.testing.assert_array_equal(grey(np.array([[-0.02, 0.5, 1.5, 12.25]], np.float32)), [[0, HALF, 1, 1]])


@pytest.mark.parametrize("values", [[-1.0, 1.0], [0.0, 1e6], [0.5, np.nan], [0.0, np.inf]])
def test_floats_that_are_no_levels(values):
    with pytest.raises(ValueError, match="go from .* accepted are 0 to 1|NaN or infinite"):
        grey(np.array([values], np.float32))


def tiff(bits: int, kind: int, photometric: int, rows: bytes, width: int) -> bytes:
    """One row of one channel."""
    tags = {256: width, 257: 1, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: 1, 279: len(rows), 339: kind}
    at = 8 + len(rows)
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag == 273 else 3, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<I", at) + rows + struct.pack("<H", len(tags)) + entries + bytes(4)


OTHER_TIFFS = {
    "white is zero": (tiff(16, 1, 0, struct.pack("<3H", 0, 32768, 65535), 3), [1, 0.5, 0]),
    "signed 16 bits": (tiff(16, 2, 1, struct.pack("<3h", -5, 16384, 32767), 3), [0, 0.5, 1]),
    "unsigned 32 bits": (tiff(32, 1, 1, struct.pack("<3I", 0, 2**31, 2**32 - 1), 3), [0, 0.5, 1]),
    "12 bits": (tiff(12, 1, 1, bytes.fromhex("000800fff000"), 4), [0, 0.5, 1, 0]),
}


@pytest.mark.parametrize("content, wanted", OTHER_TIFFS.values(), ids=OTHER_TIFFS)
def test_other_tiffs(content, wanted):
    np.testing.assert_allclose(read(content).colours[0, :, 1], wanted, atol=1e-3)


EIGHT_BITS = ("RGB", "L", "1", "CMYK", "YCbCr")


@pytest.mark.parametrize("mode", EIGHT_BITS)
def test_eight_bits_are_what_pillow_makes_of_them(mode):
    picture = of_mode("L").convert("1") if mode == "1" else of_mode(mode)
    wanted = np.asarray(picture.convert("RGB"), np.float32) / 255
    np.testing.assert_array_equal(read(encoded(picture, "TIFF")).colours, wanted)


def test_lab():
    picture = Image.frombytes("LAB", (2, 1), bytes([255, 0, 0, 0, 0, 0]))  # a and b have signs
    for found in (levels(picture), read(encoded(picture, "TIFF"))):
        np.testing.assert_allclose(found.colours[0], [[1, 1, 1], [0, 0, 0]], atol=0.02)


CLEAR = {
    "RGBA": lambda: of_mode("RGBA"),
    "LA": lambda: of_mode("LA"),
    "PA": lambda: of_mode("LA").convert("PA"),
    "premultiplied": lambda: of_mode("RGBA").convert("RGBa"),
    "premultiplied grey": lambda: of_mode("LA").convert("La"),
    "palette": lambda: palette(b"\0\x80\xff"),
}


@pytest.mark.parametrize("make", CLEAR.values(), ids=CLEAR)
def test_what_can_be_transparent(make):
    picture = make()
    found = levels(picture)
    own = picture.convert(picture.mode.upper()) if "a" in picture.mode else picture
    np.testing.assert_array_equal(found.opacity, np.asarray(own.convert("RGBA"), np.float32)[..., 3] / 255)
    assert found.colours.shape == (*found.opacity.shape, 3)


@pytest.mark.parametrize("values, key", [(np.array([[5, 6, 7]], np.uint16), 6), (np.array([[5, 6, 7]], np.uint8), 6)])
def test_a_grey_that_is_transparent(values, key):
    np.testing.assert_array_equal(read(encoded(Image.fromarray(values), "PNG", transparency=key)).opacity, [[1, 0, 1]])


def test_colours_of_sixteen_bits():
    """Pillow has the upper half of them alone."""
    rows = np.array([[[0, 32768, 65535], [65535, 0, 256]]], ">u2")
    parts = (b"IHDR", struct.pack(">2I5B", 2, 1, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"\0" + rows.tobytes()))
    content = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in (*parts, (b"IEND", b""))
    )
    np.testing.assert_allclose(read(b"\x89PNG\r\n\x1a\n" + content).colours, rows / 65535, atol=1 / 255)


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "16 bits"])
def test_pictures_stand_upright(number, kind):
    picture = of_mode("RGBA")
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    if kind == "16 bits":
        picture, kind = Image.fromarray(noise(1).astype(np.uint16) * 257), "PNG"
    exif = Image.Exif()
    exif[ORIENTATION] = number
    picture.getexif()[ORIENTATION] = number
    found = read(encoded(picture, kind, exif=exif, **options))
    wanted = np.asarray(ImageOps.exif_transpose(picture), np.float32)
    if found.opacity is None:
        np.testing.assert_allclose(found.colours[..., 0], wanted / 65535, atol=1e-6)
    else:
        np.testing.assert_array_equal(np.dstack([found.colours, found.opacity]), wanted / 255)


@pytest.mark.parametrize("noted", [0, 9, 999, "up", b"\xff"])
def test_turns_that_are_none(noted):
    picture = of_mode("RGB")
    picture.getexif()[ORIENTATION] = noted
    assert levels(picture).colours.shape == (picture.height, picture.width, 3)


def test_notes_that_cannot_be_read(monkeypatch):
    picture = Image.open(BytesIO(turned(6)))
    assert orientation(picture) == 6
    monkeypatch.setattr(type(picture), "getexif", lambda self: struct.unpack(">I", b""))
    assert orientation(picture) == 1
