"""Files that are read again by other runs, or written by several processes."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where one process at a time has to do
    fcntl = None


PAUSE = 1.0  # seconds between two looks at what another process has claimed
SAMPLES, SAMPLE_BYTES = 16, 2**20  # of a weight file, which may hold gigabytes, to tell it from others


def sampled_hash(files: Mapping[str, Path]) -> str:
    """What tells files, by name, from others: a hash of the sizes of all and of parts of each."""
    digest = hashlib.sha256()
    for name, file in sorted(files.items()):
        size = file.stat().st_size
        digest.update(f"{name} {size}\n".encode())
        with file.open("rb") as stream:
            for place in range(SAMPLES):
                stream.seek(max(0, size - SAMPLE_BYTES) * place // (SAMPLES - 1))
                digest.update(stream.read(SAMPLE_BYTES))
    return digest.hexdigest()[:12]


def replace_file(path: Path, content: bytes) -> None:
    """Whole or not at all, whenever the process ends."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial.write_bytes(content)
    os.replace(partial, path)


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Whether `path` is this process's to write for now; a claim ends with its process, however that ends."""
    with path.with_suffix(".lock").open("w") as stream:
        try:
            if fcntl:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            yield False
            return
        except OSError:  # a file system without locks is as Windows
            pass
        yield True


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
