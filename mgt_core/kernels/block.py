"""The parts of a transformer block beside its linear layers, each by the fastest way that is there.

comfy-kitchen's fused kernels are used on CUDA in half precision where the package is installed; everything
else is plain torch.
"""

from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from .kitchen import kitchen

EPS = 1e-6
LONG = 512  # rows from which attention head by head is the faster on a CPU


def fused(x: Tensor) -> ModuleType | None:
    """comfy-kitchen where it takes `x`, which may not be empty, and gains by it; torch.compile and training do
    without."""
    wanted = x.is_cuda and x.dtype in (torch.float16, torch.bfloat16) and x.numel() > 0 and not needs_plain()
    return kitchen("adaln", "rms_rope_") if wanted else None


def needs_plain() -> bool:
    return torch.compiler.is_compiling() or torch.is_grad_enabled()


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Affine-free layer norm, then scale and shift per sample. x: [B, S, C]; shift, scale: [B, C]."""
    if (kernels := fused(x)) is not None:
        return kernels.adaln(x, scale[:, None], shift[:, None], EPS)
    return torch.addcmul(shift[:, None], F.layer_norm(x, x.shape[-1:], eps=EPS), 1 + scale[:, None])


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention. q: [B, heads, S, D]; k, v: [B, heads, R, D] -> [B, heads, S, D]."""
    slow = q.device.type == "cpu" and q.dtype == torch.bfloat16  # torch's own, on processors without matrix units
    if not slow or mask is not None or q.shape[2] < LONG or needs_plain():
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    out = q.new_empty(q.shape)  # contiguous whatever the layout of q, to be written through its views
    for own, *parts in zip(out.flatten(0, 1), *(x.flatten(0, 1) for x in (q * q.shape[-1] ** -0.5, k, v)), strict=True):
        queries, keys, values = parts
        torch.mm(torch.softmax(queries @ keys.T, dim=-1), values, out=own)
    return out


def norm_rotate(
    q: Tensor, k: Tensor, q_weight: Tensor, k_weight: Tensor, cos: Tensor, sin: Tensor
) -> tuple[Tensor, Tensor]:
    """RMS norm over the last dimension, then rotary embedding on neighbouring pairs, in float32 within.

    q, k: [B, heads, S, D], which may be overwritten; weights: [D]; cos, sin: [S, D / 2] float32, or
    [B, S, D / 2] where samples differ.
    """
    if cos.ndim == 3:
        cos, sin = cos[:, None], sin[:, None]
    if (kernels := fused(q)) is not None and q.shape[-1] % 32 == 0:
        turns = torch.stack([cos, -sin, sin, cos], dim=-1).unflatten(-1, (2, 2))
        turns = turns if turns.ndim == 6 else turns[None, None]
        return kernels.rms_rope_(q, k, turns, q_weight, k_weight, EPS)
    return rotate(rms_norm(q, q_weight), cos, sin).to(q.dtype), rotate(rms_norm(k, k_weight), cos, sin).to(k.dtype)


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    """[..., D] -> [..., D] float32."""
    if x.device.type != "cpu" or needs_plain():
        return F.rms_norm(x, x.shape[-1:], weight, EPS).float()
    # On a CPU torch takes the norm apart into more passes over memory than these.
    x = x.float()
    scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(EPS).rsqrt_()
    return (x * scale).mul_(weight)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """[..., S, D] float32 turned by angles whose cosines and sines [..., S, D / 2] are given; may overwrite x."""
    pairs = x.unflatten(-1, (-1, 2))
    if needs_plain():
        a, b = pairs.unbind(-1)
        return torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).flatten(-2)
    return torch.view_as_real(torch.view_as_complex(pairs).mul_(torch.complex(cos, sin))).flatten(-2)
