"""Layers that fetch their weights for a call when ComfyUI had no room to keep them on the GPU.

ComfyUI marks a layer as left behind by `comfy_cast_weights`, as in its own comfy.ops; layers without that
attribute have to be on the GPU to be used.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import nn

from ..mgt_core.adapters.layers import is_linear
from ..mgt_core.backbones.base import Backbone
from ..mgt_core.backbones.names import begins


def let_stream(network: Backbone) -> None:
    """From now on the linear layers of `network` work from wherever their weights lie, packed ones too."""
    for name, layer in network.named_modules():
        direct = begins(name, network.uncalled)  # applied by its weight, not called
        leaf = is_linear(layer) and not any(layer.children())
        if leaf and not direct and not hasattr(layer, "comfy_cast_weights"):
            layer.comfy_cast_weights = False
            layer.register_forward_pre_hook(fetch)
            layer.register_forward_hook(put_back, always_call=True)


def fetch(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    if layer.comfy_cast_weights:
        eagerly(swap_in)(layer, inputs[0].device)


def put_back(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: Any) -> None:
    """Also called when the layer failed."""
    if layer.comfy_cast_weights:
        eagerly(swap_out)(layer)


@cache  # made when needed: it imports torch's compiler
def eagerly(function: Callable[..., None]) -> Callable[..., None]:
    """Kept out of graphs; a compiled network that need not fetch stays one graph."""
    return torch.compiler.disable(function)


def swap_in(layer: nn.Module, device: torch.device) -> None:
    own = dict(layer._parameters)
    here = {name: value if value is None else value.to(device, non_blocking=True) for name, value in own.items()}
    layer.left_behind = own
    layer._parameters.update(here)


def swap_out(layer: nn.Module) -> None:
    layer._parameters.update(layer.__dict__.pop("left_behind", {}))


def bring_the_rest(module: nn.Module, device: torch.device) -> int:
    """Moves to `device` what lies elsewhere and cannot be fetched when it is used; returns its bytes."""
    moved = 0
    for part in module.modules():
        if getattr(part, "comfy_cast_weights", False):
            continue
        own = (*part.parameters(recurse=False), *part.buffers(recurse=False))
        moved += sum(value.nbytes for value in own if value.device != device)
        part._apply(lambda value: value.to(device), recurse=False)
    return moved
