"""What can be picked: names in the widgets -> what lies in folders. Where to look is host.py's to say.

Lists are asked for whenever the nodes are: only headers are read, once for as long as a file stays as it is, and a
file that cannot be read is none of those that can be picked."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from ..mgt_core.errors import MGTError, reason
from ..mgt_core.loading.disk import is_dir, is_file, read_json
from ..mgt_core.loading.downloads import ADVICE, WHAT, unfinished
from ..mgt_core.loading.endings import ARCHIVES, GGUF, SUFFIXES, UNFINISHED
from ..mgt_core.loading.foreign import Foreign, by_pipeline, is_diffusion
from ..mgt_core.loading.hub import REPOSITORY, entered, is_repository, readable, repository_above
from ..mgt_core.loading.layouts import BUILT_IN, PARTS, is_hf_layout, loose_bundles, remembered
from ..mgt_core.loading.listing import can_be_shown, contents, files_in, folders_in, identity, one_list
from ..mgt_core.registry import BACKBONES, CODECS, TEXT_ENCODERS, Registry

log = logging.getLogger(__name__)

T = TypeVar("T")

FOLDER = "mgt"  # the folder of ours under ComfyUI's models
BRANCH_FOLDER = "self_guidance"  # below it
OWN_FOLDERS = (BRANCH_FOLDER, "presets")  # of what is listed by others
WEIGHTS = (*SUFFIXES, *GGUF, *ARCHIVES, *UNFINISHED)
SHARED_SECONDS = 3.0  # for what is only told of: somebody waits for it, and people have hundreds of checkpoints
FILE_DEPTH = 5  # levels of folders below that of LoRAs in which files are listed
UNPREFIXED = (FOLDER, "text_encoders", "clip", "vae")  # kinds of folder whose names in a widget are plain

SearchPaths = Iterable[tuple[str, Path, int]]  # (kind of folder, path, levels to search below it), best first


def label(kind: str, root: Path, path: Path, plain: tuple[str, ...] = (FOLDER,)) -> str:
    """The name of a path in a widget: below `root`, or of what lies in a cache that of its repository ("org/name")."""
    name = readable(path.name if path == root else path.relative_to(root).as_posix())
    return name if kind in plain and name not in BUILT_IN else f"{kind}/{name}"


def meant(name: str, known: Mapping[str, object]) -> str:
    """Of `known` the name that `name` spells in another way: with the separators of another system, and in a cache as
    "models--org--name", with the path of that folder or of a snapshot, or without a kind of folder. Else `name`."""
    if name in known or not name:
        return name
    plain = readable(name.replace("\\", "/"))
    spelled = {one: one.replace("\\", "/") for one in known}
    same = [one for one in known if spelled[one] == plain]
    same = same or [one for one in known if spelled[one].endswith(f"/{plain}") and is_cached(known[one])]
    return same[0] if len(same) == 1 else name


def is_cached(path: object) -> bool:
    return bool(path) and repository_above(Path(str(path))) is not None


@one_list()
def bundles_in(search: SearchPaths) -> dict[str, str]:
    """Whole bundles and transformers alone."""
    found, search = {}, list(search)
    for kind, root, depth in search:
        for path in as_far(bundles_below(root, depth, loose=kind == FOLDER), root):
            found.setdefault(label(kind, root, path), str(path))
    known = {path for path in map(Path, found.values()) if not is_hf_layout(path)}  # where parts are no others
    for kind, root, depth in search:
        if kind == FOLDER:
            for path in as_far(parts_below(root, depth, BACKBONES, known.__contains__), root):
                found.setdefault(label(kind, root, path), str(path))
    return found


@one_list()
def misplaced_in(search: SearchPaths, bundles: dict[str, str]) -> dict[str, Foreign]:
    """What lies in folders of ours and is no model, nor any part of one."""
    found, known = {}, {Path(path) for path in bundles.values()}
    for kind, root, depth in search:
        if kind == FOLDER:
            for path, told in as_far(foreign_below(root, depth, known.__contains__), root):
                found.setdefault(label(kind, root, path), told)
    return found


@one_list(SHARED_SECONDS)
def elsewhere_in(search: SearchPaths) -> dict[tuple[str, str], Foreign]:
    """The same of folders that are shared with others, by kind of folder and name. Pickles there are not opened: they
    are large."""
    found = {}
    for kind, root, depth in search:
        if kind not in (FOLDER, "models"):
            for path, told in as_far(foreign_below(root, depth, pickled), root):
                found.setdefault((kind, path.relative_to(root).as_posix()), told)
    return found


@one_list(SHARED_SECONDS)
def cached_in(search: SearchPaths) -> dict[str, Path]:
    """Models in caches, usable or not: the name of the repository -> its files."""
    found = {}
    for _, root, depth in search:
        for name, path in as_far(cached_below(root, depth), root):
            found.setdefault(name, path)
    return found


def cached_below(folder: Path, depth: int, above: tuple = ()) -> Iterator[tuple[str, Path]]:
    """above: as `parts_below` has it."""
    if (here := identity(folder)) in above:
        return
    for name, is_folder, path in contents(folder) if depth else ():
        if is_folder and name.startswith(REPOSITORY):
            yield readable(name), path
        elif is_folder:
            yield from cached_below(path, depth - 1, (*above, here))


def told_apart(alone: dict[str, str], lent: dict[str, str], kind: str) -> dict[str, str]:
    """Parts that lie alone; one whose name one of the bundles has as well goes by its kind of folder too."""
    return {f"{kind}/{name}" if name in lent else name: path for name, path in alone.items()}


def lenders(bundles: dict[str, str], part: str) -> dict[str, str]:
    """Those of the bundles that have a folder of this name in Hugging Face layout."""
    return {name: path for name, path in bundles.items() if is_dir(Path(BUILT_IN.get(path, path)) / part)}


def text_encoders_in(search: SearchPaths) -> dict[str, str]:
    """Text encoders of CLIP, alone or within a whole CLIP model: folders with a config.json, and safetensors files; and
    folders of T5."""
    return alone_in(search, TEXT_ENCODERS, lambda kind, path: is_other_text(path))


def codecs_in(search: SearchPaths) -> dict[str, str]:
    """Codecs that lie alone; of foreign folders, as safetensors."""
    return alone_in(search, CODECS, lambda kind, path: kind != FOLDER and pickled(path))


@one_list()
def alone_in(search: SearchPaths, registry: Registry, passed: Callable[[str, Path], bool]) -> dict[str, str]:
    """Parts of `registry` outside bundles. passed: what is not looked at, by kind of folder and path."""
    found = {}
    for kind, root, depth in search:
        below = parts_below(root, depth, registry, lambda path, k=kind, r=root: path != r and passed(k, path))
        for path in as_far(below, root):
            found.setdefault(label(kind, root, path, UNPREFIXED), str(path))
    return found


@one_list()
def branches_in(search: SearchPaths) -> dict[str, str]:
    """Files of Self-Guidance branches."""
    places = [root / BRANCH_FOLDER for kind, root, _ in search if kind == FOLDER]
    files = (file for place in places for file in files_in(place, ".safetensors"))
    return {f"{BRANCH_FOLDER}/{file.name}": str(file) for file in files}


def named_by(folder_paths: ModuleType, kind: str) -> dict[str, str]:
    """Files that ComfyUI lists in its folders of a kind; none where it cannot."""
    try:
        found = {name: folder_paths.get_full_path(kind, name) for name in folder_paths.get_filename_list(kind)}
    except Exception as error:
        log.warning("ComfyUI cannot list %s: %s", kind, reason(error))
        return {}
    shown = {name: path for name, path in found.items() if path and can_be_shown(name, path)}
    return {readable(name): path for name, path in shown.items() if is_of_its_snapshot(Path(path))}


def is_of_its_snapshot(path: Path) -> bool:
    """Whether a path lies in no cache, or in the snapshot that is meant of its model there."""
    repository = repository_above(path)
    return repository is None or entered(repository) in path.parents


@one_list()
def weights_in(root: Path) -> dict[str, str]:
    """Weight files."""
    return {readable(path.relative_to(root).as_posix()): str(path) for path in sorted(files_below(root, FILE_DEPTH))}


def files_below(folder: Path, depth: int, above: tuple = ()) -> Iterator[Path]:
    """Weight files of a folder and of those below. above: the folders that it lies in, to which links may lead back."""
    if (here := identity(folder)) in above:
        return
    yield from files_in(folder, *SUFFIXES)
    for entry in folders_in(folder) if depth else ():
        yield from files_below(entry, depth - 1, (*above, here))


def as_far(paths: Iterator[T], root: Path) -> Iterator[T]:
    """As many of the paths as can be found out: what cannot be foreseen ends the list of `root`, and no other."""
    try:
        yield from paths
    except Exception as error:
        log.warning("the list of what lies in %s is not whole: %s", root, reason(error))
        log.debug("", exc_info=True)


def bundles_below(folder: Path, depth: int, loose: bool, above: tuple = ()) -> Iterator[Path]:
    """Folders in Hugging Face layout, not looking inside one for more; the first `folder` itself may be one, and
    hides no others, since a bundle may have been unpacked right among them.

    loose: also what lies there as people download it (see mgt_core/loading/layouts.py). above: the folders that it
    lies in, to which links may lead back."""
    if (here := identity(folder)) in above:
        return
    if (whole := is_hf_layout(folder)) and not is_diffusion(folder):
        yield folder
    if depth == 0 or whole and above:
        return
    inside = [entry for entry in folders_in(folder) if not whole or entry.name not in PARTS]
    below = [path for entry in inside for path in bundles_below(entry, depth - 1, loose, (*above, here))]
    yield from below
    if loose:
        yield from (path for path in loose_bundles(folder) if is_file(path) or not below)


def parts_below(
    folder: Path, depth: int, registry: Registry, passed: Callable[[Path], bool], above: tuple = ()
) -> Iterator[Path]:
    """Files and folders that hold one network of `registry`, outside bundles. passed: what is not looked at. above:
    the folders that it lies in, to which links may lead back. The first has none: that it is a bundle, or has a config
    of something, hides nothing of what else lies there."""
    if depth < 0 or passed(folder) or (here := identity(folder)) in above:
        return
    if (whole := is_hf_layout(folder)) and above:
        return
    if is_file(folder / "config.json") and not whole:
        if is_own := remembered(folder).is_of(registry):
            yield folder
        if is_own or above:
            return
    for name, is_folder, path in contents(folder):
        if is_folder and not (whole and name in PARTS):
            yield from parts_below(path, depth - 1, registry, passed, (*above, here))
        elif not is_folder and path.suffix in SUFFIXES and not passed(path) and remembered(path).is_of(registry):
            yield path


def foreign_below(
    folder: Path, depth: int, passed: Callable[[Path], bool], above: tuple = ()
) -> Iterator[tuple[Path, Foreign]]:
    """Files and folders that are of no kind of ours, with what they are. passed, above: as `parts_below` has them."""
    if depth < 0 or (above and passed(folder)) or (here := identity(folder)) in above:
        return
    if above and (is_hf_layout(folder) or is_file(folder / "config.json") or is_repository(folder)):
        if told := what_is(folder):
            yield folder, told
        return
    of_others = (*(PARTS if is_hf_layout(folder) else ()), *(() if above else OWN_FOLDERS))
    for name, is_folder, path in contents(folder):
        if is_folder and name not in of_others:
            yield from foreign_below(path, depth - 1, passed, (*above, here))
        elif not is_folder and name.endswith(WEIGHTS) and not passed(path) and (told := what_is(path)):
            yield path, told


def what_is(path: Path) -> Foreign | None:
    """What a file or folder is instead of a model of ours or a part of one; None for those."""
    if is_dir(path) and is_hf_layout(path):
        return by_pipeline(path) if is_diffusion(path) else None
    if is_repository(path):  # without a snapshot, or it would have been entered
        return Foreign(WHAT, ADVICE, readable=False) if unfinished(path) else None
    return remembered(path).foreign


def is_other_text(path: Path) -> bool:
    """Whether this is no place of a text encoder of ours, told without reading weights: others may be large pickles."""
    if is_file(path):
        return path.suffix != ".safetensors"
    if not is_file(path / "config.json"):
        return False
    try:
        kind = str(read_json(path / "config.json").get("model_type"))
        return kind != "t5" and not kind.startswith("clip")
    except MGTError:
        return True


def pickled(path: Path) -> bool:
    if is_file(path):
        return path.suffix != ".safetensors"
    return is_file(path / "config.json") and not files_in(path, ".safetensors")
