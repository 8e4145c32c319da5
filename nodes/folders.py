"""What can be picked: names in the widgets -> what lies in folders. Where to look is host.py's to say.

Lists are asked for whenever the nodes are: only headers are read, once for as long as a file stays as it is, and a
file that cannot be read is none of those that can be picked."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from ..mgt_core.loading.layouts import BUILT_IN, entries_of, is_hf_layout, loose_bundles, remembered
from ..mgt_core.loading.weights import SUFFIXES
from ..mgt_core.registry import BACKBONES, CODECS, TEXT_ENCODERS, Registry

FOLDER = "mgt"  # the folder of ours under ComfyUI's models
BRANCH_FOLDER = "self_guidance"  # below it
UNPREFIXED = (FOLDER, "text_encoders", "clip", "vae")  # kinds of folder whose names in a widget are plain

SearchPaths = Iterable[tuple[str, Path, int]]  # (kind of folder, path, levels to search below it), best first


def label(kind: str, root: Path, path: Path, plain: tuple[str, ...] = (FOLDER,)) -> str:
    name = path.name if path == root else path.relative_to(root).as_posix()
    return name if kind in plain and name not in BUILT_IN else f"{kind}/{name}"


def bundles_in(search: SearchPaths) -> dict[str, str]:
    """Whole bundles and transformers alone."""
    found, search = {}, list(search)
    for kind, root, depth in search:
        for path in bundles_below(root, depth, loose=kind == FOLDER):
            found.setdefault(label(kind, root, path), str(path))
    known = {Path(path) for path in found.values()}
    for kind, root, depth in search:
        if kind == FOLDER:
            for path in parts_below(root, depth, BACKBONES, known.__contains__):
                found.setdefault(label(kind, root, path), str(path))
    return found


def told_apart(alone: dict[str, str], lent: dict[str, str], kind: str) -> dict[str, str]:
    """Parts that lie alone; one whose name one of the bundles has as well goes by its kind of folder too."""
    return {f"{kind}/{name}" if name in lent else name: path for name, path in alone.items()}


def lenders(bundles: dict[str, str], part: str) -> dict[str, str]:
    """Those of the bundles that have a folder of this name in Hugging Face layout."""
    return {name: path for name, path in bundles.items() if (Path(BUILT_IN.get(path, path)) / part).is_dir()}


def text_encoders_in(search: SearchPaths) -> dict[str, str]:
    """CLIP text encoders, alone or within a whole CLIP model: folders with a config.json, and safetensors files."""
    return alone_in(search, TEXT_ENCODERS, lambda kind, path: unlike_clip(path))


def codecs_in(search: SearchPaths) -> dict[str, str]:
    """Codecs that lie alone; of foreign folders, as safetensors."""
    return alone_in(search, CODECS, lambda kind, path: kind != FOLDER and pickled(path))


def alone_in(search: SearchPaths, registry: Registry, passed: Callable[[str, Path], bool]) -> dict[str, str]:
    """Parts of `registry` outside bundles. passed: what is not looked at, by kind of folder and path."""
    found = {}
    for kind, root, depth in search:
        for path in parts_below(root, depth, registry, partial(passed, kind)):
            found.setdefault(label(kind, root, path, UNPREFIXED), str(path))
    return found


def branches_in(search: SearchPaths) -> dict[str, str]:
    """Files of Self-Guidance branches."""
    places = [root / BRANCH_FOLDER for kind, root, _ in search if kind == FOLDER]
    files = (file for place in places for file in sorted(place.glob("*.safetensors")))
    return {f"{BRANCH_FOLDER}/{file.name}": str(file) for file in files}


def files_in(root: Path) -> dict[str, str]:
    """Weight files."""
    files = sorted(path for path in root.rglob("*") if path.suffix in SUFFIXES)
    return {path.relative_to(root).as_posix(): str(path) for path in files}


def bundles_below(folder: Path, depth: int, loose: bool) -> Iterator[Path]:
    """Folders in Hugging Face layout, not looking inside one for more; `folder` itself may be one.

    loose: also what lies there as people download it (see mgt_core/loading/layouts.py)."""
    if is_hf_layout(folder):
        if not is_diffusion(folder):
            yield folder
        return
    if depth == 0:
        return
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    except OSError:  # a search path that does not exist or may not be read holds nothing
        return
    below = [path for name in names for path in bundles_below(folder / name, depth - 1, loose)]
    yield from below
    if loose:
        yield from (path for path in loose_bundles(folder) if path.is_file() or not below)


def parts_below(folder: Path, depth: int, registry: Registry, passed: Callable[[Path], bool]) -> Iterator[Path]:
    """Files and folders that hold one network of `registry`, outside bundles. passed: what is not looked at."""
    if depth < 0 or passed(folder) or is_hf_layout(folder):
        return
    if (folder / "config.json").is_file():
        if remembered(folder).is_of(registry):
            yield folder
        return
    for entry in entries_of(folder):
        if entry.is_dir():
            yield from parts_below(entry, depth - 1, registry, passed)
        elif entry.suffix in SUFFIXES and not passed(entry) and remembered(entry).is_of(registry):
            yield entry


def unlike_clip(path: Path) -> bool:
    """Whether this is no place of a CLIP encoder, told without reading weights: others may be large pickles."""
    if path.is_file():
        return path.suffix != ".safetensors"
    if not (path / "config.json").is_file():
        return False
    try:
        return not str(json.loads((path / "config.json").read_text(encoding="utf-8"))["model_type"]).startswith("clip")
    except (OSError, ValueError, LookupError, TypeError):
        return True


def pickled(path: Path) -> bool:
    if path.is_file():
        return path.suffix != ".safetensors"
    return (path / "config.json").is_file() and not any(path.glob("*.safetensors"))


def is_diffusion(folder: Path) -> bool:
    """Whether the index names a continuous autoencoder, as pipelines of diffusion models do."""
    try:
        return "Autoencoder" in (folder / "model_index.json").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
