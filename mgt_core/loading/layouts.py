"""Where the parts of a bundle lie.

Three layouts, as people's downloads have them:
- Hugging Face's: a folder with transformer/ and vqvae/, and text_encoder/ and tokenizer/ for models of text
  (Meissonic, aMUSEd);
- a folder that holds the folders of a transformer and of a codec under any name, up to three levels down,
  each with its config.json (UnlockMGM: .../ema_model and tokenizer_imagenet256_torch);
- a transformer file with its codec beside it (Halton-MaskGIT: ImageNet_384_large.pth and vq_ds16_c2i.pt);
  several transformers may share the codec.
What is not named as in the first is told by its tensors.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path

from ..errors import MGTError, join_some
from ..registry import BACKBONES, CODECS, Registry
from .part import Part, as_codec, as_transformer, read_part
from .weights import SUFFIXES

BUILT_IN = {"demo": Path(__file__).parent.parent / "demo" / "model"}
DEPTH = 3  # levels below a bundle's folder at which a part is still found

Look = Callable[[Path], Part]  # what is known of a path: read now, or remembered


@dataclass(frozen=True)
class Layout:
    """All that `load` goes by: a part that lies elsewhere is another value here. name: of the bundle. folder: of its
    settings. text_encoder, tokenizer: folders, which are there for models of prompts."""

    name: str
    folder: Path
    transformer: Part
    codec: Part
    text_encoder: Path
    tokenizer: Path


def find_layout(source: str | Path) -> Layout:
    """Parts of a built-in model, a bundle's folder, or a transformer file, each of them read, once.

    Raises MGTError naming what is missing, or cannot be loaded."""
    path = find_bundle(source)
    folder = path.parent if path.is_file() else path
    transformer, codec = find_parts(path, cache(read_part))
    return Layout(
        str(source) if str(source) in BUILT_IN else path.name,
        folder,
        as_transformer(transformer),
        as_codec(codec),
        folder / "text_encoder",
        folder / "tokenizer",
    )


def find_bundle(source: str | Path) -> Path:
    """Folder of a built-in model, or a path. Raises MGTError when there is none."""
    if isinstance(source, (str, Path)) and str(source):
        path = BUILT_IN.get(str(source)) or Path(os.path.expanduser(source))
        if path.is_dir() or (path.is_file() and path.suffix in SUFFIXES):
            return path
    raise MGTError(
        f"model is {str(source)!r}; accepted are a folder with a transformer subfolder, a transformer file "
        f"with its codec beside it, or a built-in model ({', '.join(BUILT_IN)})"
    )


def find_parts(path: Path, look: Look) -> tuple[Part, Part]:
    """Transformer and codec of a bundle's folder or a transformer file, as `look` sees them, loadable or not.

    Raises MGTError naming what is missing."""
    if path.is_file():
        folder, transformer = path.parent, look(path)
    else:
        folder, transformer = path, the_part(path, BACKBONES, "transformer", "transformer", look)
    return transformer, the_part(folder, CODECS, "codec", "vqvae", look, transformer.codes)


def the_part(folder: Path, registry: Registry, what: str, usual: str, look: Look, codes: int | None = None) -> Part:
    """The part of a bundle that `registry` knows: the subfolder of the usual name, else the only one found, of
    those nearest to the top. codes: size of the codebook, which tells codecs apart."""
    if (folder / usual).is_dir():
        return look(folder / usual)
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
    if not found:
        raise MGTError(
            f"{folder} has no subfolder {usual}, and none of its parts is a {what} of a known kind "
            f"({', '.join(registry)}); expected a bundle with transformer and vqvae"
        )
    return found[0]


def networks_in(folder: Path, registry: Registry, look: Look) -> list[Part]:
    """What a folder holds of `registry`, as files or in folders below, those nearest to the top first."""
    found = [part for part in map(look, candidates(folder)) if part.is_of(registry)]
    return sorted(found, key=lambda part: len(part.path.parts))


def candidates(folder: Path, depth: int = DEPTH) -> Iterator[Path]:
    """What may hold one network: weight files of the folder itself, and folders below with a config.json."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError:
        return
    if depth == DEPTH:
        yield from (entry for entry in entries if entry.suffix in SUFFIXES and entry.is_file())
    for entry in entries:
        if not entry.is_dir() or is_hf_layout(entry):  # another bundle
            continue
        if (entry / "config.json").is_file():
            yield entry
        elif depth > 1:
            yield from candidates(entry, depth - 1)


def is_hf_layout(folder: Path) -> bool:
    return (folder / "model_index.json").is_file() or (folder / "transformer" / "config.json").is_file()


def loose_bundles(folder: Path) -> list[Path]:
    """What `load` takes of a folder that is not in Hugging Face layout: its transformer files when a codec lies
    beside them, or the folder itself when folders below hold one transformer and one codec.

    Cheap to ask again: a file is read once for as long as it stays as it is."""
    files = [remembered(path) for path in candidates(folder) if path.is_file()]
    transformers = [part.path for part in files if part.is_of(BACKBONES)]
    if transformers and any(part.is_of(CODECS) for part in files):
        return transformers
    try:
        find_parts(folder, remembered)
    except MGTError:
        return []
    return [folder]


def remembered(path: Path) -> Part:
    """`read_part` without the tensors, from memory where the files are what they were."""
    files = (path, path.with_suffix(".json")) if path.is_file() else path.iterdir()
    state = ((str(file), file.stat()) for file in files if file.is_file())
    return _remembered(path, tuple(sorted((file, stat.st_mtime_ns, stat.st_size) for file, stat in state)))


@lru_cache(maxsize=4096)
def _remembered(path: Path, state: tuple) -> Part:
    return replace(read_part(path), config={}, stored={}, problem=None)
