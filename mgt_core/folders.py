"""Folders that take the place of older ones whole.

A folder cannot be renamed onto another one: the old one is put aside and the new one takes its name. Both lie hidden
beside it meanwhile, under names that say what they are, so that whoever comes next puts in order what a killed process
left: the old folder comes back where nothing lies under the name, and everything else is removed.
"""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .files import LOCK, abandoned, claimed, to_disk

NEW, OLD = ".mgt-new", ".mgt-old"
log = logging.getLogger(__name__)


@contextmanager
def written_folder(place: Path) -> Iterator[Path]:
    """An empty hidden folder to write to, which takes the place of `place` when the block ends, with its content on
    the disk before. A block that raises leaves what was at `place` as it was, and nothing beside it.

    The caller has claimed `place`, and called `settle`."""
    new, old = beside(place, NEW), beside(place, OLD)
    try:
        new.mkdir()
        yield new
        for path, _, files in os.walk(new):
            for name in files:
                to_disk(Path(path, name))
            to_disk(Path(path))
        if os.path.lexists(place):
            os.replace(place, old)
        os.replace(new, place)
        to_disk(place.parent)
    finally:
        settle(place)


def beside(place: Path, ending: str) -> Path:
    return place.parent / f".{place.name}{ending}"


def original(left: Path, ending: str) -> Path:
    """The place that `left` lies beside."""
    return left.with_name(left.name[1 : -len(ending)])


def settle(place: Path) -> None:
    """What `written_folder` began at `place`, put in order. The caller has claimed `place`."""
    new, old = beside(place, NEW), beside(place, OLD)
    if is_folder(old) and not os.path.lexists(place):
        os.replace(old, place)
    remove(new)
    if os.path.lexists(old):
        os.replace(old, new)  # half removed, it must not come back
        remove(new)


def is_folder(path: Path) -> bool:
    """Not a link to one, which leads to what is somebody else's."""
    return path.is_dir() and not path.is_symlink()


def remove(left: Path) -> None:
    """A folder with all that is in it, read-only folders too; a link or a file alone."""
    if not os.path.lexists(left):
        return
    try:
        if not is_folder(left):
            left.unlink()
            return
        for path, _, _ in os.walk(left):
            os.chmod(path, 0o700)
        shutil.rmtree(left)
    except OSError as error:
        log.warning("%s is left over and cannot be removed (%s)", left, error.strerror)


def recover(place: Path) -> None:
    """What was at `place` is there again, where a process was killed while it put something new there."""
    with suppress(OSError, ValueError):  # of names that no file can have
        place = Path(os.path.realpath(place))
        if is_folder(beside(place, OLD)) and not os.path.lexists(place):
            with claimed(place) as mine:
                if mine:
                    settle(place)


def sweep_folders(folder: Path) -> None:
    """The same for everything in `folder` that killed processes left, with what else they left of it removed."""
    for ending in (OLD, NEW, LOCK):
        for left in folder.glob(f".?*{ending}"):
            with suppress(OSError):
                place = original(left, ending)
                with claimed(place, unsure=unattended(place)) as mine:
                    if mine and ending != LOCK:
                        settle(place)


def unattended(place: Path) -> bool:
    """Whether nobody has gone on with what lies beside `place` for long. An old folder is as old as it always was: what
    counts is the new one, while that is there."""
    there = [left for left in (beside(place, NEW), beside(place, OLD)) if os.path.lexists(left)]
    return all(map(abandoned, there[:1]))
