"""The numbers in a picture file, whatever it stores: 1 to 32 bits, floats, palettes, inks, with the camera's turn.

Pillow brings most kinds to 8 bits by itself. Those of more than 8 bits in one channel it cuts off at 255 instead.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms

EIGHT, SIXTEEN = 2**8 - 1, 2**16 - 1
BRIGHTEST = 16  # of floats whose white is 1: beyond it they are levels of 8 or 16 bits
DIP = 0.5  # share of white by which floats may lie below black, as filters leave them
ORIENTATION, BITS, PHOTOMETRIC, SAMPLE_FORMAT = 274, 258, 262, 339  # tags of TIFF, the first of EXIF too
WHITE_IS_ZERO, SIGNED = 0, 2
TURNS: Mapping[int, Callable[[np.ndarray], np.ndarray]] = {  # EXIF's orientations
    2: np.fliplr,
    3: lambda rows: np.rot90(rows, 2),
    4: np.flipud,
    5: lambda rows: rows.swapaxes(0, 1),
    6: lambda rows: np.rot90(rows, -1),
    7: lambda rows: np.rot90(rows.swapaxes(0, 1), 2),
    8: np.rot90,
}


@dataclass(frozen=True)
class Levels:
    """colours: [H, W, 3] float32 in 0..1. opacity: [H, W] likewise, None where no part can be transparent."""

    colours: np.ndarray
    opacity: np.ndarray | None = None


def levels(picture: Image.Image) -> Levels:
    """Of the frame at which an opened picture stands, upright. Raises ValueError for floats that are no levels, and
    what Pillow raises for broken files."""
    picture.load()
    if picture.mode in WIDE:
        found = wide(picture)
    else:
        clear = picture.has_transparency_data
        rows = np.asarray(plain(picture).convert("RGBA" if clear else "RGB")).astype(np.float32) / EIGHT
        found = Levels(rows[..., :3], rows[..., 3] if clear else None)
    turn = TURNS.get(orientation(picture), lambda rows: rows)
    opacity = None if found.opacity is None else np.ascontiguousarray(turn(found.opacity))
    return Levels(np.ascontiguousarray(turn(found.colours)), opacity)


def orientation(picture: Image.Image) -> int:
    """1 where the notes of the camera cannot be read: they are as foreign as the rest."""
    try:
        return int(picture.getexif().get(ORIENTATION, 1))
    except Exception:
        return 1


def plain(picture: Image.Image) -> Image.Image:
    """In a mode that Pillow converts to RGB and RGBA."""
    if picture.mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(picture, lab, rgb, outputMode="RGB")
    return picture.convert(picture.mode.upper()) if picture.mode in ("La", "RGBa") else picture


def wide(picture: Image.Image) -> Levels:
    """Of one channel with more than 8 bits."""
    grey, key = WIDE[picture.mode](picture), picture.info.get("transparency")
    colours = np.repeat(grey.astype(np.float32)[..., None], 3, axis=2)
    if not isinstance(key, int):
        return Levels(colours)
    return Levels(colours, (np.asarray(picture) != key).astype(np.float32))


def of_sixteen_bits(picture: Image.Image) -> np.ndarray:
    tags = getattr(picture, "tag_v2", {})
    top = 2 ** tags.get(BITS, (16,))[0] - 1  # 12 is read as well
    shares = np.minimum(np.asarray(picture).astype(np.float32) / top, 1)
    return 1 - shares if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else shares


def of_integers(picture: Image.Image) -> np.ndarray:
    """Of 32 bits, or of 16 that Pillow gives that way: white is 65535 as far as no value is larger."""
    tags = getattr(picture, "tag_v2", {})
    bits, signed = tags.get(BITS, (32,))[0], tags.get(SAMPLE_FORMAT, (1,))[0] == SIGNED
    values = np.asarray(picture)
    values = values if signed else values.view(np.uint32)
    top = SIXTEEN if bits == 32 and values.max() <= SIXTEEN else 2 ** (bits - signed) - 1
    return np.clip(values / top, 0, 1)


def of_floats(picture: Image.Image) -> np.ndarray:
    """White is 1, and what is brighter is cut off; or 255 or 65535, for whole numbers above 1 and for what is far
    above 1. Raises ValueError for other ranges and for what is not finite."""
    values = np.asarray(picture)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite((low, high)).all():
        raise ValueError("some of its values are NaN or infinite")
    light = high <= 1 or (high <= BRIGHTEST and bool((values != values.round()).any()))
    top = 1 if light else next((top for top in (EIGHT, SIXTEEN) if high <= top + 0.5), None)
    if top is None or low < -DIP * top:
        raise ValueError(f"its values go from {low:.4g} to {high:.4g}; accepted are 0 to 1, 0 to 255 and 0 to 65535")
    return np.clip(values / top, 0, 1)


WIDE: Mapping[str, Callable[[Image.Image], np.ndarray]] = {
    "I": of_integers,
    "F": of_floats,
    **dict.fromkeys(("I;16", "I;16L", "I;16B", "I;16N"), of_sixteen_bits),
}
