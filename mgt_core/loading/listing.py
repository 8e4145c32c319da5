"""What is looked at in folders: so many entries, for so long. Lists are asked for whenever the nodes are, and what
anyone put there (a link to a whole disk, a folder of pictures) may not hold them up."""

import logging
import math
import os
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from ..errors import MGTError
from ..folders import OLD, original, recover
from .disk import is_dir
from .endings import TELLING
from .hub import REPOSITORY, entered

log = logging.getLogger(__name__)

T = TypeVar("T")

FOLDER_ENTRIES = 10_000  # folders, and as many files, of one folder; people's have some hundred
SEEN = 200_000  # entries of one folder among which those are looked for; a tenth of a second's work
ENTRIES = 30_000  # of all folders of one list; a second's work
SECONDS = 20.0  # for reading the headers of one list that are not known yet; a thousand models on a slow disk

FOLDER, FILE = "folder", "file"


@dataclass
class Left:
    """What a list may still look at, and what it knows."""

    entries: int
    until: float
    seconds: float
    told: bool = False
    known: dict = field(default_factory=dict)

    def nothing(self) -> bool:
        over = self.entries <= 0 or time.monotonic() > self.until
        if over and not self.told:
            self.told = True
            log.warning(
                "the folders of models hold more than a list looks at (%d entries, %.0f s); the rest is left out, and "
                "what was not read yet comes when the list is asked for again",
                ENTRIES,
                self.seconds,
            )
        return over


_left: ContextVar[Left | None] = ContextVar("mgt_listing", default=None)


@contextmanager
def one_list(most: float = math.inf) -> Iterator[None]:
    """What is looked at inside this block, or a function that has it as decorator, is bounded. most: seconds, where
    fewer than for others will do."""
    seconds = min(most, SECONDS)
    token = _left.set(Left(ENTRIES, time.monotonic() + seconds, seconds))
    try:
        yield
    finally:
        _left.reset(token)


def is_listing() -> bool:
    return _left.get() is not None


def check_time() -> None:
    """Raises MGTError where a list has no time to read another file."""
    left = _left.get()
    if left and left.nothing():
        raise MGTError("there is no time left to read it for this list")


def once(function: Callable[[Path], T]) -> Callable[[Path], T]:
    """What it says of a path holds for the whole of a list, which comes to some paths again and again."""

    @wraps(function)
    def remembered(path: Path) -> T:
        left = _left.get()
        if left is None:
            return function(path)
        key = function, path
        if key not in left.known:
            left.known[key] = function(path)
        return left.known[key]

    return remembered


class Entry(NamedTuple):
    """path: of a model in a cache (hub.py), that of its files."""

    name: str
    is_folder: bool  # else it is a regular file
    path: Path


@once
def contents(folder: Path) -> list[Entry]:
    """Folders, and files of models or settings, in a folder: what is not hidden and has a name that a widget can show;
    links last, which may lead to anything. Nothing where it may not be read."""
    left = _left.get()
    if left and left.nothing():
        return []
    found: dict[str, list] = {FOLDER: [], FILE: [], "": []}
    try:
        with os.scandir(folder) as entries:
            for entry in islice(entries, SEEN):
                kind = kind_of(entry)
                if len(found[kind]) < FOLDER_ENTRIES:
                    found[kind].append((entry.is_symlink(), entry.name, kind == FOLDER))
    except (OSError, ValueError) as error:
        log.debug("%s is passed over: %s", folder, error)
        return []
    found[FOLDER] += [(False, name, True) for name in come_back(folder, found[""])]
    kept = found[FOLDER] + found[FILE]
    if left:
        left.entries -= 1 + len(kept)
    if FOLDER_ENTRIES in (len(found[FOLDER]), len(found[FILE])):
        log.warning("%s holds more than %d folders or files; the rest is passed over", folder, FOLDER_ENTRIES)
    shown = [(name, is_folder) for _, name, is_folder in sorted(kept) if can_be_shown(name, folder)]
    return [Entry(name, is_folder, place_of(folder / name)) for name, is_folder in shown]


def place_of(path: Path) -> Path:
    return entered(path) if path.name.startswith(REPOSITORY) else path


def come_back(folder: Path, others: list) -> Iterator[str]:
    """Of the folders among `others` that killed processes had put aside, those that are in their places again."""
    for left in (folder / name for _, name, _ in others if name.endswith(OLD)):
        place = original(left, OLD)
        if not is_dir(place):
            recover(place)
            if is_dir(place):
                yield place.name


def kind_of(entry: os.DirEntry) -> str:
    """FOLDER, FILE, or nothing for what is hidden, or is neither, or a file that says nothing of models: pipes, links
    that lead nowhere, pictures."""
    try:
        if entry.name.startswith("."):
            return ""
        if entry.is_dir():
            return FOLDER
        return FILE if entry.name.endswith(TELLING) and entry.is_file() else ""
    except OSError:  # a link to itself
        return ""


def can_be_shown(name: str, folder: Path | str) -> bool:
    """Whether a name is text of one line, which JSON and a widget take."""
    if odd := [c for c in name if unicodedata.category(c) in ("Cc", "Cs")]:
        log.debug("%r in %s is passed over: %r is no character of a name", name, folder, odd[0])
    return not odd


def files_in(folder: Path, *endings: str) -> list[Path]:
    """The regular files whose names end so."""
    return [entry.path for entry in contents(folder) if not entry.is_folder and entry.name.endswith(endings)]


def folders_in(folder: Path) -> list[Path]:
    return [entry.path for entry in contents(folder) if entry.is_folder]


def identity(folder: Path) -> tuple[int, int] | None:
    """What tells a folder from others, by whatever links it was come to; None where there is none."""
    try:
        found = os.stat(folder)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino
