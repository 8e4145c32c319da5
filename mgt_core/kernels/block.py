"""The parts of a transformer block beside its linear layers, each by the fastest way that is there.

On CUDA in half precision kernels of comfy-kitchen or of triton_block.py do several passes over memory as one;
everything else is plain torch, which is what they are tested against.
"""

from collections.abc import Sequence
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from ..pulse import beat
from .kitchen import kitchen
from .plain import needs_plain
from .streams import Stream, heads, places
from .written import written

EPS = 1e-6
LONG = 512  # rows from which attention head by head is the faster on a CPU
AT_ONCE = 2**33  # products of numbers in the scores of an attention on a CPU: half a second of one core
BLOCK = 256  # rows that torch's own takes at a time there


def gains(x: Tensor) -> bool:
    """Whether kernels of others take `x`, which may not be empty, and gain by it; torch.compile and training do
    without."""
    return x.is_cuda and x.dtype in (torch.float16, torch.bfloat16) and x.numel() > 0 and not needs_plain()


def fused(x: Tensor) -> ModuleType | None:
    """comfy-kitchen where it is to compute with `x`."""
    return kitchen("adaln", "rms_rope_") if gains(x) else None


def own(x: Tensor) -> ModuleType | None:
    """The kernels of triton_block.py where they are to compute with `x`."""
    return written() if gains(x) else None


class Modulations:
    """`count` times shift, scale and gate for the rows of a sample: views [B, 1, C] of one product [B, 3 * count * C].

    1 + scale is computed for all of them at once, where it is computed at all."""

    def __init__(self, product: Tensor, count: int):
        self.parts = product[:, None].chunk(3 * count, dim=-1)
        self.factors: Sequence[Tensor] | None = None
        if fused(product) is None and own(product) is None:
            self.factors = (1 + product.unflatten(-1, (count, 3, 1, -1))[:, :, 1]).unbind(1)

    def shift(self, place: int) -> Tensor:
        return self.parts[3 * place]

    def scale(self, place: int) -> Tensor:
        return self.parts[3 * place + 1]

    def factor(self, place: int) -> Tensor:
        return 1 + self.scale(place) if self.factors is None else self.factors[place]

    def gate(self, place: int) -> Tensor:
        return self.parts[3 * place + 2]


def modulate(x: Tensor, by: Modulations, place: int) -> Tensor:
    """Affine-free layer norm, then scale and shift `place` of each sample. x: [B, S, C]."""
    if (kernels := fused(x)) is not None:
        return kernels.adaln(x, by.scale(place), by.shift(place), EPS)
    if (kernels := own(x)) is not None:
        return kernels.modulate(x, by.scale(place), by.shift(place), EPS)
    return torch.addcmul(by.shift(place), F.layer_norm(x, x.shape[-1:], eps=EPS), by.factor(place))


def gated(x: Tensor, by: Modulations, place: int, y: Tensor) -> Tensor:
    """x + gate * y. x, y: [B, S, C]."""
    return torch.addcmul(x, by.gate(place), y)


def gated_and_modulated(x: Tensor, by: Modulations, place: int, y: Tensor) -> tuple[Tensor, Tensor]:
    """x after `gated` by `place`, and the same modulated by the place after it."""
    if (kernels := own(x)) is not None:
        return kernels.gated_and_modulated(x, by.gate(place), y, by.scale(place + 1), by.shift(place + 1), EPS)
    x = gated(x, by, place, y)
    return x, modulate(x, by, place + 1)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention. q: [B, heads, S, D]; k, v: [B, heads, R, D] -> [B, heads, S, D]."""
    slow = q.device.type == "cpu" and q.dtype == torch.bfloat16  # torch's own, on processors without matrix units
    if not slow or mask is not None or q.shape[2] < LONG or needs_plain():
        return in_turn(q, k, v, mask)
    out = q.new_empty(q.shape)  # contiguous whatever the layout of q, to be written through its views
    for own, *parts in zip(out.flatten(0, 1), *(x.flatten(0, 1) for x in (q * q.shape[-1] ** -0.5, k, v)), strict=True):
        beat()
        queries, keys, values = parts
        torch.mm(torch.softmax(queries @ keys.T, dim=-1), values, out=own)
    return out


def in_turn(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """torch's own attention, on a CPU some queries at a time where all of them would take long."""
    if q.device.type != "cpu" or needs_plain() or q.numel() * k.shape[2] <= AT_ONCE:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    rows = max(1, AT_ONCE // (q[:, :, :1].numel() * k.shape[2] * BLOCK)) * BLOCK
    out = torch.empty_like(q.transpose(1, 2), memory_format=torch.contiguous_format).transpose(1, 2)  # as torch lays it
    for start in range(0, q.shape[2], rows):
        beat()
        part = slice(start, start + rows)
        own = mask if mask is None or mask.shape[-2] == 1 else mask[..., part, :]
        out[:, :, part] = F.scaled_dot_product_attention(q[:, :, part], k, v, attn_mask=own)
    return out


def attention_bytes(rows: int, dtype: torch.dtype, device: torch.device) -> int:
    """What `attention` takes beside its result: two tables of one head where it goes head by head; torch's own makes
    none."""
    slow = device.type == "cpu" and dtype == torch.bfloat16 and rows >= LONG
    return 2 * rows**2 * dtype.itemsize if slow else 0


def rotary_table(cos: Tensor, sin: Tensor) -> Tensor:
    """[S, D / 2] each -> [S, D]: cosine and sine of every angle side by side, as complex numbers have them."""
    return torch.stack([cos, sin], dim=-1).flatten(-2)


def joined(streams: Sequence[Stream], table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Streams one after the other, queries and keys normalized and rotated: three of [B, heads, S, D].

    table: rotary_table of all their rows [S, D] float32, or [B, S, D] where samples differ."""
    streams = [stream for stream in streams if stream.product.numel()] or streams[:1]
    first = streams[0].product
    if (kernels := own(first)) is not None and kernels.rotates(first.shape[-1]):
        return kernels.joined(streams, table, EPS)
    if fused(first) is not None or first.is_cuda and not needs_plain():
        return together(streams, table)
    parts = []
    for stream, rows in zip(streams, places(streams), strict=True):
        q, k, v = heads(stream.product)
        parts.append((*norm_rotate(q, k, stream.q_weight, stream.k_weight, table[..., rows, :]), v))
    return parts[0] if len(parts) == 1 else tuple(torch.cat(each, dim=2) for each in zip(*parts, strict=True))


def together(streams: Sequence[Stream], table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As `joined`, in few operations over everything rather than many over parts that stay in a cache."""
    product = streams[0].product if len(streams) == 1 else torch.cat([stream.product for stream in streams], dim=1)
    spans, dim = list(zip(streams, places(streams), strict=True)), product.shape[-1]
    if (kernels := fused(product)) is not None and dim % 32 == 0:
        cos, sin = (values if table.ndim == 3 else values[None] for values in table.unflatten(-1, (-1, 2)).unbind(-1))
        turns = torch.stack([cos, -sin, sin, cos], dim=-1).unflatten(-1, (2, 2))[:, :, None]
        for stream, rows in spans:
            # Rows before heads: it takes queries and keys of one product in this order alone.
            q, k, _ = product[:, rows].unbind(2)
            kernels.rms_rope_(q, k, turns[:, rows], stream.q_weight, stream.k_weight, EPS)
        return heads(product)
    normed = F.rms_norm(product[:, :, :2].float(), (dim,), eps=EPS)
    for stream, rows in spans:
        normed[:, rows, 0].mul_(stream.q_weight)
        normed[:, rows, 1].mul_(stream.k_weight)
    q, k = rotate(normed, turns_of(table[..., None, None, :])).to(product.dtype).permute(2, 0, 3, 1, 4)
    return q, k, heads(product)[2]


def norm_rotate(q: Tensor, k: Tensor, q_weight: Tensor, k_weight: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """RMS norm over the last dimension, then rotary embedding on neighbouring pairs, in float32 within.

    q, k: [B, heads, S, D], which may be overwritten; weights: [D]; table: as in `joined`.
    """
    turns = turns_of(table if table.ndim == 2 else table[:, None])
    return rotate(rms_norm(q, q_weight), turns).to(q.dtype), rotate(rms_norm(k, k_weight), turns).to(k.dtype)


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    """[..., D] -> [..., D] float32."""
    if x.device.type != "cpu" or needs_plain():
        return F.rms_norm(x, x.shape[-1:], weight, EPS).float()
    # On a CPU torch takes the norm apart into more passes over memory than these.
    x = x.float()
    scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(EPS).rsqrt_()
    return (x * scale).mul_(weight)


def turns_of(table: Tensor) -> Tensor | tuple[Tensor, Tensor]:
    """A rotary_table [..., S, D] as complex numbers, which one pass over memory multiplies by, or, for torch.compile
    and training, as cosines and sines: [..., S, D / 2]."""
    pairs = table.unflatten(-1, (-1, 2))
    return pairs.unbind(-1) if needs_plain() else torch.view_as_complex(pairs)


def rotate(x: Tensor, turns: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    """[..., S, D] float32 turned by what `turns_of` gives; may overwrite x."""
    pairs = x.unflatten(-1, (-1, 2))
    if isinstance(turns, Tensor):
        return torch.view_as_real(torch.view_as_complex(pairs).mul_(turns)).flatten(-2)
    (a, b), (cos, sin) = pairs.unbind(-1), turns
    return torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).flatten(-2)
