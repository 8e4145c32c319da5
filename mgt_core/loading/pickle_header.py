"""What a file of torch.save holds, told from its pickle without torch.load: nothing is built but inert stand-ins, and
none of the data is read. What passes here is of a size that the file itself has."""

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch

from ..errors import MGTError
from .archive import Broken, entries_of, is_zip
from .disk import opened, size_of
from .inert import KNOWN, Held, Storage, check_attributes, key_like, view_of
from .listing import is_listing
from .stored import is_count
from .wrappers import flattened

MAX_PICKLE = 32 * 2**20  # bytes of the pickle beside the data; that of a model of 5,000 tensors has about one million
PIECES = (
    3_000_000  # that it is read in, two seconds' work: a number or a text is two or three, a tensor about a hundred
)
LISTED = PIECES // 3  # of one that is only to be listed; a model of 10,000 tensors
TEXT = 16  # characters of a text that count as a piece where it is gone through
SHARED = 4  # times its length that the tensors of a file may have together, since some share their data
LONGEST_NAME = 1000  # of a function or type that a pickle names
NOTES = ("xp.cfg", "pretrained")  # texts beside the tensors that say what these are (audiocraft.py)
LONGEST_NOTE = 2**16  # characters of such a text that are kept; published ones have some 6,000

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001  # of torch's format before zip files


@dataclass(frozen=True)
class Content:
    """tensors: by the keys that lead to them (`flattened` in wrappers.py). notes: of NOTES, those that lie in the
    outermost dictionary; one that is longer than LONGEST_NOTE by its first LONGEST_NOTE + 1 characters."""

    tensors: Mapping[str, Held]
    notes: Mapping[str, str]


def is_mapped(file: Path) -> bool:
    """Whether torch can map a pickle to memory, rather than read it whole."""
    with opened(file) as stream:
        return is_zip(stream)


def read_pickle(file: Path) -> Content:
    """The tensors that `torch.load` would give, each no larger than what the file has of it, and the notes beside them.

    Raises MGTError for a file of anything else."""
    with opened(file) as stream:
        try:
            held, total = (zipped if is_zip(stream) else unzipped)(stream), size_of(stream)
            tensors = flattened(held, Held)
            if sum(tensor.size for tensor in tensors.values()) > SHARED * total:
                raise Broken("its tensors are much larger than the file")
            return Content(tensors, notes_in(held))
        except OSError:
            raise
        except Exception as error:
            told = str(error) if isinstance(error, Broken) else "it is damaged, or of another kind"
            raise MGTError(f"{file} is not a readable file of tensors: {told}") from None


def notes_in(held: object) -> dict[str, str]:
    found = {name: held.get(name) for name in NOTES} if isinstance(held, dict) else {}
    return {name: text[: LONGEST_NOTE + 1] for name, text in found.items() if isinstance(text, str)}


def zipped(stream: BinaryIO) -> object:
    archive, entries = entries_of(stream, size_of(stream))
    if "data.pkl" not in entries or "constants.pkl" in entries:
        raise Broken("it is a zip file of something else, to be unpacked if the weights are in it")

    def storage(key: str, dtype: torch.dtype, count: int) -> Storage:
        entry = entries.get(f"data/{key}")
        if entry is None or entry.size < count * dtype.itemsize:
            raise Broken(f"it has no data for {count} numbers of a tensor, or it is cut off")
        return Storage(key, dtype, count, entry.place)

    if max(entry.size for name, entry in entries.items() if not name.startswith("data/")) > MAX_PICKLE:
        raise Broken(f"it holds more beside its tensors than is read ({MAX_PICKLE} bytes)")
    with archive.open(entries["data.pkl"].info) as data:
        return Reader(Limited(io.BytesIO(data.read())), storage).load()


def unzipped(stream: BinaryIO) -> object:
    """Of the format before: pickles of what it is, of the tensors and of the order of the data, then the data."""
    stream.seek(0)
    limited = Limited(stream)
    if Reader(limited).load() != MAGIC or Reader(limited).load() != VERSION:
        raise Broken("it is none of torch.save")
    Reader(limited).load()  # about the machine that wrote it
    reader = Reader(limited, Storage)
    held, keys = reader.load(), Reader(limited).load()
    known = isinstance(keys, list) and all(isinstance(key, str) and key in reader.found for key in keys)
    if not known or not len(set(keys)) == len(keys) == len(reader.found):
        raise Broken("its data is not that of its tensors")
    if size_of(stream) < stream.tell() + sum(8 + storage.size for storage in reader.found.values()):
        raise Broken("it is cut off")
    return held


class Limited:
    """A stream that ends where the pickles of a file of tensors would have ended. What they do with what they hold
    counts too: an object is named again in two bytes, whatever its length."""

    def __init__(self, stream: BinaryIO):
        self.stream, self.bytes, self.most = stream, MAX_PICKLE, LISTED if is_listing() else PIECES
        self.pieces = self.most

    def read(self, size: int) -> bytes:
        self.pieces -= 1
        self.bytes -= size
        if self.pieces < 0 or self.bytes < 0:
            raise self.too_much()
        return self.stream.read(size)

    def readline(self) -> bytes:
        self.pieces -= 1
        return self.stream.readline(LONGEST_NAME)

    def go_through(self, value: object, levels: int = 2) -> None:
        """Counts the parts of a value, and those of tuples in it so many levels down."""
        if isinstance(value, (str, bytes)):
            self.pieces -= len(value) // TEXT
        elif isinstance(value, (list, tuple, dict)):
            self.pieces -= len(value)
        if self.pieces < 0:
            raise self.too_much()
        if isinstance(value, tuple) and levels:
            for part in value:
                self.go_through(part, levels - 1)

    def too_much(self) -> Broken:
        return Broken(f"it holds more beside its tensors than is read ({self.most} pieces, {MAX_PICKLE} bytes)")


class Reader(pickle._Unpickler):
    """Knows the names that files of tensors hold, and the opcodes that torch.load knows with weights_only. (The one
    in C would make room for any number of remembered objects that a file names.)"""

    def __init__(self, stream: Limited, storage: Callable[[str, torch.dtype, int], Storage] | None = None):
        super().__init__(stream, encoding="utf-8")
        self.stream, self.storage, self.found = stream, storage, {}

    def find_class(self, module: str, name: str) -> object:
        full = f"{module}.{name}".replace("__builtin__.", "builtins.", 1)
        if full not in KNOWN:
            raise Broken(f"it holds {full}, and only plain tensors, numbers, texts and collections of them are loaded")
        return KNOWN[full]

    def persistent_load(self, told: object) -> Storage:
        self.stream.go_through(told)
        if self.storage is None or not isinstance(told, tuple) or len(told) not in (5, 6) or told[0] != "storage":
            raise Broken("it holds other objects, which are not loaded")
        _, dtype, key, _, count, *view = told
        if not isinstance(dtype, torch.dtype) or not isinstance(key_like(key), str) or not is_count(count):
            raise Broken("it holds data of a type that is not loaded")
        found = self.found.get(key) or self.storage(key, dtype, count)
        self.found[key] = found
        if (found.dtype, found.count) != (dtype, count):
            raise Broken("it holds one piece of data as of two kinds")
        return view_of(found, *view)

    def load_setitems(self) -> None:
        self.fill(self.pop_mark())

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.fill([key, value])

    def fill(self, items: list) -> None:
        target = self.stack[-1]
        for at in range(0, len(items), 2):
            if isinstance(items[at], tuple):
                self.stream.go_through(items[at])
            target[key_like(items[at])] = items[at + 1]

    def load_reduce(self) -> None:
        self.stream.go_through(self.stack[-1])
        super().load_reduce()

    def load_build(self) -> None:
        """Attributes of an OrderedDict, which module.state_dict() has. Those that hide its methods would come alive
        in torch.load."""
        state = self.stack.pop()
        self.stream.go_through(state)
        if not isinstance(self.stack[-1], dict):
            raise Broken("it holds other objects, which are not loaded")
        check_attributes(state, OrderedDict)

    dispatch = {
        code[0]: pickle._Unpickler.dispatch[code[0]]
        for code in (
            *(pickle.PROTO, pickle.STOP, pickle.MARK, pickle.GLOBAL, pickle.BINPERSID),
            *(pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.BININT, pickle.BININT1, pickle.BININT2),
            *(pickle.LONG1, pickle.BINFLOAT, pickle.BINUNICODE, pickle.SHORT_BINSTRING),
            *(pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3),
            *(pickle.EMPTY_LIST, pickle.APPEND, pickle.APPENDS, pickle.EMPTY_DICT),
            *(pickle.BINGET, pickle.LONG_BINGET, pickle.BINPUT, pickle.LONG_BINPUT),
        )
    } | {
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.REDUCE[0]: load_reduce,
        pickle.BUILD[0]: load_build,
    }
