"""Which layers an update can stand beside, and what they hold."""

import torch
from torch import Tensor, nn

from ..kernels.fused_linear import Apart


def is_linear(layer: nn.Module | None) -> bool:
    """Also packed ones, which have a geometry where they are convolutions."""
    return hasattr(layer, "in_features") and getattr(layer, "geometry", None) is None


def weight_of(layer: nn.Module) -> Tensor:
    """[out, in] float32 of a linear layer, decoded where it is packed."""
    if isinstance(layer, Apart):
        return torch.cat([weight_of(layer.get_submodule(name)) for name in layer.names])
    return layer.weight_matrix() if hasattr(layer, "weight_matrix") else layer.weight.detach().float()


def bias_of(layer: nn.Module) -> Tensor:
    """[out] float32 of a linear layer, zeros where it has none."""
    if isinstance(layer, Apart):
        return torch.cat([bias_of(layer.get_submodule(name)) for name in layer.names])
    if layer.bias is None:
        return torch.zeros(layer.out_features, device=next(layer.parameters()).device)
    return layer.bias.detach().float()
