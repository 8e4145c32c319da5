"""Blocks of MAGNeT: attention among the frames, attention to the text, MLP, each after a norm.

Names of parameters are those of the published checkpoints, but for the projections of an attention, which lie one below
the other in a single tensor there (`in_proj_weight`) and are layers of their own here: queries read the frames at every
step, keys and values of the text are computed once a run.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...kernels.block import attention
from ...kernels.fused_linear import FusedLinear, Fusing
from ...kernels.streams import heads as by_heads
from ...pulse import beat
from ..hooks import Memory
from ..merge import NO_MERGES, BlockMerges, Merge, attention_mask, merged, unmerged
from .config import MagnetConfig

Seen = Callable[[Tensor, Tensor, Merge | None, Tensor | None], None]
PARTS = ("q_proj", "k_proj", "v_proj")  # of in_proj, in the order of the rows of its one tensor
LONGEST_PERIOD = 10000


@dataclass(frozen=True)
class Words:
    """Keys and values of the text, [B, heads, L, d] each."""

    keys: Tensor
    values: Tensor


def thirds(name: str, rows: int) -> Mapping[str, slice | None]:
    """What is made of the tensor `name` of a file, of so many rows, and of which of them; None for all."""
    for kind in ("weight", "bias"):
        if (holder := name.removesuffix(f"in_proj_{kind}")) != name and rows and rows % len(PARTS) == 0:
            size = rows // len(PARTS)
            return {f"{holder}{part}.{kind}": slice(i * size, (i + 1) * size) for i, part in enumerate(PARTS)}
    return {name: None}


def sinusoid(places: int, dim: int) -> Tensor:
    """[places, dim] float32 on the CPU: cosines of all frequencies, then their sines. The last frequency is
    1 / LONGEST_PERIOD itself."""
    half = dim // 2
    slowness = torch.arange(half) / max(half - 1, 1)
    angles = torch.arange(places)[:, None] / LONGEST_PERIOD**slowness
    return torch.cat([angles.cos(), angles.sin()], dim=1)


@dataclass(frozen=True)
class Reach:
    """Which frames attend to which. bias: [S, S] of their scores, 0 for those that do, else -inf: numbers rather than
    truth values, which torch would make numbers of at every layer. rows: [B, m] frames that attend, None for all."""

    bias: Tensor
    rows: Tensor | None = None

    @classmethod
    def of(cls, near: Tensor, dtype: torch.dtype = torch.float32) -> "Reach":
        """near: [S, S] bool."""
        return cls(torch.zeros(near.shape, dtype=dtype, device=near.device).masked_fill(~near, -torch.inf))

    def mask(self, merge: Merge | None) -> Tensor:
        """[B or 1, 1, rows, rows or S], as attention takes it, for frames that share rows as `merge` has it."""
        if self.rows is not None:  # which are not merged
            return self.bias[self.rows][:, None]
        if merge is None:
            return self.bias[None, None]
        if "near" not in merge.kept:
            merge.kept["near"] = self.merged(merge)
        return merge.kept["near"]

    def merged(self, merge: Merge) -> Tensor:
        """[B, 1, size, size] bool: a row attends to another where one of its frames does to one of the other's."""
        share = (self.bias == 0).float().expand(len(merge.slot), -1, -1)
        near = merge.merge(merge.merge(share).transpose(1, 2)).transpose(1, 2) > 0
        if merge.filled is not None:
            near = near | ~merge.filled[:, :, None]  # whatever these attend to, nobody reads them
            near = near & merge.filled[:, None]
        return near[:, None]


def near_frames(frames: int, reach: int) -> Tensor:
    """[frames, frames] bool on the CPU, those at most `reach` apart."""
    return torch.ones(frames, frames, dtype=torch.bool).triu(-reach).tril(reach)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """q: [B, heads, S, d]; k, v: [B, heads, R, d] -> [B, S, heads * d]."""
    beat()
    out = attention(q, k, v, mask)
    beat()
    return out.transpose(1, 2).flatten(2)


class SelfAttention(Fusing):
    def __init__(self, config: MagnetConfig):
        super().__init__()
        self.heads = config.heads
        self.in_proj = FusedLinear(PARTS, config.dim, config.dim, config.bias_attention)
        self.out_proj = nn.Linear(config.dim, config.dim, config.bias_attention)

    def forward(
        self,
        x: Tensor,
        reach: Reach | None = None,
        merge: Merge | None = None,
        memory: Memory | None = None,
        top_down: Tensor | None = None,
    ) -> Tensor:
        """x: [B, S, C]. top_down: [B, S, C] that joins through the value projection: 0 changes nothing."""
        product = self.in_proj(x).unflatten(-1, (3, self.heads, -1))
        if top_down is not None:
            product[:, :, 2].add_(self.in_proj.product("v_proj", top_down).unflatten(-1, (self.heads, -1)))
        q, k, v = by_heads(product)
        if memory is not None:
            k, v = memory(k, v, merge)
        mask = attention_mask(merge) if reach is None else reach.mask(merge)
        return self.out_proj(attend(q, k, v, mask))


class CrossAttention(Fusing):
    """Attention of the frames to the words of the text."""

    def __init__(self, config: MagnetConfig):
        super().__init__()
        self.heads = config.heads
        self.q_proj = nn.Linear(config.dim, config.dim, config.bias_attention)
        self.kv_proj = FusedLinear(PARTS[1:], config.dim, config.dim, config.bias_attention)
        self.out_proj = nn.Linear(config.dim, config.dim, config.bias_attention)

    def given(self, text: Tensor) -> Words:
        """text: [B, L, C]."""
        return Words(*by_heads(self.kv_proj(text).unflatten(-1, (2, self.heads, -1))))

    def forward(
        self,
        x: Tensor,
        words: Words,
        visible: Tensor | None = None,
        merge: Merge | None = None,
        seen: Seen | None = None,
    ) -> Tensor:
        """x: [B, S, C], merged by `merge`. visible: [B, 1, 1, L] bool, words that may be attended to; None for all."""
        q = self.q_proj(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        if seen is not None:
            seen(q, words.keys, merge, visible)
        return self.out_proj(attend(q, words.keys, words.values, visible))


class Layer(nn.Module):
    def __init__(self, config: MagnetConfig):
        super().__init__()
        dim, inner = config.dim, config.hidden_scale * config.dim
        self.norm1, self.norm_cross, self.norm2 = (nn.LayerNorm(dim) for _ in range(3))
        self.self_attn = SelfAttention(config)
        self.cross_attention = CrossAttention(config)
        self.linear1 = nn.Linear(dim, inner, config.bias_mlp)
        self.linear2 = nn.Linear(inner, dim, config.bias_mlp)

    def forward(
        self,
        x: Tensor,
        words: Words,
        visible: Tensor | None = None,
        reach: Reach | None = None,
        merges: BlockMerges = NO_MERGES,
        memory: Memory | None = None,
        top_down: Tensor | None = None,
        seen: Seen | None = None,
    ) -> Tensor:
        """x, top_down: [B, S, C]. What merges before attention merges before both."""
        merge = merges.attention
        own = self.self_attn(merged(merge, self.norm1(x)), reach, merge, memory, top_down)
        x = x + unmerged(merge, own)
        told = self.cross_attention(merged(merge, self.norm_cross(x)), words, visible, merge, seen)
        x = x + unmerged(merge, told)
        fed = self.linear2(F.gelu(self.linear1(merged(merges.mlp, self.norm2(x)))))
        return x + unmerged(merges.mlp, fed)
