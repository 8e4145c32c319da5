"""Modules whose weights are in half precision, computed in float32 where a rounding would be magnified.

Guidance of 9, as Meissonic (arXiv 2410.08261) is run, counts an error of one prediction up to seventeen times; the
token head, which decides it, is a small part of the work.
"""

import copy
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from .now import Now

Copies = dict[int, tuple[Tensor, Tensor]]  # by a weight's id the weight itself, and its float32 copy


_copies = Now()


def keeping(copies: Copies) -> AbstractContextManager[None]:
    """Copies made meanwhile are kept in `copies`, and those that it holds are used: for a run, during which weights
    stay what they are."""
    return _copies.being(copies)


def in_float32(weight: Tensor) -> Tensor:
    """`weight`, or a copy of it, which is another one for every call where nobody keeps them."""
    if weight.dtype == torch.float32:
        return weight
    copies = {} if _copies.value is None else _copies.value
    if id(weight) not in copies:
        copies[id(weight)] = weight, weight.detach().float()
    return copies[id(weight)][1]


def widened(module: nn.Module, x: Tensor, *more) -> Tensor:
    """`module(x, *more)`; for a float32 `x` with weights as in_float32 gives them. The module itself, which other runs
    may be using, is left alone."""
    if x.dtype != torch.float32 or all(weight.dtype == x.dtype for weight in module.parameters()):
        return module(x, *more)
    return double(module)(x, *more)


def double(module: nn.Module) -> nn.Module:
    """The same module, hooks and all, around float32 weights."""
    twin = copy.copy(module)
    own = module._parameters.items()
    twin._parameters = {name: value if value is None else in_float32(value) for name, value in own}
    twin._modules = {name: double(inner) for name, inner in module._modules.items()}
    return twin
