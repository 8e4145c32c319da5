"""Pictures read from files that anyone may have made, and checked before they are written."""

from __future__ import annotations

import json
import math
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from .failures import said
from .pack import part_of_pack
from .png import SIGNATURE, without_texts
from .problems import Json, RunError
from .strangers import HEAD, stranger

if TYPE_CHECKING:
    from PIL.PngImagePlugin import PngInfo

    from mgt_core.levels import Levels

# Those of which none starts another program to be read, and how their files are called.
FORMATS: dict[str, tuple[str, ...]] = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "MPO": (".mpo",),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif", ".avifs"),
    "JPEG2000": (".jp2", ".j2k", ".jpx", ".jpf"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "TGA": (".tga",),
    "ICO": (".ico",),
}
STILL = frozenset({"MPO"})  # whose further pictures are other views of the first, such as its depth
MOST_READ = 3 * 2**24  # pixels of a picture that is read: photographs have up to 50 million, and take 1.2 GB of memory
MOST_FRAMES = 4096  # of an animation, or pages, as many as a batch of the nodes' has
MOST_MOVING = 2**27  # pixels of all frames: 512 of 512 x 512, which take 1.6 GB as the numbers of an IMAGE
MOST_BYTES = 2**29  # of a file that is brought into memory
MOST_PIXELS = 2**26  # of a picture that is made: 8192 x 8192, which takes 0.8 GB as the numbers of an IMAGE
MOST_PICTURES = 2**16  # in a batch, as many as the widget of any node makes at once
MOST_SCALED = 2**28  # pixels of a batch that is scaled: 3 GB as the numbers of an IMAGE


def read_pictures(path: Path, name: str) -> list[Levels]:
    """The picture of a file, or all frames that are of the first one's size, upright.

    Raises RunError for more pixels than are accepted, told before they are decoded, and for a file that holds no
    picture.
    """
    from PIL import Image, UnidentifiedImageError

    what = f"picture {name!r}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what Pillow puts right
            Image.init()
            try:
                return frames(path, what)
            except ValueError:
                # Pillow takes no texts of more than a megabyte, as large workflows can be.
                with path.open("rb") as stream:
                    if stream.read(len(SIGNATURE)) != SIGNATURE:
                        raise
                    stream.seek(0)
                    return frames(without_texts(stream, MOST_BYTES), what)
    except RunError:
        raise
    except Image.DecompressionBombError as error:
        raise RunError(f"{what} has more pixels than the {MOST_READ:,} that are accepted") from error
    except UnidentifiedImageError as error:
        with path.open("rb") as stream:
            told = stranger(stream.read(HEAD)) or f"is none of a known kind ({', '.join(FORMATS)})"
        raise RunError(f"{what} {told}") from error
    except Exception as error:  # readers of a broken file raise what it leads them to
        raise RunError(f"{what} cannot be read: {said(error)}") from error


def frames(file: Path | BinaryIO, what: str) -> list[Levels]:
    from PIL import Image, ImageSequence

    levels = part_of_pack("mgt_core.levels").levels
    found: list[Levels] = []
    with Image.open(file, formats=[kind for kind in FORMATS if kind in Image.OPEN]) as picture:
        first = set(picture.size)
        for number, frame in enumerate(ImageSequence.Iterator(picture)):
            if number == MOST_FRAMES:
                raise RunError(f"{what} has more than {MOST_FRAMES} frames, which are accepted")
            if set(frame.size) != first:  # not even decoded
                continue
            pixels = frame.width * frame.height
            check_size(frame.size, what, most=MOST_READ)
            if pixels * len(found) > MOST_MOVING - pixels and found:
                raise RunError(
                    f"{what} has frames of {frame.width} x {frame.height} pixels; accepted are {MOST_MOVING:,} pixels "
                    f"in all, which are {MOST_MOVING // pixels} such frames: make it shorter or smaller"
                )
            own = levels(frame)
            if not found or own.colours.shape == found[0].colours.shape:
                found.append(own)
            if picture.format in STILL:
                break
    return found


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
