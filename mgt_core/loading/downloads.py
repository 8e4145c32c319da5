"""Downloads that were not finished: what they leave behind is no model, and one sentence says so."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from ..errors import MGTError
from .endings import LEFT_OVER
from .hub import name_of, repository_above

KEPT = Path(".cache", "huggingface", "download")  # below a folder that huggingface_hub was told to download to
SEEN = 10_000  # files that are looked at
WHAT, ADVICE = "an unfinished download", "download it again, which goes on where it ended"


def unfinished(path: Path) -> str:
    """How names of files end that a download of this folder left in it when it ended early; "" where there are none."""
    repository = repository_above(path)
    places = [repository] if repository else [path, path / KEPT, path.parent / KEPT / path.name]
    files = islice((file for place in places for file in files_below(place)), SEEN)
    return next((os.path.splitext(file)[1] for file in files if file.endswith(LEFT_OVER)), "")


def files_below(folder: Path, depth: int = 2) -> Iterator[str]:
    """Names of what is no folder, links to folders not followed."""
    try:
        with os.scandir(folder) as found:
            entries = [(entry.name, entry.path, entry.is_dir(follow_symlinks=False)) for entry in islice(found, SEEN)]
    except (OSError, ValueError):
        return
    for name, path, is_folder in entries:
        if not is_folder:
            yield name
        elif depth:
            yield from files_below(Path(path), depth - 1)


@contextmanager
def told_of_downloads(*sources: str | Path | None) -> Iterator[None]:
    """What is wrong with a part of `sources`, said after that its download is not finished, where it is not."""
    try:
        yield
    except MGTError as error:
        for path in (Path(source) for source in sources if isinstance(source, (str, Path)) and str(source)):
            if ending := unfinished(path):
                left = f"some of its files end in {ending}"
                raise MGTError(f"{name_of(path)} is {WHAT} ({left}): {ADVICE}; {error}") from None
        raise
