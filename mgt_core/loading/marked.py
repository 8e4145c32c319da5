"""Text files for libraries that read UTF-8 without a byte order mark alone, as tokenizers are."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from .disk import is_file, opened, read_whole, text_of

BEGINNING = 4  # bytes, by which JSON tells encodings and marks


@contextmanager
def in_utf8(folder: Path, names: Mapping[str, int]) -> Iterator[Path]:
    """The folder itself where the files of it are as such libraries want them; else one, for as long as the block runs,
    that holds them so. names: of the files, with the most bytes that each may have.

    Raises MGTError for one that is larger, and ValueError for one that is no text."""
    files = {folder / name: most for name, most in names.items() if is_file(folder / name)}
    if not any(map(is_marked, files)):
        yield folder
        return
    with TemporaryDirectory() as place:
        for file, most in files.items():
            (Path(place) / file.name).write_bytes(text_of(read_whole(file, most)).encode("utf-8", "surrogatepass"))
        yield Path(place)


def is_marked(file: Path) -> bool:
    """Whether it begins with a mark, or is in another encoding than UTF-8 that can be told."""
    with opened(file) as stream:
        return json.detect_encoding(stream.read(BEGINNING) or b"") != "utf-8"
