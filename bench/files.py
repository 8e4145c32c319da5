"""Files that are read again by other runs, or written by several processes."""

import os
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Whole or not at all, whenever the process ends."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial.write_bytes(content)
    os.replace(partial, path)
