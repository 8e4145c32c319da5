"""Models as huggingface_hub keeps them in its cache, a folder a model:

    models--org--name/refs/main               the name of a snapshot
    models--org--name/snapshots/NAME/...      the files, by the names that the model's repository gives them
    models--org--name/blobs/...               what they are links to, or nothing where a system has no links

Whoever gives or finds such a folder means the files of one snapshot: the one that refs/main names, else the newest.
What looks into a repository again may leave a new snapshot behind that has few of its files; then an older one that has
all comes first. No folder is entered that is a link, nor what refs/main may name outside of `snapshots`.
"""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from ..errors import MGTError
from .disk import is_dir, is_file, read_json, read_whole
from .endings import SUFFIXES

REPOSITORY, SNAPSHOTS = "models--", "snapshots"
MAIN = Path("refs", "main")
LONGEST_REF = 1000  # bytes; a name of a snapshot has 40
SEEN = 100  # snapshots, and as many folders and a hundred times as many files of each
DEPTH = 4  # levels of folders below a snapshot


def is_repository(folder: Path) -> bool:
    """Whether it is the folder of a model in a cache, by its name or by what lies in it."""
    if folder.name.startswith(REPOSITORY):
        return is_dir(folder)
    return is_dir(folder / SNAPSHOTS) and (is_dir(folder / "refs") or is_dir(folder / "blobs"))


def entered(folder: Path) -> Path:
    """The files of a model in a cache, also where the folder of its snapshots is given; any other path, and one without
    snapshots, as it is."""
    if folder.name == SNAPSHOTS and is_repository(folder.parent):
        return snapshot_of(folder.parent) or folder
    return (snapshot_of(folder) if is_repository(folder) else None) or folder


def snapshot_of(repository: Path) -> Path | None:
    """The snapshot that is meant, None where there is none."""
    main = named_in(repository / MAIN)
    found = sorted(snapshots_in(repository), key=lambda entry: (entry.name != main, -entry.stat().st_mtime, entry.name))
    paths = [Path(entry.path) for entry in found[:SEEN]]
    return min(paths, key=lacking) if len(paths) > 1 else next(iter(paths), None)


def named_in(file: Path) -> str:
    try:
        return read_whole(file, LONGEST_REF).decode("ascii", "replace").strip()
    except MGTError:
        return ""


def snapshots_in(repository: Path) -> list[os.DirEntry]:
    folder = repository / SNAPSHOTS
    return [] if os.path.islink(folder) else [entry for entry in entries(folder) if is_own_folder(entry)]


def entries(folder: Path) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as found:
            return list(islice(found, SEEN * SEEN))
    except (OSError, ValueError):
        return []


def is_own_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False) and entry.stat() is not None
    except OSError:
        return False


def lacking(snapshot: Path) -> tuple[bool, bool]:
    """Whether there are no weights at all, and whether something named in it is not there: the least comes first."""
    folders = list(islice(below(snapshot), SEEN))
    weights = [any(name.endswith(SUFFIXES) for name in names) for _, names in folders]
    return not any(weights), any(map(is_cut, folders, weights)) or lacks_parts(snapshot)


def below(folder: Path, depth: int = DEPTH) -> Iterator[tuple[Path, set[str]]]:
    """A folder and those in it, each with the names of its regular files."""
    found = entries(folder)
    yield folder, {entry.name for entry in found if is_file(Path(entry.path))}
    for entry in found if depth else ():
        if is_own_folder(entry):
            yield from below(Path(entry.path), depth - 1)


def is_cut(folder: tuple[Path, set[str]], weights: bool) -> bool:
    """Whether a folder describes a network and holds no weights of it, or lacks one of its shards."""
    path, names = folder
    shards = (
        shard for name in names if name.endswith(".json") and ".index." in name for shard in shards_in(path / name)
    )
    return ("config.json" in names and not weights) or any(shard not in names for shard in shards)


def shards_in(index: Path) -> set[str]:
    try:
        held = read_json(index).get("weight_map")
    except MGTError:
        return set()
    return set(map(str, held.values())) if isinstance(held, dict) else set()


def lacks_parts(snapshot: Path) -> bool:
    """Whether model_index.json names a part that has no folder."""
    try:
        index = read_json(snapshot / "model_index.json")
    except MGTError:
        return False
    parts = (name for name, value in index.items() if isinstance(value, list) and all(value))
    return not all(is_dir(snapshot / name) for name in parts)


def readable(name: str) -> str:
    """A path as a name: what lies in a cache by the name of its repository, wherever the cache lies; all else as it is.

    "hub/models--org--name/snapshots/0a1b/vqvae" -> "org/name/vqvae"."""
    parts = name.replace("\\", "/").split("/")
    place = next((place for place, part in enumerate(parts) if part.startswith(REPOSITORY)), None)
    if place is None:
        return name
    inside = parts[place + 1 :]
    if inside[:1] == [SNAPSHOTS]:
        inside = inside[2:]
    return "/".join([parts[place].removeprefix(REPOSITORY).replace("--", "/", 1), *inside])


def repository_above(path: Path) -> Path | None:
    """The folder of a cache that a path is, or lies in."""
    return next((place for place in (path, *path.parents) if place.name.startswith(REPOSITORY)), None)


def name_of(path: Path) -> str:
    """What a model is called that lies there: of a snapshot, not its hash."""
    return readable(str(path)) if repository_above(path) else path.name
