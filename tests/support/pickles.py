"""Files of torch.save as nobody's torch.save writes them."""

import pickle
import zipfile
from pathlib import Path

MARK, TUPLE, REDUCE = pickle.MARK, pickle.TUPLE, pickle.REDUCE


def opcodes(value: object) -> bytes:
    """What makes a number, text, tuple, dict or name ("module.name" as bytes) in a pickle of torch.save."""
    if isinstance(value, bytes):
        module, name = value.rsplit(b".", 1)
        return pickle.GLOBAL + module + b"\n" + name + b"\n"
    if isinstance(value, Call):
        return opcodes(value.name) + opcodes(value.arguments) + REDUCE
    if isinstance(value, tuple):
        return MARK + b"".join(map(opcodes, value)) + TUPLE
    if isinstance(value, Lasting):
        return opcodes(value.told) + pickle.BINPERSID
    if isinstance(value, dict):
        items = b"".join(opcodes(key) + opcodes(held) for key, held in value.items())
        return pickle.EMPTY_DICT + MARK + items + pickle.SETITEMS
    return pickle.dumps(value, 2)[2:-1]


class Call:
    """A function of a pickle, by its name, with arguments."""

    def __init__(self, name: bytes, *arguments: object):
        self.name, self.arguments = name, arguments


class Lasting:
    """A piece of data of a file, as pickles name it."""

    def __init__(self, *told: object):
        self.told = told


def storage(count: int, key: str = "0", kind: bytes = b"torch.FloatStorage") -> Lasting:
    return Lasting("storage", kind, key, "cpu", count)


def tensor(count: int, *shape: int, strides: tuple | None = None, offset: int = 0, key: str = "0") -> Call:
    """A float tensor in data of `count` numbers."""
    steps = strides if strides is not None else (1,) * len(shape)
    hooks = Call(b"collections.OrderedDict")
    return Call(b"torch._utils._rebuild_tensor_v2", storage(count, key), offset, shape, steps, False, hooks)


def write_pickle(
    file: Path, held: object, data: dict[str, bytes] | None = None, packed: bool = False, more: bytes = b""
) -> Path:
    """A zip file as torch.save writes it. packed: its parts compressed. more: opcodes after the object."""
    content = b"\x80\x02" + (held if isinstance(held, bytes) else opcodes(held)) + more + pickle.STOP
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/byteorder", "little")
        for name, part in (data or {}).items():
            archive.writestr(f"archive/data/{name}", part)
        archive.writestr("archive/version", "3\n")
    return file
