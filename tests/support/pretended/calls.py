"""What torch does before an operation is dispatched, where it would look for a real device.

Everything that is called of torch passes here first; nearly all of it goes on as it is.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .host import on_device
from .tensor import DeviceTensor, held, here, is_here, mapped, tensors_in

aten = torch.ops.aten
MASKS = (torch.bool, torch.uint8)
MADE_OF_NUMBERS = {torch.tensor, torch.as_tensor, torch.asarray}
OWN: dict[Callable, Callable] = {}


class Calls(TorchFunctionMode):
    def __init__(self, watch):
        super().__init__()
        self.watch = watch

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        own = OWN.get(func)
        if own is not None and concerned(args):
            return own(self.watch, *args, **kwargs)
        if func in MADE_OF_NUMBERS and numbered(kwargs.get("device")) == here():
            return func(*args, **kwargs | {"device": None}).to(here())
        if kwargs.get("generator") is not None:
            self.check_generator(func, args, kwargs)
        kwargs = {key: numbered(value) if key == "device" else value for key, value in kwargs.items()}
        return func(*(numbered(value) for value in args), **kwargs)

    def check_generator(self, func, args, kwargs) -> None:
        on = numbered(kwargs.get("device")) == here() or concerned(args)
        if on != on_device(kwargs["generator"]):
            sides = ("the device", "the CPU") if on else ("the CPU", "the device")
            self.watch.mix(f"{func.__name__} on {sides[0]} with a generator of {sides[1]}")


def concerned(args) -> bool:
    return any(isinstance(tensor, DeviceTensor) for tensor in tensors_in(args))


def numbered(value):
    """torch asks which device is the current one where a number is missing."""
    if isinstance(value, str):
        return here() if value == here().type else value
    return here() if is_here(value) else value


def instead_of(*functions: Callable):
    def put(own: Callable) -> Callable:
        OWN.update(dict.fromkeys(functions, own))
        return own

    return put


def looked_up(watch, index) -> tuple:
    """An index as the CPU takes it, and whether it selects by tensors; notes what makes the host wait."""
    items = index if type(index) is tuple else (index,)
    advanced = any(type(item) is list for item in items)
    if advanced:
        watch.wait("a list as an index")
    for item in tensors_in(items):
        if not isinstance(item, DeviceTensor):
            watch.wait("an index on the CPU")
        elif item.ndim == 0 and item.dtype not in MASKS:
            watch.wait("a single value as an index")
            continue
        advanced = True
    return mapped(held, items), advanced


def masks(index) -> bool:
    items = index if type(index) is tuple else (index,)
    return any(item.dtype in MASKS for item in tensors_in(items))


@instead_of(Tensor.__getitem__)
def get(watch, tensor, index):
    own, advanced = looked_up(watch, index)
    if not isinstance(tensor, DeviceTensor):
        watch.mix("a tensor on the CPU indexed by one on the device")
    if masks(index):
        watch.wait("index with a mask")
    return watch.done(lambda: tensor.held[own], "index", view=not advanced)


@instead_of(Tensor.__setitem__)
def put(watch, tensor, index, value) -> None:
    own, advanced = looked_up(watch, index)
    if not isinstance(tensor, DeviceTensor):
        watch.mix("a tensor on the CPU written from one on the device")
    if not isinstance(value, Tensor):
        # torch fills where a mask says so, but sends a value after indices.
        if advanced and not masks(index):
            watch.wait("a number put by an index")
    elif not isinstance(value, DeviceTensor):
        watch.wait("values of the CPU put into a tensor of the device")
    elif masks(index):
        watch.wait("index_put_ with a mask")
    values = held(value)

    def write() -> Tensor:
        tensor.held[own] = values
        return tensor.held

    name = "index_put_" if advanced else "copy_" if isinstance(value, Tensor) else "fill_"
    watch.done(write, name, [tensor], [tensor])


@instead_of(Tensor.copy_)
def copy_into(watch, target, source, non_blocking=False):
    return aten.copy_.default(target, source, non_blocking)


@instead_of(Tensor.contiguous)
def contiguous(watch, tensor, memory_format=torch.contiguous_format):
    if tensor.is_contiguous(memory_format=memory_format):
        return tensor
    return aten.clone.default(tensor, memory_format=memory_format)


@instead_of(Tensor.__invert__)
def invert(watch, tensor):
    return aten.bitwise_not.default(tensor)


@instead_of(Tensor.data_ptr)
def data_ptr(watch, tensor):
    return tensor.held.data_ptr()


@instead_of(Tensor.nonzero, torch.nonzero)
def nonzero(watch, tensor, as_tuple=False):
    places = aten.nonzero.default(tensor)
    return places.unbind(1) if as_tuple else places


@instead_of(Tensor.__int__)
def integer(watch, tensor):
    return int(tensor.item())


@instead_of(Tensor.__float__)
def number(watch, tensor):
    return float(tensor.item())


@instead_of(Tensor.__bool__)
def truth(watch, tensor):
    return bool(tensor.item())


@instead_of(Tensor.tolist)
def tolist(watch, tensor):
    return tensor.cpu().tolist()


@instead_of(F.scaled_dot_product_attention)
def attention(watch, query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, **kwargs):
    """One kernel, whose result lies as those of torch's kernels do: [B, S, heads, D], transposed."""
    given = [query, key, value, *([] if attn_mask is None else [attn_mask])]
    if not all(isinstance(each, DeviceTensor) for each in given):
        watch.mix("attention over tensors of both devices")
    q, k, v, *mask = (each.held for each in given)

    def compute() -> Tensor:
        out = F.scaled_dot_product_attention(q, k, v, *mask, dropout_p=dropout_p, is_causal=is_causal, **kwargs)
        return out.transpose(1, 2).contiguous().transpose(1, 2)

    return watch.done(compute, "attention")


@instead_of(torch.mm)
def product(watch, a, b, out_dtype=None):
    """With out_dtype there is none on a CPU: products of half precision, added up in float32 and left there."""
    if out_dtype is None:
        return aten.mm.default(a, b)
    if not (isinstance(a, DeviceTensor) and isinstance(b, DeviceTensor)):
        watch.mix("a product of tensors of both devices")
    return watch.done(lambda: a.held.to(out_dtype) @ b.held.to(out_dtype), "mm")
