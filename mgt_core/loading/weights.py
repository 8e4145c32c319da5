"""Reading of weight files: safetensors, and pickles of tensors, tensor by tensor."""

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from ..errors import MGTError, join_some, reason
from .disk import is_file, read_json, stat_of
from .endings import SUFFIXES
from .listing import files_in
from .pickle_header import Held, is_mapped, read_pickle, weights_in
from .stored import Stored, read_header

log = logging.getLogger(__name__)

REMAP_BYTES = 32 * 2**20  # read from one mapping before it is dropped, so that mapped pages do not pile up
MAX_SHARDS = 1000  # the largest published models have about 200
PLAIN = ("model", "pytorch_model", "diffusion_pytorch_model")  # what transformers and diffusers call their files


def index_weights(source: Path) -> dict[str, Stored]:
    """Every tensor of a weight file, or of a folder that holds one or shards listed by an index, by name.

    Safetensors come before pickles, which are read for tensors alone (weights_only). Raises MGTError when
    there is no file, or one is missing, truncated or of another kind.
    """
    stored: dict[str, Stored] = {}
    for file in [source] if is_file(source) else weight_files(source):
        stored.update(read_header(file) if file.suffix == ".safetensors" else index_pickle(file))
    return stored


def shapes_of(stored: Mapping[str, Stored]) -> dict[str, tuple[int, ...]]:
    return {name: entry.shape for name, entry in stored.items()}


def weight_files(folder: Path) -> list[Path]:
    for suffix in SUFFIXES:
        if indexes := sorted(files_in(folder, f"{suffix}.index.json"), key=plain_name_first):
            return shards_of(indexes[0], suffix)
        if files := sorted(files_in(folder, suffix), key=plain_name_first):
            return files[:1]
    raise MGTError(f"{folder} holds no weights; expected a file of type {', '.join(SUFFIXES)}")


def shards_of(index: Path, suffix: str) -> list[Path]:
    """The files of a sharded model. Raises MGTError where one is missing, or lies elsewhere."""
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise MGTError(f"{index} has no weight_map from tensors to files")
    names = sorted(set(weight_map.values()))
    if len(names) > MAX_SHARDS:
        raise MGTError(f"{index} names {len(names)} shards; accepted are up to {MAX_SHARDS}")
    if outside := [name for name in names if not name.endswith(suffix) or leads_out(name)]:
        raise MGTError(
            f"{index} names {join_some(map(repr, outside))}; expected names of {suffix} files beside it, or below"
        )
    files = [index.parent / name for name in names]
    missing = [file.name for file in files if not is_file(file)]
    if missing:
        raise MGTError(f"{index.parent} lacks {len(missing)} of {len(files)} shards: {join_some(missing)}")
    return files


def leads_out(name: str) -> bool:
    """Whether a name in an index may lead out of the folder: "..", or what begins at a root or a drive."""
    return name.startswith("/") or ".." in name.split("/") or not set(name).isdisjoint("\\:")


def plain_name_first(file: Path) -> tuple[int, bool, bool, str]:
    """Sorts model.safetensors before its variants (model.fp16.safetensors, model.ema.safetensors) and other files,
    those in another library's format (open_clip_pytorch_model.bin) included."""
    stem = file.name.split(".")[0]
    return file.name.count("."), stem not in PLAIN, not stem.endswith("model"), file.name


def open_pickle(file: Path) -> dict[str, Tensor]:
    """The tensors in a file of torch.save, mapped rather than read where the file allows it.

    Raises MGTError for a file of anything else, before it is opened by torch."""
    pickle_header(file)
    mapped = is_mapped(file)
    if not mapped:
        log.warning("%s is of torch's old format, which is read whole: loading takes twice the memory", file)
    try:
        held = torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:
        log.debug("torch.load: %s", error)
        raise MGTError(
            f"{file} is not a readable file of tensors: it is damaged, or holds other objects, which are not loaded"
        ) from None
    return weights_in(held, Tensor)


def index_pickle(file: Path) -> dict[str, Stored]:
    return {
        name: Stored(file, name, held.shape, held.storage.place + held.start, held.size)
        for name, held in pickle_header(file).items()
    }


def pickle_header(file: Path) -> Mapping[str, Held]:
    """What the file holds, read again only once it is another."""
    state = stat_of(file)
    return remembered_header(file, (state.st_mtime_ns, state.st_size, state.st_ino))


@lru_cache(maxsize=8)
def remembered_header(file: Path, state: tuple) -> Mapping[str, Held]:
    return read_pickle(file)


def open_weights(file: Path) -> Callable[[str], Tensor]:
    """What gives the tensor of a name, out of memory that the file is mapped to.

    Raises MGTError, as what it gives does, where the file cannot be read."""
    take = open_pickle(file).__getitem__ if file.suffix != ".safetensors" else open_safetensors(file)

    def taken(name: str) -> Tensor:
        try:
            return take(name)
        except Exception as error:
            raise MGTError(f"{file} does not give its tensor {name} ({reason(error)})") from None

    return taken


def open_safetensors(file: Path) -> Callable[[str], Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(file, "pt", device="cpu").get_tensor
    except (SafetensorError, OSError, ValueError) as error:
        raise MGTError(f"{file} is not a readable safetensors file ({reason(error)})") from None


def read_tensors(stored: Mapping[str, Stored], wanted: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Each wanted tensor once, in the order of the files. A yielded tensor lies in mapped memory: copy it."""
    names = sorted(wanted, key=lambda name: (stored[name].file, stored[name].offset))
    take, opened, read = None, None, 0
    for name in names:
        entry = stored[name]
        if entry.file != opened or (read > REMAP_BYTES and can_be_mapped(entry.file)):
            take, opened, read = open_weights(entry.file), entry.file, 0
        tensor = take(entry.name)
        if tensor.is_floating_point() != wanted[name].is_floating_point():
            raise MGTError(f"{entry.file} holds {name} as {tensor.dtype}, expected a type like {wanted[name].dtype}")
        read += entry.size
        yield name, tensor


def can_be_mapped(file: Path) -> bool:
    return file.suffix == ".safetensors" or is_mapped(file)
