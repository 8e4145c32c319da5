"""Modules whose weights are in half precision, computed in float32 where a rounding would be magnified.

Guidance of 9, as Meissonic (arXiv 2410.08261) is run, counts an error of one prediction up to seventeen times; the
token head, which decides it, is a small part of the work.
"""

import copy

import torch
from torch import Tensor, nn


def widened(module: nn.Module, x: Tensor, *more) -> Tensor:
    """`module(x, *more)`; for a float32 `x` by a copy with converted weights, made for the call. The module itself,
    which other runs may be using, is left alone."""
    weights = list(module.parameters())
    if x.dtype != torch.float32 or all(weight.dtype == x.dtype for weight in weights):
        return module(x, *more)
    own = {id(w): w if w.dtype == x.dtype else nn.Parameter(w.float(), requires_grad=False) for w in weights}
    return copy.deepcopy(module, own)(x, *more)
