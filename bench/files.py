"""Files that a bench may be stopped while writing."""

import os
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Whole or not at all, whenever the process ends."""
    partial = path.with_name(f".{path.name}.part")
    partial.write_bytes(content)
    os.replace(partial, path)
