"""Linear layers that on a GPU take over what stands around their product."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .plain import needs_plain


class BlockLinear(nn.Linear):
    """A linear layer with two things that a GPU does within the product and others do beside it: inputs in several
    parts, and GELU in the form of tanh. What takes its place (packed, with a LoRA beside it) needs neither, see
    `of_parts` and `gelu`."""

    def forward(self, *parts: Tensor, activated: bool = False) -> Tensor:
        """parts: [..., C_i], which lie side by side in the input [..., in_features] -> [..., out_features]."""
        x = parts[0]
        within = x.is_cuda and x.numel() > 0 and not needs_plain()
        if within and activated and len(parts) == 1 and x.dtype != torch.float32:
            return activated_product(x, self.weight, self.bias)
        if within and len(parts) > 1:
            out = sum_of_products(parts, self.weight, self.bias)
        else:
            out = super().forward(x if len(parts) == 1 else torch.cat(parts, dim=-1))
        return F.gelu(out, approximate="tanh") if activated else out


def activated_product(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """GELU of a product, by cuBLASLt of its float32 sums: on CUDA in the form of tanh, elsewhere the exact one."""
    return torch._addmm_activation(bias, x.flatten(0, -2), weight.T, use_gelu=True).unflatten(0, x.shape[:-1])


def sum_of_products(parts: Sequence[Tensor], weight: Tensor, bias: Tensor) -> Tensor:
    """Each part times its columns of `weight`, which spares a copy of all of them side by side."""
    first, *others = weight.split([part.shape[-1] for part in parts], dim=1)
    out = F.linear(parts[0].flatten(0, -2), first, bias)
    for part, own in zip(parts[1:], others, strict=True):
        out.addmm_(part.flatten(0, -2), own.T)
    return out.unflatten(0, parts[0].shape[:-1])


def of_parts(layer: nn.Module, *parts: Tensor) -> Tensor:
    """`layer` of inputs that lie side by side."""
    return layer(*parts) if isinstance(layer, BlockLinear) else layer(torch.cat(parts, dim=-1))


def gelu(layer: nn.Module, x: Tensor) -> Tensor:
    """GELU, in the form of tanh, of what `layer` makes of x."""
    return layer(x, activated=True) if isinstance(layer, BlockLinear) else F.gelu(layer(x), approximate="tanh")
