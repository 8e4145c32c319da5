"""Modules whose weights are in half precision, computed in float32 where a rounding would be magnified.

Guidance of 9, as Meissonic (arXiv 2410.08261) is run, counts an error of one prediction up to seventeen times; the
token head, which decides it, is a small part of the work.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call


def widened(module: nn.Module, x: Tensor, *more) -> Tensor:
    """`module(x, *more)`; for a float32 `x` with weights that are converted for the call, while the module keeps its
    own."""
    if x.dtype != torch.float32:
        return module(x, *more)
    converted = {name: value.float() for name, value in module.named_parameters() if value.dtype != x.dtype}
    return functional_call(module, converted, (x, *more)) if converted else module(x, *more)
