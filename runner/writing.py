"""Files that come out of a run: whole or not at all, and under a name that nobody had."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

UNFINISHED = ".part"  # ending of files that are being written, whose names begin with a dot
ABANDONED = 24 * 3600  # seconds after which an unfinished file is nobody's, where no lock can tell


def save_new(paths: Iterator[Path], write: Callable[[IO[bytes]], object]) -> Path:
    """The first of `paths`, all of one folder, that nobody has yet, holding what `write` wrote to the stream it is
    given. Of several processes each gets another one. A process that fails or ends meanwhile leaves none of them, and
    a hidden file at the most, which `sweep` removes.

    Raises OSError, and what `write` raises.
    """
    path = next(paths)
    stream = unfinished(path.parent)
    partial = Path(stream.name)
    try:
        with stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
            if not fcntl:
                stream.close()  # Windows renames no open file; elsewhere it is locked by being open
            while not named(partial, path):
                path = next(paths)
    finally:
        with suppress(OSError):
            partial.unlink()
    to_disk(path.parent)
    return path


def unfinished(folder: Path) -> IO[bytes]:
    """A new hidden file in the folder, which `sweep` of another process leaves alone while it is open."""
    while True:
        stream = (folder / f".{os.getpid()}-{secrets.token_hex(4)}{UNFINISHED}").open("xb")
        if fcntl:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(stream, fcntl.LOCK_EX)
        if os.path.exists(stream.name):  # not swept before it was locked
            return stream
        stream.close()


def named(partial: Path, path: Path) -> bool:
    """Whether the file could be given the name `path`, which then nobody had."""
    try:
        if not fcntl:
            os.rename(partial, path)  # on Windows never over another
            return True
        try:
            os.link(partial, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without second names
            path.open("xb").close()
            os.replace(partial, path)
    except FileExistsError:
        return False
    return True


def sweep(folder: Path) -> None:
    """Removes what killed processes left unfinished in a folder."""
    for path in folder.glob(f".*{UNFINISHED}"):
        with suppress(OSError):
            if path.is_file() and not path.is_symlink():
                remove_abandoned(path)


def remove_abandoned(path: Path) -> None:
    if not fcntl:
        if time.time() - path.stat().st_mtime > ABANDONED:
            path.unlink()
        return
    with path.open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()


def to_disk(folder: Path) -> None:
    """Has the system write the folder's names, where it can."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
