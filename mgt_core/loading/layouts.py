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

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..errors import MGTError, join_some
from ..registry import BACKBONES, CODECS, Registry
from .weights import SUFFIXES, index_weights, read_json

log = logging.getLogger(__name__)

BUILT_IN = {"demo": Path(__file__).parent.parent / "demo" / "model"}
CODEBOOK = "quantize.embedding.weight"  # in every codec
DEPTH = 3  # levels below a bundle's folder at which a part is still found


@dataclass(frozen=True)
class Layout:
    """folder: of the bundle. transformer, codec: each a folder or a file."""

    folder: Path
    transformer: Path
    codec: Path


def find_layout(source: str | Path) -> Layout:
    """Parts of a built-in model, a bundle's folder, or a transformer file. Raises MGTError naming what is missing."""
    path = find_bundle(source)
    folder = path.parent if path.is_file() else path
    transformer = path if path.is_file() else the_part(path, BACKBONES, "transformer", "transformer")
    return Layout(folder, transformer, the_part(folder, CODECS, "codec", "vqvae", codes_of(transformer)))


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


def subfolder(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_dir():
        raise MGTError(
            f"{folder} has no subfolder {name}; expected a HF-layout bundle "
            "with transformer, vqvae, text_encoder and tokenizer"
        )
    return path


def the_part(folder: Path, registry: Registry, what: str, usual: str, codes: int | None = None) -> Path:
    """The part of a bundle that `registry` knows: the subfolder of the usual name, else the only one found, of
    those nearest to the top. codes: size of the codebook, which tells codecs apart."""
    if (folder / usual).is_dir():
        return folder / usual
    found = parts_of(folder, registry)
    found = [path for path in found if len(path.parts) == len(found[0].parts)]
    for preferred in (
        [path for path in found if "ema" in path.name.lower()],  # averaged, beside the raw weights of a training
        [path for path in found if codes and shapes_of(path)[CODEBOOK][0] == codes],
    ):
        found = preferred or found
    if len(found) > 1:
        names = join_some(path.relative_to(folder) for path in found)
        raise MGTError(f"{folder} holds {len(found)} parts that may be its {what} ({names}); give the one to load")
    if not found:
        raise MGTError(
            f"{folder} has no subfolder {usual}, and none of its parts is a {what} of a known kind "
            f"({', '.join(registry)}); expected a bundle with transformer and vqvae"
        )
    return found[0]


def codes_of(transformer: Path) -> int | None:
    """Codes that a transformer draws from, or None where its sizes cannot be told: loading it says why."""
    kind = kind_of(transformer, BACKBONES)
    try:
        settings = kind.configure(config_of(transformer), shapes_of(transformer)) if kind else {}
    except MGTError:
        return None
    return settings.get("codebook_size") if isinstance(settings, dict) else settings.codebook_size


def is_hf_layout(folder: Path) -> bool:
    return (folder / "model_index.json").is_file() or (folder / "transformer" / "config.json").is_file()


def parts_of(folder: Path, registry: Registry) -> list[Path]:
    """Files and subfolders of a folder that hold a network of `registry`, those nearest to the top first."""
    found = [path for path in candidates(folder) if kind_of(path, registry) is not None]
    return sorted(found, key=lambda path: len(path.parts))


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


def kind_of(source: Path, registry: Registry) -> type | None:
    """The class of `registry` that a file or folder of weights belongs to; None for none and for what is unreadable."""
    files = [source] if source.is_file() else [file for file in source.iterdir() if file.is_file()]
    state = tuple(sorted((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files))
    name = _kind_name(source, registry.kind, state)
    return registry.get(name) if name else None


@lru_cache(maxsize=4096)
def _kind_name(source: Path, kind: str, state: tuple) -> str | None:
    registry = BACKBONES if kind == BACKBONES.kind else CODECS
    try:
        config, shapes = config_of(source), shapes_of(source)
    except (MGTError, OSError) as error:
        log.debug("%s is passed over: %s", source, error)
        return None
    return next((name for name in registry if registry.get(name).recognizes(config, shapes)), None)


def config_of(source: Path) -> dict:
    """config.json of a folder, or the .json file named like a weight file; empty when there is none."""
    path = source / "config.json" if source.is_dir() else source.with_suffix(".json")
    return read_json(path) if path.is_file() else {}


def shapes_of(source: Path) -> dict[str, tuple[int, ...]]:
    return {name: entry.shape for name, entry in index_weights(source).items()}


def loose_bundles(folder: Path) -> list[Path]:
    """What `load` takes of a folder that is not in Hugging Face layout: its transformer files when a codec lies
    beside them, or the folder itself when folders below hold one transformer and one codec."""
    files = [path for path in candidates(folder) if path.is_file()]
    transformers = [file for file in files if kind_of(file, BACKBONES)]
    if transformers and any(kind_of(file, CODECS) for file in files):
        return transformers
    try:
        find_layout(folder)
    except MGTError:
        return []
    return [folder]
