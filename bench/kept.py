"""What benches keep on disk, so that a run that was stopped goes on: files that cannot be read are made again."""

import logging
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np

from mgt_core.errors import reason, shown_text
from mgt_core.loading.disk import parse_json

log = logging.getLogger(__name__)

T = TypeVar("T")

LARGEST_JSON = 32 * 2**20  # bytes, three times what 100,000 scores take; as lists alone they fill 0.7 GB of memory
MOST_LISTS = 2_000_000  # and objects in it: one for each of so many scores


def kept(file: Path, read: Callable[[Path], T]) -> T | None:
    """What `read` makes of a file that was kept; None where there is none, and where `read` raises, whatever that is:
    it is made again, as the log says once."""
    if not file.is_file():
        return None
    try:
        return read(file)
    except Exception as error:  # files end anywhere, and every format fails in its own ways
        say_again(file, reason(error))
        return None


@cache
def say_again(file: Path, why: str) -> None:
    log.warning("%s", shown_text(f"{file} cannot be read ({why}), and is made again"))


def json_in(file: Path, largest: int = LARGEST_JSON):
    """What a JSON file of at most `largest` bytes holds. Raises OSError, and ValueError for anything that is no JSON,
    or too much of it."""
    with file.open("rb") as stream:
        data = stream.read(largest + 1)
    if len(data) > largest:
        raise ValueError(f"it is larger than {largest >> 20} MiB")
    return parse_json(data, MOST_LISTS)


def cleaned(value):
    """With None for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {name: cleaned(held) for name, held in value.items()}
    if isinstance(value, (list, tuple)):
        return [cleaned(held) for held in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def pictures_in(file: Path, kind: type[T]) -> T:
    """A dataclass of arrays and numbers, `images` [P, H, W, 3] uint8 among them, from an .npz file. Raises one of many
    exceptions for a file that holds something else."""
    with np.load(file) as held:
        found = kind(**{name: held[name] if held[name].ndim else held[name].item() for name in held.files})
    if found.images.ndim != 4 or found.images.dtype != np.uint8:
        raise ValueError("it holds no pictures")
    return found
