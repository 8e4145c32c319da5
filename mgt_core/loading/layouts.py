"""Where the parts of a bundle lie.

Three layouts, as people's downloads have them:
- Hugging Face's: a folder with transformer/ and vqvae/, and text_encoder/ and tokenizer/ for models of text
  (Meissonic, aMUSEd);
- a folder that holds the folders of a transformer and of a codec under any name, up to three levels down,
  each with its config.json (UnlockMGM: .../ema_model and tokenizer_imagenet256_torch);
- a transformer file with its codec beside it (Halton-MaskGIT: ImageNet_384_large.pth and vq_ds16_c2i.pt);
  several transformers may share the codec. MAGNeT's (state_dict.bin and compression_state_dict.bin) are called the same
  in every folder, which is the model. The second may only name a repository, whose folder lies in it or beside it.
Each of them may be a model's folder in a cache of huggingface_hub, of which its files are meant (hub.py).
What is not named as in the first is told by its tensors. Beside them there is what holds a part alone: a folder
with a config.json and weights in it, or a weight file. How parts of several places make one bundle is in compose.py.
"""

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from ..errors import MGTError, join_some, reason, shortened
from ..folders import recover
from ..registry import BACKBONES, CODECS, Registry
from .disk import is_dir, is_file
from .endings import PICKLES, SUFFIXES, TELLING
from .foreign import Foreign, by_config, by_ending, by_names, unreadable
from .hub import entered
from .listing import check_time, contents, files_in, folders_in, identity, once
from .mistaken import notes_of
from .neighbours import neighbour
from .part import Part, as_transformer, read_part
from .words import has_words

log = logging.getLogger(__name__)

BUILT_IN = {"demo": Path(__file__).parent.parent / "demo" / "model"}
DEPTH = 3  # levels below a bundle's folder at which a part is still found

# Of each part: who knows it, what it is, the name of its folder in Hugging Face layout.
TRANSFORMER = (BACKBONES, "transformer", "transformer")
CODEC = (CODECS, "codec", "vqvae")
UNNAMED = "state_dict"  # a transformer's file that is called so has the name of its folder
LANGUAGE = "llm_encoder"  # a language model beside the text encoder, with its tokenizer (EditMGT)
# Folders of one pipeline.
PARTS = ("transformer", "editmgt", "vqvae", "text_encoder", "tokenizer", LANGUAGE, "scheduler", "unet", "vae")
LENT = {
    "transformer": "expected a bundle with transformer and vqvae, or a transformer alone",
    "codec": "give one as codec, or a base bundle that lends its own",
}

Look = Callable[[Path], Part]  # what is known of a path: read now, or remembered


def find_bundle(source: str | os.PathLike, what: str = "model") -> Path:
    """Folder of a built-in model, or a path: of a model in a cache (hub.py), that of its files. what: the argument that
    is meant. Raises MGTError when there is none."""
    source = os.fspath(source) if isinstance(source, os.PathLike) else source
    if isinstance(source, str) and source:
        path = BUILT_IN.get(source) or at_home(source)
        recover(path)
        path = entered(path)
        if is_dir(path) or (is_file(path) and path.suffix in SUFFIXES):
            return path
        if is_file(path) and (told := by_ending(path)):
            raise MGTError(f"{what} is {str(source)!r}, {told.what}; {told.advice}")
    accepted = "a folder with a transformer subfolder, a transformer file with its codec beside it"
    if what in ("text_encoder", "codec", "tokenizer"):
        accepted = f"a folder or file that holds a {what.replace('_', ' ')}, a bundle that has one"
    raise MGTError(f"{what} is {str(source)!r}; accepted are {accepted}, or a built-in model ({', '.join(BUILT_IN)})")


def at_home(source: str) -> Path:
    try:
        return Path(os.path.expanduser(source))
    except ValueError:  # a user whose name no system has
        return Path(source)


def find_parts(path: Path, look: Look) -> tuple[Part, Part]:
    """Transformer and codec of a bundle's folder or a transformer file, as `look` sees them, loadable or not.

    Raises MGTError naming what is missing."""
    transformer = transformer_at(path, look)
    return transformer, the_part(folder_of(path), *CODEC, look, transformer.codes)


def folder_of(path: Path) -> Path:
    """The bundle's folder: itself, or where a transformer's file lies."""
    return path.parent if is_file(path) else path


def named_by(path: Path) -> Path:
    """What a model is called by: its folder, or its file where that has a name of its own."""
    return path.parent if is_file(path) and path.stem == UNNAMED else path


def transformer_at(path: Path, look: Look) -> Part:
    """The transformer that is a file or lies in a folder. Raises MGTError where there is none."""
    return look(path) if is_file(path) else the_part(path, *TRANSFORMER, look)


def the_part(folder: Path, registry: Registry, what: str, usual: str, look: Look, codes: int | None = None) -> Part:
    """The part of a folder that `registry` knows. Raises MGTError where there is none."""
    part = find_part(folder, registry, what, usual, look, codes)
    if part is None and registry is CODECS and (pointer := next(pointers_in(folder, look), None)):
        raise MGTError(
            f"{pointer.path} holds no codec and names {shortened(repr(pointer.pointer), 80)}: put the files of that "
            f"repository into a folder of its name in {folder}, or give it as codec"
        )
    if part is None:
        below = join_some(entry.name for entry in contents(folder) if entry.is_folder and is_hf_layout(entry.path))
        advice = f"it holds {below}, which may be given" if below else LENT[what]
        raise MGTError(
            f"{folder} has no subfolder {usual}, and none of its parts is a {what} of a known kind "
            + (unreadable_in(folder, look) or f"({', '.join(registry)}); {advice}")
        )
    return part


def unreadable_in(folder: Path, look: Look) -> str:
    """What to say of a part that may be the one which is not found, since it cannot be read. Raises MGTError where the
    folder itself is that."""
    own = look(folder) if is_file(folder / "config.json") else Part(folder)
    if own.problem:
        raise own.problem
    there = [path for path in all_candidates(folder) if files_in(path, *SUFFIXES) or not has_words(path)]
    if own.kind:
        there = [path for path in there if path.parent != folder or is_dir(path)]  # its files are no parts themselves
    parts = [look(path) for path in there]
    if other := next((part for part in parts if not part.kind and by_config(part.config)), None):
        as_transformer(other)  # raises
    problems = [part.problem for part in parts if part.problem]
    more = f", nor can {len(problems) - 1} others be read" if len(problems) > 1 else ""
    return f"that can be read: {problems[0]}{more}" if problems else ""


def find_part(
    folder: Path, registry: Registry, what: str, usual: str, look: Look, codes: int | None = None
) -> Part | None:
    """The part of a folder that `registry` knows: the subfolder of the usual name, else the folder itself, else the
    only one found, of those nearest to the top. codes: size of the codebook, which tells codecs apart."""
    if is_dir(folder / usual):
        return look(folder / usual)
    if is_file(folder / "config.json") and (own := look(folder)).is_of(registry):
        return own
    found = networks_in(folder, registry, look)
    found = [part for part in found if len(part.path.parts) == len(found[0].path.parts)]
    for preferred in (
        [part for part in found if "ema" in part.path.name.lower()],  # averaged, beside the raw weights of a training
        [part for part in found if codes and part.codes == codes],
    ):
        found = preferred or found
    if len(found) > 1:
        names = join_some(part.path.relative_to(folder) for part in found)
        raise MGTError(f"{folder} holds {len(found)} parts that may be its {what} ({names}); give the one to load")
    return found[0] if found else pointed_at(folder, registry, look)


def pointers_in(folder: Path, look: Look) -> Iterator[Part]:
    """Files of a folder that name a repository in place of tensors."""
    return (part for part in map(look, files_in(folder, *PICKLES)) if part.pointer)


def pointed_at(folder: Path, registry: Registry, look: Look) -> Part | None:
    """The part that such a file names, where it lies in the folder or beside it."""
    places = (neighbour(part.pointer, [folder]) for part in pointers_in(folder, look))
    return next((part for part in map(look, filter(None, places)) if part.is_of(registry)), None)


def networks_in(folder: Path, registry: Registry, look: Look) -> list[Part]:
    """What a folder holds of `registry`, as files or in folders below, those nearest to the top first."""
    found = [part for part in map(look, all_candidates(folder)) if part.is_of(registry)]
    return sorted(found, key=lambda part: len(part.path.parts))


@once
def all_candidates(folder: Path) -> tuple[Path, ...]:
    """What may hold one network, looked for once in a list however many parts are asked for."""
    return tuple(candidates(folder))


def candidates(folder: Path, depth: int = DEPTH, above: tuple = ()) -> Iterator[Path]:
    """What may hold one network: weight files of the folder itself, and folders below with a config.json. above: the
    folders that it lies in, to which links may lead back."""
    if (here := identity(folder)) in above:
        return
    if depth == DEPTH:
        yield from files_in(folder, *SUFFIXES)
    for entry in folders_in(folder):
        if is_hf_layout(entry):  # another bundle
            continue
        if is_file(entry / "config.json"):
            yield entry
        elif depth > 1:
            yield from candidates(entry, depth - 1, (*above, here))


@once
def is_hf_layout(folder: Path) -> bool:
    return is_file(folder / "model_index.json") or is_file(folder / "transformer" / "config.json")


def loose_bundles(folder: Path) -> list[Path]:
    """What `load` takes of a folder that is not in Hugging Face layout: its transformer files when a codec lies
    beside them, or the folder itself when folders below hold one transformer and one codec, or its file has no name.

    Cheap to ask again: a file is read once for as long as it stays as it is."""
    whole = is_file(folder / "config.json") and remembered(folder).is_of(BACKBONES)  # whose files are no models
    files = [] if whole else [remembered(path) for path in files_in(folder, *SUFFIXES)]
    transformers = [part.path for part in files if part.is_of(BACKBONES)]
    if transformers and any(part.is_of(CODECS) for part in files):
        return [folder] if [path.stem for path in transformers] == [UNNAMED] else transformers
    try:
        find_parts(folder, remembered)
    except MGTError:
        return []
    return [folder]


def remembered(path: Path) -> Part:
    """`read_part` without the tensors, from memory where the files are what they were. Whatever is wrong with a
    file, it is only of no known kind: lists hold foreign ones."""
    try:
        return _remembered(path, state_of(path))
    except Exception as error:
        log.debug("%s is passed over: %s", path, error)
        known = isinstance(error, MGTError)
        return Part(path, problem=error if known else MGTError(f"{path} cannot be read ({reason(error)})"))


def state_of(path: Path) -> tuple:
    """What is another when a file, or one of those in a folder that say what it holds, is another."""
    of_file = path, path.with_suffix(".json"), notes_of(path)
    files = filter(is_file, of_file) if is_file(path) else files_in(path, *TELLING)
    stats = ((str(file), file.stat()) for file in files)
    return tuple((file, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size) for file, stat in stats)


@lru_cache(maxsize=20_000)  # more than one folder's files
def _remembered(path: Path, state: tuple) -> Part:
    check_time()
    if told := by_ending(path):
        return Part(path, foreign=told)
    part = read_part(path)
    return replace(part, config={}, stored={}, problem=None, foreign=foreign_of(part))


def foreign_of(part: Part) -> Foreign | None:
    """What a part is that is of no kind of ours."""
    if part.problem:
        return unreadable(part.path, part.problem)
    return None if part.kind or part.pointer else by_names(part.stored, part.config)
