"""What is looked at in folders: so many entries, for so long. Lists are asked for whenever the nodes are, and what
anyone put there (a link to a whole disk, a folder of pictures) may not hold them up."""

import logging
import os
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ..errors import MGTError

log = logging.getLogger(__name__)

FOLDER_ENTRIES = 10_000  # of one folder; people's have some hundred
ENTRIES = 100_000  # of all folders of one list; a second's work
SECONDS = 20.0  # for reading the headers of one list that are not known yet; a thousand models on a slow disk


@dataclass
class Left:
    """What a list may still look at."""

    entries: int
    until: float
    told: bool = False

    def nothing(self) -> bool:
        over = self.entries <= 0 or time.monotonic() > self.until
        if over and not self.told:
            self.told = True
            log.warning(
                "the folders of models hold more than a list looks at (%d entries, %.0f s); the rest is left out, and "
                "what was not read yet comes when the list is asked for again",
                ENTRIES,
                SECONDS,
            )
        return over


_left: ContextVar[Left | None] = ContextVar("mgt_listing", default=None)


@contextmanager
def one_list() -> Iterator[None]:
    """What is looked at inside this block, or a function that has it as decorator, is bounded."""
    token = _left.set(Left(ENTRIES, time.monotonic() + SECONDS))
    try:
        yield
    finally:
        _left.reset(token)


def check_time() -> None:
    """Raises MGTError where a list has no time to read another file."""
    left = _left.get()
    if left and left.nothing():
        raise MGTError("there is no time left to read it for this list")


def names_in(folder: Path) -> list[str]:
    """What lies in a folder and is not hidden, links last, which may lead to anything; nothing where it may not be
    read. Names that no widget can show are left out."""
    left, most = _left.get(), FOLDER_ENTRIES
    if left:
        if left.nothing():
            return []
        most = min(most, left.entries)
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry.is_symlink(), entry.name) for entry in islice(entries, most))
    except (OSError, ValueError) as error:
        log.debug("%s is passed over: %s", folder, error)
        return []
    if left:
        left.entries -= max(1, len(found))
    if len(found) == FOLDER_ENTRIES:
        log.warning("%s holds more than %d entries; the rest is passed over", folder, FOLDER_ENTRIES)
    return [name for _, name in found if not name.startswith(".") and can_be_shown(name, folder)]


def can_be_shown(name: str, folder: Path | str) -> bool:
    """Whether a name is text of one line, which JSON and a widget take."""
    if odd := [c for c in name if unicodedata.category(c) in ("Cc", "Cs")]:
        log.debug("%r in %s is passed over: %r is no character of a name", name, folder, odd[0])
    return not odd


def entries_of(folder: Path) -> list[Path]:
    return [folder / name for name in names_in(folder)]


def identity(folder: Path) -> tuple[int, int] | None:
    """What tells a folder from others, by whatever links it was come to; None where there is none."""
    try:
        found = os.stat(folder)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino
