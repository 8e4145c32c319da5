"""The two kinds of blocks of Meissonic: joint ones with a stream each for text and image, single ones over both.

Parameter names are those of the published checkpoints.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...kernels.block import attention, modulate, needs_plain, norm_rotate
from ...kernels.fused_linear import FusedLinear, Fusing
from ...kernels.sides import sides, sides_of
from ..hooks import Memory
from ..merge import NO_MERGES, BlockMerges, Merge, Tables, attention_mask, merged, merged_tables, unmerged

FP16_LIMIT = 65504
CPU_ROWS = 512


def in_parts(compute: Callable[..., Tensor], *rows: Tensor) -> Tensor:
    """`compute` of all rows [B, S, ...], on a CPU some hundred at a time: the wide values in between stay in its
    caches, and do not need fresh pages from the system every time."""
    parts = rows[0].shape[:2].numel() // CPU_ROWS
    if rows[0].device.type != "cpu" or parts < 2 or needs_plain():
        return compute(*rows)
    pieces = zip(*(values.flatten(0, 1).chunk(parts) for values in rows), strict=True)
    if (of := sides_of(rows[0])) is not None:
        compute = told(compute, iter(of.repeat_interleave(rows[0].shape[1]).chunk(parts)))
    return torch.cat([compute(*piece) for piece in pieces]).unflatten(0, rows[0].shape[:2])


def told(compute: Callable[..., Tensor], of: Iterator[Tensor]) -> Callable[..., Tensor]:
    """The same for rows that have no image any more, whose sides are the next of `of`."""

    def call(*rows: Tensor) -> Tensor:
        with sides(next(of)):
            return compute(*rows)

    return call


class Modulation(nn.Module):
    """SiLU and one linear layer: `parts` vectors [B, C] that shift, scale and gate a block."""

    def __init__(self, dim: int, parts: int):
        super().__init__()
        self.parts = parts
        self.linear = nn.Linear(dim, parts * dim)

    def forward(self, embedding: Tensor) -> tuple[Tensor, ...]:
        return self.linear(F.silu(embedding)).chunk(self.parts, dim=-1)


class GELUProjection(nn.Module):
    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.proj = nn.Linear(dim, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.proj(x), approximate="tanh")


class FeedForward(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        # Index 1 is the dropout of the published module list; it holds no weights.
        self.net = nn.Sequential(GELUProjection(dim, 4 * dim), nn.Identity(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        return in_parts(self.net, x)


def split_heads(x: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values side by side [B, S, 3 * heads * D] -> three of [B, heads, S, D]."""
    return x.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4).unbind()


class Rows(NamedTuple):
    """The rows that an attention computes. cos, sin: their rotary tables, [S, D / 2] or [B, S, D / 2]. merge:
    how tokens share them. memory: of a token cache, where keys and values of other rows lie."""

    cos: Tensor
    sin: Tensor
    merge: Merge | None = None
    memory: Memory | None = None


def attend(q: Tensor, k: Tensor, v: Tensor, rows: Rows) -> Tensor:
    """q, k, v: [B, heads, S, D] -> [B, S, heads * D]."""
    if rows.memory is not None:
        k, v = rows.memory(k, v, rows.merge)
    out = attention(q, k, v, attention_mask(rows.merge))
    return out.transpose(1, 2).flatten(2)


class SingleAttention(Fusing):
    """Self-attention over text and image together, one set of weights."""

    def __init__(self, heads: int, head_dim: int):
        super().__init__()
        dim = heads * head_dim
        self.heads = heads
        self.to_qkv = FusedLinear(("to_q", "to_k", "to_v"), dim, dim)
        self.norm_q, self.norm_k = (nn.RMSNorm(head_dim, eps=1e-6) for _ in range(2))

    def qkv(self, x: Tensor, cos: Tensor, sin: Tensor, top_down: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """[B, S, C] and the rotary tables of its rows -> three of [B, heads, S, D].

        top_down: [B, S, C] that joins through the value projection, without its bias: 0 changes nothing."""
        q, k, v = split_heads(self.to_qkv(x), self.heads)
        if top_down is not None:
            v = v + self.to_qkv.product("to_v", top_down).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return *norm_rotate(q, k, self.norm_q.weight, self.norm_k.weight, cos, sin), v

    def forward(self, x: Tensor, rows: Rows, top_down: Tensor | None = None) -> Tensor:
        return attend(*self.qkv(x, rows.cos, rows.sin, top_down), rows)


class JointAttention(SingleAttention):
    """Attention over text and image together, each stream with its own projections."""

    def __init__(self, heads: int, head_dim: int):
        super().__init__(heads, head_dim)
        dim = heads * head_dim
        self.add_qkv_proj = FusedLinear(("add_q_proj", "add_k_proj", "add_v_proj"), dim, dim)
        self.norm_added_q, self.norm_added_k = (nn.RMSNorm(head_dim, eps=1e-6) for _ in range(2))
        # Index 1 is the dropout of the published module list.
        self.to_out = nn.ModuleList([nn.Linear(dim, dim), nn.Identity()])
        self.to_add_out = nn.Linear(dim, dim)

    def forward(self, image: Tensor, text: Tensor, rows: Rows, top_down: Tensor | None = None) -> tuple[Tensor, Tensor]:
        lead, (cos, sin) = text.shape[1], rows[:2]
        text_q, text_k, text_v = split_heads(self.add_qkv_proj(text), self.heads)
        norms = self.norm_added_q.weight, self.norm_added_k.weight
        text_q, text_k = norm_rotate(text_q, text_k, *norms, cos[..., :lead, :], sin[..., :lead, :])
        own = self.qkv(image, cos[..., lead:, :], sin[..., lead:, :], top_down)
        joined = (torch.cat(parts, dim=2) for parts in zip((text_q, text_k, text_v), own, strict=True))
        out = attend(*joined, rows)
        out_text, out_image = out.split([text.shape[1], image.shape[1]], dim=1)
        return self.to_out[0](out_image), self.to_add_out(out_text)


class JointBlock(nn.Module):
    """Text and image streams with weights of their own, attending to each other."""

    def __init__(self, heads: int, head_dim: int):
        super().__init__()
        dim = heads * head_dim
        self.norm1 = Modulation(dim, 6)
        self.norm1_context = Modulation(dim, 6)
        self.attn = JointAttention(heads, head_dim)
        self.ff = FeedForward(dim)
        self.ff_context = FeedForward(dim)

    def forward(
        self,
        image: Tensor,
        text: Tensor,
        embedding: Tensor,
        tables: Tables,
        merges: BlockMerges = NO_MERGES,
        memory: Memory | None = None,
        top_down: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = self.norm1(embedding)
        t_shift, t_scale, t_gate, t_mlp_shift, t_mlp_scale, t_mlp_gate = self.norm1_context(embedding)
        normed = merged(merges.attention, modulate(image, shift, scale))
        merge = merges.after(text.shape[1]).attention
        rows = Rows(*merged_tables(merge, tables), merge, memory)
        attn_image, attn_text = self.attn(normed, modulate(text, t_shift, t_scale), rows, top_down)
        image = torch.addcmul(image, gate[:, None], unmerged(merges.attention, attn_image))
        mlp = self.ff(merged(merges.mlp, modulate(image, mlp_shift, mlp_scale)))
        image = torch.addcmul(image, mlp_gate[:, None], unmerged(merges.mlp, mlp))
        text = torch.addcmul(text, t_gate[:, None], attn_text)
        text = torch.addcmul(text, t_mlp_gate[:, None], self.ff_context(modulate(text, t_mlp_shift, t_mlp_scale)))
        return image, within_half(text)


class SingleBlock(nn.Module):
    """One stream over text and image; attention and MLP in parallel."""

    def __init__(self, heads: int, head_dim: int):
        super().__init__()
        dim = heads * head_dim
        self.norm = Modulation(dim, 3)
        self.proj_mlp = nn.Linear(dim, 4 * dim)
        self.proj_out = nn.Linear(5 * dim, dim)
        self.attn = SingleAttention(heads, head_dim)

    def forward(
        self,
        x: Tensor,
        embedding: Tensor,
        tables: Tables,
        merges: BlockMerges = NO_MERGES,
        memory: Memory | None = None,
        top_down: Tensor | None = None,
    ) -> Tensor:
        """x, top_down: [B, S, C], text first; `merges` speak of all its rows."""
        shift, scale, gate = self.norm(embedding)
        normed = modulate(x, shift, scale)
        rows = Rows(*merged_tables(merges.attention, tables), merges.attention, memory)
        attn = self.attn(merged(merges.attention, normed), rows, top_down)
        if merges.attention is merges.mlp:
            out = unmerged(merges.mlp, in_parts(self.out, attn, merged(merges.mlp, normed)))
        else:
            mlp = unmerged(merges.mlp, self.mlp(merged(merges.mlp, normed)))
            out = self.proj_out(torch.cat([unmerged(merges.attention, attn), mlp], dim=-1))
        return within_half(torch.addcmul(x, gate[:, None], out))

    def mlp(self, x: Tensor) -> Tensor:
        return F.gelu(self.proj_mlp(x), approximate="tanh")

    def out(self, attn: Tensor, x: Tensor) -> Tensor:
        """[..., C] after attention and before the MLP -> what the block adds, before its gate."""
        return self.proj_out(torch.cat([attn, self.mlp(x)], dim=-1))


def within_half(x: Tensor) -> Tensor:
    """Keeps float16 activations finite, as the published network does."""
    return x.clamp(-FP16_LIMIT, FP16_LIMIT) if x.dtype == torch.float16 else x
