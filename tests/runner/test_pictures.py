"""Pictures that people have, as Load Image and Load Image (as Mask) give them, and what is said of what is none."""

import zlib
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from runner import pictures
from runner.images import CHANNELS, PICTURES, Folders
from runner.problems import RunError
from support.picture_files import PLAIN, SIZE, encoded, frames, of_mode, palette, turned
from support.trials import is_sentence

COLUMNS, ROWS = SIZE


@pytest.fixture
def load(library, tmp_path):
    """load(content, name) -> image, mask."""
    (tmp_path / "in").mkdir()

    def read(content: bytes, name: str = "a.png"):
        (tmp_path / "in" / name).write_bytes(content)
        return library.classes["LoadImage"]().load_image(name)

    return read


@pytest.fixture
def refused(load):
    """The sentence about a file that is none."""

    def read(content: bytes, name: str = "a.png") -> str:
        with pytest.raises(RunError) as told:
            load(content, name)
        assert is_sentence(str(told.value)), str(told.value)
        return str(told.value)

    return read


def mask_of(library, channel: str, name: str = "a.png") -> torch.Tensor:
    return library.classes["LoadImageMask"]().load_mask(name, channel)[0]


@pytest.mark.parametrize("name", PLAIN)
def test_every_kind_is_read(load, library, name):
    image, mask = load(PLAIN[name](), name)
    assert image.dtype == mask.dtype == torch.float32 and image.is_contiguous() and mask.is_contiguous()
    assert image.ndim == 4 and image.shape[-1] == 3 and 0 <= image.min() < image.max() <= 1
    assert mask.shape in ((len(image), 64, 64), image.shape[:3])
    for place, channel in enumerate(CHANNELS[1:]):
        assert torch.equal(mask_of(library, channel, name), image[..., place])
    alpha = mask_of(library, "alpha", name)
    assert alpha.shape == image.shape[:3] and torch.equal(alpha.any(), mask.any())


MOVING = {
    "GIF": {},
    "WEBP": {"lossless": True},
    "PNG": {},
    "TIFF": {},
}


@pytest.mark.parametrize("kind, options", MOVING.items())
def test_all_frames_are_a_batch(load, kind, options):
    image, mask = load(frames("RGB", kind, 3, **options))
    assert image.shape == (3, ROWS, COLUMNS, 3) and mask.shape == (3, 64, 64) and not mask.any()
    wanted = np.stack([np.asarray(of_mode("RGB", seed)) for seed in range(3)])
    atol = 0.3 if kind == "GIF" else 0  # of 256 colours
    np.testing.assert_allclose(image.numpy(), wanted.astype(np.float32) / 255, rtol=0, atol=atol)


def test_frames_build_on_each_other(load):
    """What a frame leaves out is what the one before left there."""
    first, dot = Image.new("RGB", (16, 16), "red"), Image.new("RGB", (16, 16), "red")
    dot.putpixel((3, 4), (0, 0, 255))
    image, _ = load(encoded(first, "GIF", save_all=True, append_images=[dot]))
    assert image[1, 4, 3].tolist() == [0, 0, 1] and torch.equal(image[0, 0], image[1, 0])


def test_frames_of_which_some_are_transparent(load, library):
    image, mask = load(
        encoded(of_mode("RGB"), "TIFF", save_all=True, append_images=[of_mode("RGBA", 1), of_mode("RGB", 2)])
    )
    assert mask.shape == image.shape[:3] and not mask[0].any() and mask[1].any() and not mask[2].any()
    assert torch.equal(mask_of(library, "alpha"), mask)


def test_frames_of_another_size_are_left_out(load):
    others = [Image.new("RGB", (9, 9)), of_mode("RGB", 1), Image.new("RGB", (ROWS, COLUMNS))]
    assert load(encoded(of_mode("RGB"), "TIFF", save_all=True, append_images=others))[0].shape[0] == 2


def test_pages_of_sixteen_bits(load):
    ramp = Image.fromarray(np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8))
    image, _ = load(encoded(ramp, "TIFF", save_all=True, append_images=[ramp]))
    assert image.shape == (2, 8, 8, 3) and abs(image.mean() - 0.5) < 0.01


def test_a_telephone_gives_one_picture(load):
    assert load(frames("RGB", "MPO", 2), "a.jpg")[0].shape[0] == 1


def test_masks_stand_upright_too(load, library):
    picture = of_mode("RGBA")
    image, mask = load(turned(6, "PNG", picture))
    wanted = np.rot90(np.asarray(picture), -1).astype(np.float32) / 255
    np.testing.assert_array_equal(image[0], wanted[..., :3])
    np.testing.assert_array_equal(mask[0], 1 - wanted[..., 3])
    assert torch.equal(mask_of(library, "red"), image[..., 0])


def test_the_mask_of_a_palette(load):
    _, mask = load(encoded(palette(b"\0"), "PNG"))
    assert mask.shape == (1, ROWS, COLUMNS) and 0 < mask.mean() < 1


@pytest.mark.parametrize("name", ["a.jpg", "a.gif", "a", "a.txt"])
def test_the_content_says_what_it_is(load, name):
    assert load(encoded(of_mode("RGB"), "PNG"), name)[0].shape == (1, ROWS, COLUMNS, 3)


TEXTS = {
    "before the pixels": lambda chunk, whole: whole[:33] + chunk + whole[33:],
    "behind the pixels": lambda chunk, whole: whole[:-12] + chunk + whole[-12:],
}


@pytest.mark.parametrize("put", TEXTS.values(), ids=TEXTS)
def test_texts_of_any_length_are_no_hindrance(load, put):
    body = b"zTXtworkflow\0\0" + zlib.compress(b" " * (3 << 20))
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    assert load(put(chunk, encoded(of_mode("RGB"), "PNG")))[0].shape == (1, ROWS, COLUMNS, 3)


STRANGERS = {
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1",
    "raw file": b"\0\0\0\x18ftypcrx \0\0\0\0",
    "is a video": b"\0\0\0\x18ftypisom\0\0\0\0",
    "JPEG XL": b"\xff\x0a\0\0",
    "JPEG XL: save": b"\0\0\0\x0cJXL \r\n\x87\n",
    "Photoshop": b"8BPS\0\1" + bytes(40),
    "GIMP": b"gimp xcf v011",
    "OpenEXR": b"\x76\x2f\x31\x01\2\0\0\0",
    "Radiance": b"#?RADIANCE\n",
    "a PDF": b"%PDF-1.7",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0",
    "git lfs pull": b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
    "is SVG": b'<?xml version="1.0"?>\n<!-- made by hand -->\n<svg xmlns="http://www.w3.org/2000/svg">',
    "SVG: save": b"\xef\xbb\xbf<svg width='1'>",
    "web page": b"\n<!DOCTYPE html><html>",
    "is empty": b"",
    "is TIFF of a kind that is not read, such as floats in three colours": b"II*\0\x08\0\0\0\0\0\0\0\0\0",
    "is damaged: copy": b"\x89PNG\r\n\x1a\n" + bytes(40),
    "none of a known kind": b"not a picture",
}


@pytest.mark.parametrize("words, content", STRANGERS.items())
def test_what_is_no_picture_is_named(refused, words, content):
    told = refused(content)
    assert told.startswith("picture 'a.png' ") and words in told


@pytest.mark.parametrize("name", ["photograph.jpg", "rgb.png", "rgb.tiff", "moving.gif", "whole.webp"])
def test_what_is_cut_off_is_refused(refused, name):
    content = PLAIN[name]()
    assert "cannot be read" in refused(content[: len(content) * 2 // 3])


def test_floats_that_are_no_levels_are_refused(refused):
    file = BytesIO()
    Image.fromarray(np.array([[-1.0, 1.0]], np.float32)).save(file, "TIFF")
    assert "go from -1 to 1; accepted are 0 to 1, 0 to 255 and 0 to 65535" in refused(file.getvalue())


def test_long_animations_are_refused(refused, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_MOVING", 2 * ROWS * COLUMNS)
    told = refused(PLAIN["moving.gif"]())
    assert f"{COLUMNS} x {ROWS} pixels; accepted are 4,096 pixels in all, which are 2 such" in told
    monkeypatch.setattr(pictures, "MOST_FRAMES", 2)
    monkeypatch.setattr(pictures, "MOST_MOVING", 2**27)
    assert "more than 2 frames" in refused(PLAIN["moving.webp"]())


def test_pages_too_large_are_not_decoded(load, refused, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_READ", ROWS * COLUMNS)
    large = Image.new("RGB", (2 * COLUMNS, ROWS))
    assert load(encoded(of_mode("RGB"), "TIFF", save_all=True, append_images=[large]))[0].shape[0] == 1
    assert "128 x 32 pixels; accepted are" in refused(encoded(large, "TIFF"))


def test_names_that_are_listed(tmp_path):
    """As Pillow calls files of these kinds; what it reads of no kind is not listed."""
    Image.init()
    known = {suffix: kind for suffix, kind in Image.registered_extensions().items() if kind in pictures.FORMATS}
    ours = {suffix: kind for kind, suffixes in pictures.FORMATS.items() for suffix in suffixes if suffix in known}
    assert ours.items() <= known.items()
    for suffix in (*PICTURES, ".svg", ".heic", ".txt", ".psd"):
        (tmp_path / f"a{suffix}").write_bytes(b"")
    assert Folders((tmp_path,), tmp_path).pictures() == sorted(f"a{suffix}" for suffix in PICTURES)
    assert {".jfif", ".avif", ".apng", ".pgm", ".ppm"} <= PICTURES
