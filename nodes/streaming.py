"""Layers that fetch their weights for a call when ComfyUI had no room to keep them on the GPU.

ComfyUI marks a layer as left behind by `comfy_cast_weights`, as in its own comfy.ops; layers without that
attribute have to be on the GPU to be used.
"""

from typing import Any

import torch
from torch import nn

from ..mgt_core.backbones.base import Backbone
from ..mgt_core.streaming import eagerly, sent_weights, streamable, swap_in, swap_out


def let_stream(network: Backbone) -> None:
    """From now on the linear layers of `network` work from wherever their weights lie, packed ones too."""
    for layer in streamable(network):
        if not hasattr(layer, "comfy_cast_weights"):
            layer.comfy_cast_weights = False
            layer.register_forward_pre_hook(fetch)
            layer.register_forward_hook(put_back, always_call=True)


def fetch(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    if layer.comfy_cast_weights:
        eagerly(bring)(layer, inputs[0].device)


def put_back(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: Any) -> None:
    """Also called when the layer failed."""
    if layer.comfy_cast_weights:
        eagerly(swap_out)(layer)


def bring(layer: nn.Module, device: torch.device) -> None:
    swap_in(layer, sent_weights(layer._parameters, device))


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
