"""Files in place of those that somebody meant to have: wherever one of anybody's is read that cannot be what its name
says, what it is and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import MGTError
from .beginnings import START, Told, told_from
from .disk import is_file, opened
from .endings import LEFT_OVER

NOTES = ".aria2"  # beside a file of its full size whose numbers are not all there; it goes when they are
WAIT = "let it end, or download the file again"


def in_place_of(path: Path) -> Told | None:
    """What an unreadable file is; None where nobody knows, or it is not there."""
    left = (path.with_name(path.name + ending) for ending in LEFT_OVER)
    if found := next(filter(is_file, left), None):
        return Told(f"unfinished, since {found.name} lies beside it", WAIT)
    try:
        with opened(path) as stream:
            return told_from(stream.read(START) or b"", path.suffix)
    except MGTError:  # the system's word says it
        return None


def notes_of(path: Path) -> Path:
    """What lies beside a file, however whole it looks, while a program downloads it."""
    return path.with_name(path.name + NOTES)


def check_finished(path: Path) -> None:
    """Raises MGTError for a file that a program is still downloading, though it can be read."""
    notes = notes_of(path)
    if is_file(notes):
        raise MGTError(f"{path} is unfinished, since {notes.name} lies beside it; {WAIT}, or remove {notes.name}")


@contextmanager
def told_apart(path: Path) -> Iterator[None]:
    """What the block raises of a file that cannot be read ends with what it is and what to do, where that is known."""
    try:
        yield
    except MGTError as error:
        if told := in_place_of(path):
            raise MGTError(f"{error}{told.instead}") from None
        raise
