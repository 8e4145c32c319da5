"""Reading what anyone may have put on a disk: regular files alone, up to a size, and every fault as one sentence."""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import MGTError, reason
from .beginnings import START, told_from, told_of_answer

MAX_JSON = 4 * 2**20  # bytes: a config has some thousand, the index of a model of 10,000 tensors one million
LISTS = 200_000  # lists and objects in JSON: a header has three a tensor
DEEPEST = 64  # levels of lists and objects in JSON, where a config has about five
DIGITS = 40  # of a whole number in JSON, where tokenizers have 31


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A regular file, to be read. Pipes and devices would hold up or never end who reads them.

    Raises MGTError for anything else, and for what the system says while it is read."""
    check_regular(path, stat_of(path))
    try:
        with open(path, "rb", opener=opened_at_once) as stream:
            check_regular(path, os.fstat(stream.fileno()))  # it may have been replaced meanwhile
            yield stream
    except OSError as error:
        raise unread(path, error) from None


def stat_of(path: Path) -> os.stat_result:
    """Raises MGTError where the system does not tell of the path."""
    try:
        return os.stat(path)
    except OSError as error:
        raise unread(path, error) from None
    except ValueError:  # with a NUL or a lone surrogate in it
        raise MGTError(f"{str(path)!r} can be no name of a file") from None


def unread(path: Path, error: OSError) -> MGTError:
    """What the system said when it was to be read, in a sentence."""
    if isinstance(error, FileNotFoundError):
        return MGTError(f"{path} is missing")
    return MGTError(f"{path} cannot be read ({error.strerror or reason(error)})")


def opened_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def check_regular(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise MGTError(f"{path} is {'a folder' if stat.S_ISDIR(found.st_mode) else 'no regular file'}; expected a file")


def size_of(stream: BinaryIO) -> int:
    return os.fstat(stream.fileno()).st_size


def read_whole(path: Path, limit: int) -> bytes:
    """The content of a regular file. Raises MGTError for one that is not, cannot be read or has more than `limit`
    bytes."""
    with opened(path) as stream:
        if (size := size_of(stream)) > limit:
            raise MGTError(f"{path} has {size} bytes; accepted are up to {limit}")
        return stream.read(limit) or b""  # nothing at all of what would have to be waited for


def read_json(path: Path) -> dict:
    """Raises MGTError for a missing file, or one that does not hold a JSON object of ordinary size and depth."""
    data = read_whole(path, MAX_JSON)
    try:
        value = parse_json(data)
    except ValueError as error:
        told = told_from(data[:START], ".json")
        raise MGTError(f"{path} is not valid JSON ({reason(error)}){told.instead if told else ''}") from None
    if told := told_of_answer(value):
        raise MGTError(f"{path} is no settings of a model{told.instead}")
    if not isinstance(value, dict):
        raise MGTError(f"{path} holds {type(value).__name__}; expected a JSON object")
    return value


def parse_json(data: bytes, lists: int = LISTS) -> Any:
    """Raises ValueError for what is no JSON, is nested deeper than DEEPEST, holds more than `lists` lists and objects,
    or whole numbers longer than DIGITS."""
    if data.count(b"[") + data.count(b"{") > lists:
        raise ValueError(f"it holds more than {lists} lists and objects")
    deep = ValueError(f"it is nested deeper than {DEEPEST} levels")
    try:
        value = json.loads(data.decode("utf-8"), parse_int=whole)
    except RecursionError:
        raise deep from None
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level if isinstance(outer, (dict, list)) for inner in within(outer)]
        if not level:
            return value
    raise deep


def within(outer: dict | list):
    return outer.values() if isinstance(outer, dict) else outer


def whole(digits: str) -> int:
    if len(digits) > DIGITS:
        raise ValueError(f"it holds a whole number of {len(digits)} digits; accepted are up to {DIGITS}")
    return int(digits)


def is_file(path: Path) -> bool:
    """Whether it is a regular file; False also where that cannot be told, or no file can have such a name."""
    return os.path.isfile(path)


def is_dir(path: Path) -> bool:
    """Whether it is a folder; False also where that cannot be told, or no folder can have such a name."""
    return os.path.isdir(path)
