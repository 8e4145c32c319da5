"""New files, whole or not at all, under names that nobody has."""

from __future__ import annotations

import os
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows, where the age of a file has to tell
    fcntl = None

MARK, UNFINISHED = ".mgt-", ".part"  # around the names of files that are being written
ABANDONED = 24 * 3600  # seconds after which an unfinished file is nobody's, where a lock cannot tell


def save_new(paths: Iterator[Path], write: Callable[[IO[bytes]], object]) -> Path:
    """Has `write` fill a hidden file, which then gets the first of `paths` (names in one folder) that nobody has.

    Raises OSError, and whatever `write` raises; then nothing of it is left.
    """
    first = next(paths)
    file = _hidden(first.parent)
    partial = Path(file.name)
    try:
        with file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
            if fcntl:
                return _named(partial, chain([first], paths))
        return _named(partial, chain([first], paths))  # Windows renames no open file
    finally:
        with suppress(OSError):
            partial.unlink()


def _hidden(folder: Path) -> IO[bytes]:
    """A new hidden file, locked, by which `sweep` tells that it is not left over."""
    while True:
        file = (folder / f"{MARK}{uuid.uuid4().hex}{UNFINISHED}").open("xb")
        if _lock(file) is not False and os.path.exists(file.name):
            return file
        file.close()  # swept by another process in between


def sweep(folder: Path) -> None:
    """Removes what killed processes left unfinished in a folder."""
    for file in folder.glob(f"{MARK}*{UNFINISHED}"):
        with suppress(OSError):
            about = file.lstat()
            if not stat.S_ISREG(about.st_mode):
                continue
            with file.open("rb") as held:
                free = _lock(held)
                if time.time() - about.st_mtime > ABANDONED if free is None else free:
                    file.unlink()


def _named(partial: Path, paths: Iterator[Path]) -> Path:
    for path in paths:
        with suppress(FileExistsError):
            _name(partial, path)
            return path
    raise FileExistsError("every name is taken")


def _name(partial: Path, path: Path) -> None:
    """Raises FileExistsError where somebody has that name."""
    if not fcntl:
        os.rename(partial, path)
        return
    try:
        os.link(partial, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without second names: the name first, then the content
        path.open("xb").close()
        try:
            os.replace(partial, path)
        except OSError:
            path.unlink()
            raise


def _lock(file: IO[bytes]) -> bool | None:
    """Whether an open file is this process's alone until it is closed; None where the system cannot tell."""
    if not fcntl:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True
