"""Reading of weight files: safetensors, and pickles of tensors, tensor by tensor."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from ..errors import MGTError, reason
from .disk import is_file, stat_of
from .endings import PICKLES
from .mistaken import check_finished, told_apart
from .pickle_header import Content, is_mapped, read_pickle
from .shards import told_of_shard, weight_files
from .stored import Stored, read_header
from .wrappers import Fits, flattened, unwrapped

log = logging.getLogger(__name__)

REMAP_BYTES = 32 * 2**20  # read from one mapping before it is dropped, so that mapped pages do not pile up


def index_weights(source: Path, fits: Fits | None = None) -> dict[str, Stored]:
    """Every tensor of a weight file, or of a folder that holds one or shards (shards.py), by its plain name: without
    what trainings put before it (wrappers.py), as far as `fits` says, or else what can be told from the file alone.

    Safetensors come before pickles, which are read for tensors alone (weights_only). Raises MGTError when
    there is no file, or one is missing, truncated, of another kind, or one shard of several.
    """
    stored: dict[str, Stored] = {}
    if (is_one := is_file(source)) and (told := told_of_shard(source)):
        raise MGTError(f"{source} is {told[0]}; {told[1]}")
    for file in [source] if is_one else weight_files(source):
        stored.update(index_file(file))
    return unwrapped(stored, fits)


def index_file(file: Path) -> dict[str, Stored]:
    """Every tensor of a file, by the name that it has there. Raises MGTError saying what the file is instead."""
    check_finished(file)
    with told_apart(file):
        return read_header(file) if file.suffix == ".safetensors" else index_pickle(file)


def shapes_of(stored: Mapping[str, Stored]) -> dict[str, tuple[int, ...]]:
    return {name: entry.shape for name, entry in stored.items()}


def open_pickle(file: Path) -> dict[str, Tensor]:
    """The tensors in a file of torch.save by the names that `index_pickle` has, mapped rather than read where the file
    allows it.

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
    # Some save the parameters themselves, which are not to be trained here.
    return {name: tensor.detach() for name, tensor in flattened(held, Tensor).items()}


def index_pickle(file: Path) -> dict[str, Stored]:
    """As `flattened` names what lies in dictionaries."""
    return {
        name: Stored(file, name, held.shape, held.storage.place + held.start, held.size)
        for name, held in pickle_header(file).tensors.items()
    }


def notes_in(file: Path) -> Mapping[str, str]:
    """Texts beside the tensors of a pickle, by their keys; none of anything else. Raises MGTError as `index_file`."""
    if file.suffix not in PICKLES or not is_file(file):
        return {}
    check_finished(file)
    with told_apart(file):
        return pickle_header(file).notes


def pickle_header(file: Path) -> Content:
    """What the file holds, read again only once it is another."""
    state = stat_of(file)
    return remembered_header(file, (state.st_mtime_ns, state.st_size, state.st_ino))


@lru_cache(maxsize=8)
def remembered_header(file: Path, state: tuple) -> Content:
    return read_pickle(file)


def open_weights(file: Path) -> Callable[..., Tensor]:
    """What gives the tensor of a name, or some of its rows, out of memory that the file is mapped to.

    Raises MGTError, as what it gives does, where the file cannot be read."""
    take, part = open_pickled(file) if file.suffix != ".safetensors" else open_safetensors(file)

    def taken(name: str, rows: slice | None = None) -> Tensor:
        try:
            return take(name) if rows is None else part(name)[rows]
        except Exception as error:
            raise MGTError(f"{file} does not give its tensor {name} ({reason(error)})") from None

    return taken


def open_pickled(file: Path) -> tuple[Callable, Callable]:
    take = open_pickle(file).__getitem__
    return take, take


def open_safetensors(file: Path) -> tuple[Callable, Callable]:
    """What gives a tensor, and what gives something of which rows can be taken."""
    from safetensors import SafetensorError, safe_open

    try:
        opened = safe_open(file, "pt", device="cpu")
        return opened.get_tensor, opened.get_slice
    except (SafetensorError, OSError, ValueError) as error:
        raise MGTError(f"{file} is not a readable safetensors file ({reason(error)})") from None


def read_tensors(stored: Mapping[str, Stored], wanted: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Each wanted tensor once, in the order of the files. A yielded tensor lies in mapped memory: copy it."""
    for name, _, tensor in read_pieces(stored, wanted, {}, {}, whole=True):
        yield name, tensor


def read_pieces(
    stored: Mapping[str, Stored],
    wanted: Mapping[str, Tensor],
    taken: Mapping[str, slice],
    together: Mapping[str, Sequence[str]],
    whole: bool = False,
) -> Iterator[tuple[str, int, Tensor]]:
    """The same, large tensors row by row: the name, the first row of those wanted, and the rows.

    taken: of some tensors, the rows that are wanted. together: of some tensors, those that are read next to them,
    wherever they lie. whole: whether every tensor comes at once."""

    def place(name: str) -> tuple[Path, int]:
        return stored[name].file, stored[name].offset

    first = {name: min(map(place, group)) for name, group in together.items()}
    take, opened, read = None, None, 0
    for name in sorted(wanted, key=lambda name: (first.get(name, place(name)), place(name))):
        entry = stored[name]
        for start, rows, size in pieces(entry, None if whole else taken.get(name, slice(0, *entry.shape[:1]))):
            if entry.file != opened or (read > REMAP_BYTES and can_be_mapped(entry.file)):
                take, opened, read = open_weights(entry.file), entry.file, 0
            tensor = take(entry.name) if rows is None else take(entry.name, rows)
            if tensor.is_floating_point() != wanted[name].is_floating_point():
                expected = wanted[name].dtype
                raise MGTError(f"{entry.file} holds {name} as {tensor.dtype}, expected a type like {expected}")
            read += size
            yield name, start, tensor


def pieces(entry: Stored, wanted: slice | None) -> Iterator[tuple[int, slice | None, int]]:
    """Rows of a tensor to read at once: where they begin among those wanted, which they are, and about their bytes. All
    of a small one."""
    if entry.first is not None:
        for start, rows, size in pieces(replace(entry, first=None), wanted):
            rows = rows or slice(0, entry.shape[0])
            yield start, slice(entry.first + rows.start, entry.first + rows.stop), size
        return
    if wanted is None or not entry.shape or (entry.size <= REMAP_BYTES and wanted == slice(0, entry.shape[0])):
        yield 0, None, entry.size
        return
    row = max(1, entry.size // entry.shape[0])
    step = max(1, REMAP_BYTES // row)
    for start in range(wanted.start, wanted.stop, step):
        stop = min(wanted.stop, start + step)
        yield start - wanted.start, slice(start, stop), row * (stop - start)


def can_be_mapped(file: Path) -> bool:
    return file.suffix == ".safetensors" or is_mapped(file)
