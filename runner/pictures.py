"""Pictures read from files that anyone may have made, and checked before they are written."""

from __future__ import annotations

import json
import math
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .failures import said
from .problems import Json, RunError

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.PngImagePlugin import PngInfo

# Those of which none starts another program to be read.
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "JPEG2000", "PPM", "TGA", "ICO")
MOST_READ = 3 * 2**24  # pixels of a picture that is read: photographs have up to 50 million, and take 1.2 GB of memory
MOST_PIXELS = 2**26  # of one that is made: 8192 x 8192, which takes 0.8 GB as the numbers of an IMAGE
MOST_PICTURES = 2**16  # in a batch, as many as the widget of any node makes at once
MOST_SCALED = 2**28  # pixels of a batch that is scaled: 3 GB as the numbers of an IMAGE


def read_picture(path: Path, name: str) -> Image:
    """The first picture of a file, upright: RGBA where parts of it can be transparent, else RGB.

    Raises RunError for more than MOST_READ pixels, told before they are decoded, and for a file that holds no picture.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what Pillow puts right
            Image.init()
            with Image.open(path, formats=[kind for kind in FORMATS if kind in Image.OPEN]) as picture:
                check_size(picture.size, f"picture {name!r}", most=MOST_READ)
                picture.load()
                clear = "A" in picture.getbands() or "transparency" in picture.info
                return upright(picture).convert("RGBA" if clear else "RGB")
    except RunError:
        raise
    except Image.DecompressionBombError as error:
        raise RunError(f"picture {name!r} has more pixels than the {MOST_READ:,} that are accepted") from error
    except UnidentifiedImageError as error:
        raise RunError(f"picture {name!r} is none of a known kind ({', '.join(FORMATS)})") from error
    except Exception as error:  # readers of a broken file raise what it leads them to
        raise RunError(f"picture {name!r} cannot be read: {said(error)}") from error


def upright(picture: Image) -> Image:
    """Turned as its camera says, or as it is where that cannot be read."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # the notes of a camera are as foreign as the rest
        return picture


def check_size(size: tuple[int, int], what: str, batch: int = 1, most: int = MOST_PIXELS) -> None:
    """Raises RunError for (width, height) of more pixels than are worked on, also of a batch together."""
    width, height = size
    if width * height > most:
        raise RunError(f"{what} is {width} x {height} pixels; accepted are {most:,}, such as 8192 x {most // 8192}")
    if width * height * batch > MOST_SCALED:
        raise RunError(f"{what} is {width} x {height} pixels for {batch} pictures; accepted are {MOST_SCALED:,} in all")


def check_pictures(images: Any) -> None:
    """Raises RunError for what cannot be saved as pictures, all of it."""
    import torch

    shape = list(images.shape) if isinstance(images, torch.Tensor) else type(images).__name__
    if not isinstance(shape, list) or len(shape) != 4 or shape[-1] not in (3, 4) or not all(shape):
        raise RunError(f"images are {shape}; expected pictures of shape [batch, height, width, 3]")
    if not images.is_floating_point() or images.is_meta:
        held = "without values" if images.is_meta else f"of {images.dtype}"
        raise RunError(f"images are {held}; expected floats in 0 to 1")
    check_size((shape[2], shape[1]), "each of the images")
    if shape[0] > MOST_PICTURES:
        raise RunError(f"there are {shape[0]} images; {MOST_PICTURES} at once can be saved")
    for place, image in enumerate(images):
        if not all(map(math.isfinite, torch.stack(image.aminmax()).tolist())):  # one by one, and NaN too
            raise RunError(f"image {place + 1} of {shape[0]} holds values that are not finite, which are no colours")


def texts(given: Json) -> PngInfo:
    """What a picture says of how it was made, as JSON, left out where PNG has no such names."""
    from PIL.PngImagePlugin import PngInfo

    held = PngInfo()
    for name, value in given.items():
        if value is not None and re.fullmatch(r"[!-~]{1,79}", str(name)):
            held.add_text(str(name), json.dumps(value))
    return held
