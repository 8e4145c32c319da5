"""Small picture files of the kinds that people have: every mode, frames, notes of a camera."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (64, 32)  # width, height
ORIENTATION = 0x0112


def noise(channels: int = 3, seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """[H, W, C] of 8 bits; of one channel [H, W]."""
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    return values[..., 0] if channels == 1 else values


def of_mode(mode: str, seed: int = 0) -> Image.Image:
    return Image.frombytes(mode, SIZE, noise(len(Image.new(mode, (1, 1)).tobytes()), seed).tobytes())


def palette(alpha: bytes | None = None) -> Image.Image:
    picture = of_mode("RGB").quantize(8)
    if alpha is not None:
        picture.info["transparency"] = alpha
    return picture


def turned(number: int, kind: str = "JPEG", picture: Image.Image | None = None) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = number
    return encoded(picture or of_mode("RGB"), kind, exif=exif, subsampling=0)


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    file = BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def frames(mode: str, kind: str, count: int = 3, **options) -> bytes:
    first, *rest = (of_mode(mode, seed) for seed in range(count))
    return encoded(first, kind, save_all=True, append_images=rest, **options)


# What ComfyUI reads as it is meant, by file name.
PLAIN: dict[str, Callable[[], bytes]] = {
    "rgb.png": lambda: encoded(of_mode("RGB"), "PNG"),
    "rgba.png": lambda: encoded(of_mode("RGBA"), "PNG"),
    "grey.png": lambda: encoded(of_mode("L"), "PNG"),
    "grey and alpha.png": lambda: encoded(of_mode("LA"), "PNG"),
    "bits.png": lambda: encoded(of_mode("L").convert("1"), "PNG"),
    "palette.png": lambda: encoded(palette(), "PNG"),
    "clear palette.png": lambda: encoded(palette(b"\0\x80\xff"), "PNG"),
    "photograph.jpg": lambda: encoded(of_mode("RGB"), "JPEG", subsampling=0),
    "grey.jpg": lambda: encoded(of_mode("L"), "JPEG"),
    "inks.jpg": lambda: encoded(of_mode("CMYK"), "JPEG"),
    "rgb.bmp": lambda: encoded(of_mode("RGB"), "BMP"),
    "rgb.tiff": lambda: encoded(of_mode("RGB"), "TIFF"),
    "rgba.tiff": lambda: encoded(of_mode("RGBA"), "TIFF"),
    "inks.tiff": lambda: encoded(of_mode("CMYK"), "TIFF"),
    "pages.tiff": lambda: frames("RGB", "TIFF"),
    "whole.webp": lambda: encoded(of_mode("RGB"), "WEBP", lossless=True),
    "clear.webp": lambda: encoded(of_mode("RGBA"), "WEBP", lossless=True),
    "moving.webp": lambda: frames("RGB", "WEBP", lossless=True),
    "moving.gif": lambda: frames("RGB", "GIF"),
    "moving.png": lambda: frames("RGB", "PNG"),
    "still.gif": lambda: encoded(of_mode("RGB"), "GIF"),
    "rgb.ppm": lambda: encoded(of_mode("RGB"), "PPM"),
    "pair.mpo": lambda: frames("RGB", "MPO", 2, subsampling=0),
    **{f"turned {number}.jpg": lambda number=number: turned(number) for number in range(1, 9)},
    **{f"turned {number}.png": lambda number=number: turned(number, "PNG") for number in (3, 6)},
}


def make(folder: Path, files: dict[str, Callable[[], bytes]]) -> list[str]:
    for name, content in files.items():
        (folder / name).write_bytes(content())
    return list(files)
