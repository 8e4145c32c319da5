"""Number formats that a processor does not have, by rounding what it computes in float32."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

MANTISSA, TF32 = 23, 10  # bits behind the point
CONVOLUTIONS = {"conv2d", "convolution"}


def tf32(x: Tensor) -> Tensor:
    """float32 to the nearest number with 10 bits of mantissa, halves to even."""
    bits, spare = x.view(torch.int32), MANTISSA - TF32
    return cleared(bits + (2 ** (spare - 1) - 1) + (bits >> spare & 1))


def tf32_cut(x: Tensor) -> Tensor:
    """float32 without the other bits: the most that a card may lose."""
    return cleared(x.view(torch.int32))


def cleared(bits: Tensor) -> Tensor:
    return (bits & -(2 ** (MANTISSA - TF32))).view(torch.float32)


class RoundedConvolutions(TorchDispatchMode):
    """Maps and kernels of convolutions rounded; sums, and all between, in float32, as a card does with TF32."""

    def __init__(self, rounding: Callable[[Tensor], Tensor]):
        super().__init__()
        self.rounding = rounding

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func.overloadpacket.__name__ in CONVOLUTIONS:
            args = (*map(self.rounding, args[:2]), *args[2:])
        return func(*args, **(kwargs or {}))


class RoundedResults(TorchDispatchMode):
    """Every result rounded to `dtype`, with its range; sums inside an operation in float32, as a card's are."""

    def __init__(self, dtype: torch.dtype):
        super().__init__()
        self.dtype = dtype

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.is_view:
            return out
        if func._schema.is_mutable:
            return out.copy_(out.to(self.dtype)) if rounds(out) else out
        return tree_map(lambda x: x.to(self.dtype).to(x.dtype) if rounds(x) else x, out)


def rounds(x: Any) -> bool:
    return isinstance(x, Tensor) and x.dtype == torch.float32
