"""A tensor of the pretended device."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

CPU = torch.device("cpu")
NESTED = (list, tuple)


class Pretence:
    """Which device is pretended, while one is."""

    device = torch.device("cuda:0")


def here() -> torch.device:
    return Pretence.device


class DeviceTensor(Tensor):
    """On the pretended device to whoever asks; the values lie in `held`, a tensor of the CPU with the same strides.

    A view holds a view, so what is written through one is seen through the other."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "DeviceTensor":
        # What is a view of a weight is no tensor of the inference mode, even there.
        if held.is_inference() != torch.is_inference_mode_enabled():
            with torch.inference_mode(held.is_inference()):
                return cls(held)
        made = Tensor._make_wrapper_subclass(
            cls, held.shape, held.stride(), held.storage_offset(), dtype=held.dtype, device=here()
        )
        made.held = held
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f"{func} of a tensor on a pretended device that is not there any more")

    def __deepcopy__(self, memo: dict) -> "DeviceTensor":
        copy = DeviceTensor(self.held.clone())
        memo[id(self)] = copy = nn.Parameter(copy, self.requires_grad) if isinstance(self, nn.Parameter) else copy
        return copy

    def __repr__(self, **_) -> str:
        return f"DeviceTensor({self.held!r})"


def tensors_in(values: Iterable, found: list[Tensor] | None = None) -> list[Tensor]:
    """Those among the values, and in lists and tuples among them, however deep."""
    found = [] if found is None else found
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif type(value) in NESTED:
            tensors_in(value, found)
    return found


def mapped(function: Callable, values: Sequence) -> Sequence:
    """`function` of each value, and of what lists and tuples among them hold."""
    return type(values)([mapped(function, v) if type(v) in NESTED else function(v) for v in values])


def held(value):
    """What the CPU computes with in place of an argument."""
    if isinstance(value, DeviceTensor):
        return value.held
    return CPU if is_here(value) else value


def is_here(value) -> bool:
    return isinstance(value, torch.device) and value.type == here().type
