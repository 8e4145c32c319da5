"""What stands for the objects of a file of torch.save while its header is read: they say of what size those would be,
and do nothing. Names that are not here are not read."""

import math
from dataclasses import dataclass

import torch

from .archive import Broken
from .stored import DIMENSIONS, is_count

STORAGES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
}
TEXTS = (str, bytes)
LONGEST_KEY = 10_000  # characters of a key, which are compared whenever it is looked up; prompts have some hundred


@dataclass(frozen=True)
class Storage:
    """A run of `count` numbers. place: where in the file it lies."""

    key: str
    dtype: torch.dtype
    count: int
    place: int = 0

    @property
    def size(self) -> int:
        return self.count * self.dtype.itemsize


@dataclass(frozen=True)
class Held:
    """A tensor. start: bytes from the beginning of its storage."""

    storage: Storage
    shape: tuple[int, ...]
    dtype: torch.dtype
    start: int

    @property
    def size(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class Inert:
    """What may lie beside tensors and matters to nobody."""


def key_like(key: object) -> object:
    """A key that takes no time to look up: long and nested ones take any, and so do numbers chosen to collide."""
    if isinstance(key, tuple):
        plain = len(key) <= DIMENSIONS and all(isinstance(part, TEXTS) or is_small(part, 2**32) for part in key)
        length = sum(len(part) for part in key if isinstance(part, TEXTS)) if plain else 0
    else:
        plain = isinstance(key, (*TEXTS, float)) or is_small(key, 2**60)
        length = len(key) if isinstance(key, TEXTS) else 0
    if not plain or length > LONGEST_KEY:
        raise Broken("it holds collections by keys that are no numbers or texts, or long ones")
    return key


def is_small(value: object, limit: int) -> bool:
    return value is None or isinstance(value, int) and abs(value) < limit


def view_of(storage: Storage, view: object = None) -> Storage:
    """Part of a storage: (name, first number, count)."""
    if view is None:
        return storage
    _, first, count = view
    if not is_count(first) or not is_count(count) or first + count > storage.count:
        raise Broken("it holds a part of a tensor that is not in it")
    return Storage(storage.key, storage.dtype, count, storage.place + first * storage.dtype.itemsize)


def tensor(storage, offset, shape, strides, requires_grad=False, hooks=None, metadata=None) -> Held:
    """As `tensor_of_type`, of the type of its storage."""
    return tensor_of_type(storage, offset, shape, strides, requires_grad, hooks, storage.dtype, metadata)


def tensor_of_type(storage, offset, shape, strides, requires_grad, hooks, dtype, metadata=None) -> Held:
    """A tensor that lies within its storage and is no larger. Raises Broken for others."""
    if not isinstance(storage, Storage) or str(dtype).startswith(("torch.q", "torch.bits")) or metadata or hooks:
        raise Broken("it holds a tensor of a special kind")
    if not is_shape(shape) or not is_shape(strides) or len(shape) != len(strides) or not is_count(offset):
        raise Broken("it holds a tensor whose shape is none")
    found = Held(storage, shape, dtype, offset * dtype.itemsize)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides))
    if found.size and (last + 1) * dtype.itemsize > storage.size:
        raise Broken(f"it holds a tensor of shape {list(shape)} and less data than that")
    return found


def is_shape(value: object) -> bool:
    return isinstance(value, tuple) and len(value) <= DIMENSIONS and all(map(is_count, value))


def parameter(value, requires_grad=True, hooks=None, state=None) -> Held:
    if not isinstance(value, Held) or hooks:
        raise Broken("it holds a parameter that is no tensor")
    check_attributes(state, torch.nn.Parameter)
    return value


def with_attributes(function, kind, arguments, state) -> Held:
    if function not in (tensor, tensor_of_type, parameter) or kind not in ("Tensor", "Parameter"):
        raise Broken("it holds tensors of a special kind")
    value = function(*arguments)
    check_attributes(state, torch.nn.Parameter)
    return value


def check_attributes(state: object, kind: type) -> None:
    """Raises Broken for attributes that an object of `kind` would have otherwise."""
    if state and (not isinstance(state, dict) or any(not isinstance(n, str) or hasattr(kind, n) for n in state)):
        raise Broken("it holds objects with attributes that change what they do")


def dictionary(items=()) -> dict:
    if not isinstance(items, (dict, list, tuple)):
        raise Broken("it holds a dictionary that is none")
    pairs = items.items() if isinstance(items, dict) else items
    return {key_like(key): value for key, value in pairs}


def tally(items=()) -> dict:
    if not isinstance(items, dict):
        raise Broken("it holds a tally of something else than numbers or texts")
    return dict(items)


def collection(items=()) -> Inert:
    if not isinstance(items, (list, tuple)):
        raise Broken("it holds a collection of something else than numbers or texts")
    for item in items:
        key_like(item)
    return Inert()


def encoded(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise Broken("it holds bytes in an encoding that is not read")
    return text.encode(encoding)


def changeable(content=b"", encoding="latin1") -> bytes:
    """A bytearray; one made from a number would be of any size."""
    return content if isinstance(content, bytes) else encoded(content, encoding)


def complex_number(real: float, imaginary: float) -> complex:
    return complex(real, imaginary)


def shape_of(sizes=()) -> tuple:
    if not is_shape(sizes):
        raise Broken("it holds a shape that is none")
    return sizes


def device(name, number=0) -> Inert:
    if not isinstance(name, str) or not isinstance(number, int):
        raise Broken("it holds a device that is none")
    return Inert()


KNOWN: dict[str, object] = {
    "collections.OrderedDict": dictionary,
    "collections.Counter": tally,
    "builtins.set": collection,
    "builtins.bytearray": changeable,
    "builtins.complex": complex_number,
    "_codecs.encode": encoded,
    "torch.Size": shape_of,
    "torch.device": device,
    "torch.Tensor": "Tensor",
    "torch.nn.parameter.Parameter": "Parameter",
    "torch._utils._rebuild_tensor": tensor,
    "torch._utils._rebuild_tensor_v2": tensor,
    "torch._utils._rebuild_tensor_v3": tensor_of_type,
    "torch._utils._rebuild_parameter": parameter,
    "torch._utils._rebuild_parameter_with_state": parameter,
    "torch._tensor._rebuild_from_type_v2": with_attributes,
    "torch.storage.UntypedStorage": torch.uint8,
    **{f"torch.{name}Storage": dtype for name, dtype in STORAGES.items()},
    **{f"torch.{name}": kind for name, kind in vars(torch).items() if isinstance(kind, torch.dtype)},
}
