"""Models that another model names, where people put them: in its folder or beside it, by their repository."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from .disk import is_dir
from .hub import REPOSITORY, entered, repository_above
from .listing import can_be_shown
from .shards import leads_out

LONGEST = 100  # characters of a name
PARTS = 2  # owner and name


def neighbour(name: str, places: Iterable[Path], shelves: Iterable[Path] = ()) -> Path | None:
    """The files of a model (a repository such as "google-t5/t5-base") that lies in one of `places` or beside it, or in
    one of `shelves`: in a folder of its name, in one of its owner's, or as a cache of huggingface_hub has it.

    The name comes out of a file: none that leads elsewhere is followed."""
    spelled = spellings(name) if is_name(name) else ()
    found = (entered(folder / spelling) for folder in (*homes(places), *shelves) for spelling in spelled)
    return next(filter(is_dir, found), None)


def is_name(name: object) -> bool:
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST or leads_out(name) or not can_be_shown(name, ""):
        return False
    parts = name.split("/")
    return len(parts) <= PARTS and all(part and not part.startswith(".") for part in parts)


def spellings(name: str) -> tuple[str, ...]:
    short = name.rpartition("/")[2]
    return tuple(dict.fromkeys((short, name, REPOSITORY + name.replace("/", "--"))))


def homes(places: Iterable[Path]) -> Iterator[Path]:
    """Folders that are looked in: each place, and what it lies in; of a model in a cache, the cache."""
    for place in places:
        yield place
        yield (repository_above(place) or place).absolute().parent
