"""Networks with some of their layers replaced; the original keeps its own."""

import copy
from collections.abc import Mapping
from itertools import chain
from typing import TypeVar

from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def replaced(network: Network, layers: Mapping[str, nn.Module], share: bool = True) -> Network:
    """A copy of `network` in which `layers` stand at the places their names give.

    Everything else is built anew around the same weights (share), or around copies of them.
    """
    memo = {id(tensor): tensor for tensor in chain(network.parameters(), network.buffers())} if share else {}
    memo |= {id(network.get_submodule(name)): layer for name, layer in layers.items()}
    return copy.deepcopy(network, memo)
