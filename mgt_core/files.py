"""Files that are written whole or not at all, and by one process at a time."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows, where one process at a time has to do
    fcntl = None

PAUSE = 1.0  # seconds between two looks at what another process has claimed
ABANDONED = 24 * 3600  # seconds after which an unfinished file is nobody's, where a lock cannot tell
UNFINISHED = ".part"  # ending of files that are being written


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A hidden place beside `path` to write to; what lies there takes the place of `path` when the block ends, with its
    content on the disk before. A block that raises leaves `path` as it was, and nothing beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")
    with partial.open("wb") as held:
        lock(held)  # by which `sweep` tells that it is not left over
        try:
            yield partial
            to_disk(partial)
            if fcntl:  # elsewhere an open file cannot be renamed
                os.replace(partial, path)
        except BaseException:
            held.close()
            with suppress(OSError):
                partial.unlink()
            raise
    if not fcntl:
        os.replace(partial, path)
    to_disk(path.parent)


def replace_file(path: Path, content: bytes) -> None:
    """Whole or not at all, whenever the process ends."""
    with written_whole(path) as partial:
        partial.write_bytes(content)


def to_disk(path: Path) -> None:
    """Has the system write what it holds of a file, or of a folder's names, where it can."""
    with suppress(OSError):
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def sweep(folder: Path, name: str = "*") -> None:
    """Removes what killed processes left unfinished of files called `name` (a pattern) in a folder."""
    for file in folder.glob(f".{name}.*{UNFINISHED}"):
        with suppress(OSError), file.open("rb") as held:
            if lock(held) if fcntl else time.time() - file.stat().st_mtime > ABANDONED:
                file.unlink()


def lock(stream: IO) -> bool:
    """Whether an open file is this process's alone from now on, until it is closed. A file system without locks says
    yes to everyone."""
    try:
        if fcntl:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        pass
    return True


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Whether `path` is this process's to write for now; a claim ends with its process, however that ends."""
    with path.with_suffix(".lock").open("w") as stream:
        yield lock(stream)


@contextmanager
def waited_for(path: Path, told: Callable[[], None]) -> Iterator[None]:
    """`path` is this process's to write, as soon as it is no other's. told: called once, where that is not at once."""
    first = True
    while True:
        with claimed(path) as mine:
            if mine:
                yield
                return
        if first:
            told()
        first = False
        time.sleep(PAUSE)
