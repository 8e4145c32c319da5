"""Where the tensors of files lie, and what the header of a safetensors file says of them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import MGTError, reason
from .disk import opened, parse_json, size_of

MAX_HEADER = 16 * 2**20  # bytes; that of a model of 10,000 tensors has about one million, notes of a training some more
HEADER_LISTS = 1_000_000  # brackets in a header, those in the texts of its notes counted too
DIMENSIONS = 16  # of a tensor; weights have up to five
BITS = {  # a number of each type that safetensors knows
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
    **{"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6},
}


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies, its name there and its shape. metadata: what the header of its file says beside. first: the
    row that some of its rows begin with, of which alone the rest is said; None for all of it."""

    file: Path
    name: str
    shape: tuple[int, ...]
    offset: int
    size: int
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    first: int | None = None

    def part(self, rows: slice) -> "Stored":
        """Some of the rows of a whole one."""
        row, count = self.size // self.shape[0], rows.stop - rows.start
        place, shape = self.offset + rows.start * row, (count, *self.shape[1:])
        return replace(self, shape=shape, offset=place, size=count * row, first=rows.start)


def read_header(file: Path) -> dict[str, Stored]:
    """Names, shapes and places of the tensors in one safetensors file, checked against each other and its length.

    Raises MGTError saying what is wrong with it."""
    broken = f"{file} is not a readable safetensors file"
    with opened(file) as stream:
        total = size_of(stream)
        length = int.from_bytes(stream.read(8) or b"", "little")
        if not 2 <= length <= min(MAX_HEADER, total - 8):
            limit = f", which may have {MAX_HEADER} bytes" if MAX_HEADER < length < total else ""
            raise MGTError(f"{broken} (it has {total} bytes and no valid header{limit})")
        data = stream.read(length) or b""
    try:
        entries = entries_in(parse_json(data, HEADER_LISTS), file)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MGTError(f"{broken} (its header cannot be parsed: {reason(error)})") from None
    end = 8 + length + max((entry.offset + entry.size for entry in entries.values()), default=0)
    if total < end:
        raise MGTError(f"{file} is truncated: it has {total} bytes of {end}; download or copy it again")
    if total > end:
        raise MGTError(f"{broken} (it has {total} bytes, and its header tells of {end})")
    return entries


def entries_in(header: dict, file: Path) -> dict[str, Stored]:
    """Raises ValueError, KeyError, TypeError or AttributeError for a header that cannot be."""
    metadata = header.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its __metadata__ is no object of texts")
    entries = {name: entry_in(name, entry, file, metadata) for name, entry in header.items()}
    end = 0
    for entry in sorted(entries.values(), key=lambda entry: (entry.offset, entry.size)):
        if entry.offset != end:
            raise ValueError(f"{entry.name} begins at {entry.offset}, where the tensor before it ends at {end}")
        end += entry.size
    return entries


def entry_in(name: str, entry: dict, file: Path, metadata: dict) -> Stored:
    shape, (begin, end) = entry["shape"], entry["data_offsets"]
    if not isinstance(shape, list) or len(shape) > DIMENSIONS or not all(map(is_count, [*shape, begin, end])):
        raise ValueError(f"the shape or the place of {name} is no list of whole numbers")
    if entry["dtype"] not in BITS:
        raise ValueError(f"{name} is of type {entry['dtype']}, which is none of {', '.join(BITS)}")
    if math.prod(shape) * BITS[entry["dtype"]] != 8 * (end - begin):
        raise ValueError(f"{name} has {end - begin} bytes, and its shape and type make another number")
    return Stored(file, name, tuple(shape), begin, end - begin, metadata)


def is_count(value: object) -> bool:
    return type(value) is int and value >= 0
