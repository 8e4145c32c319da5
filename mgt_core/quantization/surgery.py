"""Networks with some of their layers replaced; the original keeps its own."""

import copy
from collections.abc import Mapping
from itertools import chain
from typing import TypeVar

from torch import nn

from ..kernels.fused_linear import Apart, FusedLinear, beside, published_modules

Network = TypeVar("Network", bound=nn.Module)


def replaced(network: Network, layers: Mapping[str, nn.Module], share: bool = True) -> Network:
    """A copy of `network` in which `layers` stand at the places their names give.

    A name may be that of a layer in a FusedLinear, which then comes apart. Everything else is built anew around the
    same weights (share), or around copies of them.
    """
    memo = {id(tensor): tensor for tensor in chain(network.parameters(), network.buffers())} if share else {}
    for path, module in published_modules(network):
        if path in layers:
            memo[id(module)] = layers[path]
        elif isinstance(module, FusedLinear) and any(beside(path, name) in layers for name in module.names):
            memo[id(module)] = apart(module, path, layers, share)
    return copy.deepcopy(network, memo)


def apart(fused: FusedLinear, path: str, layers: Mapping[str, nn.Module], share: bool) -> Apart:
    """What stands for `fused`: of `layers` those that are named, float ones else."""
    found = {}
    for name in fused.names:
        layer = layers.get(beside(path, name))
        if layer is None:
            layer = fused.part(name) if share else copy.deepcopy(fused.part(name))
        found[name] = layer
    return Apart(found)
