"""Reading of weight files: safetensors, and pickles of tensors, tensor by tensor."""

import json
import logging
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..errors import MGTError, join_some, reason

log = logging.getLogger(__name__)

REMAP_BYTES = 32 * 2**20  # read from one mapping before it is dropped, so that mapped pages do not pile up
MAX_HEADER = 100 * 2**20
PICKLES = (".bin", ".pth", ".pt", ".ckpt")
SUFFIXES = (".safetensors", *PICKLES)
NESTED = ("model_state_dict", "state_dict", "model")  # where training scripts put the weights in their file
PLAIN = ("model", "pytorch_model", "diffusion_pytorch_model")  # what transformers and diffusers call their files
WRAPPERS = ("_orig_mod.", "module.")  # prefixes that compiled and data-parallel modules leave in names


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies, its name there and its shape. metadata: what the header of its file says beside."""

    file: Path
    name: str
    shape: tuple[int, ...]
    offset: int
    size: int
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)


def read_json(path: Path) -> dict:
    """Raises MGTError for a missing file, or one that does not hold a JSON object."""
    if not path.is_file():
        raise MGTError(f"{path} is missing")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise MGTError(f"{path} is not valid JSON ({reason(error)})") from None
    if not isinstance(value, dict):
        raise MGTError(f"{path} holds {type(value).__name__}; expected a JSON object")
    return value


def index_weights(source: Path) -> dict[str, Stored]:
    """Every tensor of a weight file, or of a folder that holds one or shards listed by an index, by name.

    Safetensors come before pickles, which are read for tensors alone (weights_only). Raises MGTError when
    there is no file, or one is missing, truncated or of another kind.
    """
    stored: dict[str, Stored] = {}
    for file in [source] if source.is_file() else weight_files(source):
        stored.update(read_header(file) if file.suffix == ".safetensors" else index_pickle(file))
    return stored


def shapes_of(stored: Mapping[str, Stored]) -> dict[str, tuple[int, ...]]:
    return {name: entry.shape for name, entry in stored.items()}


def weight_files(folder: Path) -> list[Path]:
    for suffix in SUFFIXES:
        indexes = sorted(folder.glob(f"*{suffix}.index.json"), key=plain_name_first)
        if indexes:
            weight_map = read_json(indexes[0]).get("weight_map")
            if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
                raise MGTError(f"{indexes[0]} has no weight_map from tensors to files")
            files = sorted({folder / name for name in weight_map.values()})
            missing = [file.name for file in files if not file.is_file()]
            if missing:
                raise MGTError(f"{folder} lacks {len(missing)} of {len(files)} shards: {join_some(missing)}")
            return files
        if files := sorted(folder.glob(f"*{suffix}"), key=plain_name_first):
            return files[:1]
    raise MGTError(f"{folder} holds no weights; expected a file of type {', '.join(SUFFIXES)}")


def plain_name_first(file: Path) -> tuple[int, bool, bool, str]:
    """Sorts model.safetensors before its variants (model.fp16.safetensors, model.ema.safetensors) and other files,
    those in another library's format (open_clip_pytorch_model.bin) included."""
    stem = file.name.split(".")[0]
    return file.name.count("."), stem not in PLAIN, not stem.endswith("model"), file.name


def read_header(file: Path) -> dict[str, Stored]:
    """Names, shapes and places of the tensors in one safetensors file, checked against its length."""
    total = file.stat().st_size
    broken = f"{file} is not a readable safetensors file"
    with file.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(MAX_HEADER, total - 8):
            raise MGTError(f"{broken} (it has {total} bytes and no valid header)")
        try:
            header = json.loads(stream.read(length))
            metadata = header.pop("__metadata__", None) or {}
            places = {name: (tuple(e["shape"]), *e["data_offsets"]) for name, e in header.items()}
            entries = {n: Stored(file, n, shape, i, j - i, metadata) for n, (shape, i, j) in places.items()}
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise MGTError(f"{broken} (its header cannot be parsed: {reason(error)})") from None
    end = 8 + length + max((e.offset + e.size for e in entries.values()), default=0)
    if total < end:
        raise MGTError(f"{file} is truncated: it has {total} bytes of {end}; download or copy it again")
    return entries


def is_mapped(file: Path) -> bool:
    return file.suffix == ".safetensors" or zipfile.is_zipfile(file)


def open_pickle(file: Path) -> dict[str, Tensor]:
    """The tensors in a file of torch.save, mapped rather than read where the file allows it."""
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
    for key in NESTED:
        if isinstance(held, Mapping) and isinstance(held.get(key), Mapping):
            held = held[key]
    tensors = held.items() if isinstance(held, Mapping) else ()
    return {plain_name(name): value for name, value in tensors if isinstance(value, Tensor)}


def plain_name(name: str) -> str:
    for prefix in WRAPPERS:
        name = name.removeprefix(prefix)
    return name


def index_pickle(file: Path) -> dict[str, Stored]:
    held = open_pickle(file)
    first = min((value.data_ptr() for value in held.values()), default=0)
    return {
        name: Stored(file, name, tuple(value.shape), value.data_ptr() - first, value.nbytes)
        for name, value in held.items()
    }


def open_weights(file: Path) -> Callable[[str], Tensor]:
    """What gives the tensor of a name, out of memory that the file is mapped to."""
    from safetensors import SafetensorError, safe_open

    if file.suffix != ".safetensors":
        return open_pickle(file).__getitem__
    try:
        return safe_open(file, "pt", device="cpu").get_tensor
    except SafetensorError as error:
        raise MGTError(f"{file} is not a readable safetensors file ({reason(error)})") from None


def read_tensors(stored: Mapping[str, Stored], wanted: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Each wanted tensor once, in the order of the files. A yielded tensor lies in mapped memory: copy it."""
    names = sorted(wanted, key=lambda name: (stored[name].file, stored[name].offset))
    take, opened, read = None, None, 0
    for name in names:
        entry = stored[name]
        if entry.file != opened or (read > REMAP_BYTES and is_mapped(entry.file)):
            take, opened, read = open_weights(entry.file), entry.file, 0
        tensor = take(entry.name)
        if tensor.is_floating_point() != wanted[name].is_floating_point():
            raise MGTError(f"{entry.file} holds {name} as {tensor.dtype}, expected a type like {wanted[name].dtype}")
        read += entry.size
        yield name, tensor
