"""Files that are read again by other runs, or written by several processes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where one process at a time has to do
    fcntl = None


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
        except OSError:
            yield False
            return
        yield True
