"""The two kinds of blocks of Meissonic: joint ones with a stream each for text and image, single ones over both.

Parameter names are those of the published checkpoints.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...kernels.block import Modulations, Stream, gated, gated_and_modulated, joined, modulate
from ...kernels.fused_linear import FusedLinear, Fusing
from ...kernels.linear import BlockLinear, gelu, of_parts
from ...kernels.plain import needs_plain
from ...kernels.sides import sides, sides_of
from ...pulse import beat
from ..hooks import Memory
from ..merge import NO_MERGES, BlockMerges, Merge, Tables, merged, merged_tables, unmerged
from .reference import Beside, attention_beside

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
    return torch.cat([begun(compute, *piece) for piece in pieces]).unflatten(0, rows[0].shape[:2])


def begun(compute: Callable[..., Tensor], *rows: Tensor) -> Tensor:
    beat()
    return compute(*rows)


def told(compute: Callable[..., Tensor], of: Iterator[Tensor]) -> Callable[..., Tensor]:
    """The same for rows that have no image any more, whose sides are the next of `of`."""

    def call(*rows: Tensor) -> Tensor:
        with sides(next(of)):
            return compute(*rows)

    return call


class Modulation(nn.Module):
    """What shifts, scales and gates the rows of a block, `count` times: one linear layer of the embedding [B, C]
    after its SiLU, which is the same for all blocks."""

    def __init__(self, dim: int, count: int):
        super().__init__()
        self.count = count
        self.linear = nn.Linear(dim, 3 * count * dim)

    def forward(self, embedding: Tensor) -> Modulations:
        return Modulations(self.linear(embedding), self.count)


class GELUProjection(nn.Module):
    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.proj = BlockLinear(dim, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return gelu(self.proj, x)


class FeedForward(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        # Index 1 is the dropout of the published module list; it holds no weights.
        self.net = nn.Sequential(GELUProjection(dim, 4 * dim), nn.Identity(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        return in_parts(self.net, x)


class Rows(NamedTuple):
    """The rows that an attention computes, those of a reference last. tables: their rotary_table before they are
    merged, [S, D] or [B, S, D]. merge: how the tokens of all but the reference share them. memory: of a token cache,
    where keys and values of other rows lie. seen: told queries, keys and merge, without the reference."""

    tables: Tables
    merge: Merge | None = None
    memory: Memory | None = None
    seen: Callable[[Tensor, Tensor, Merge | None], None] | None = None
    beside: Beside | None = None

    @property
    def whole(self) -> Merge | None:
        """`merge` of all rows."""
        merge, beside = self.merge, self.beside
        return merge if merge is None or beside is None else merge.after(0, beside.count)

    @property
    def table(self) -> Tensor:
        """Of the rows as they are computed."""
        return merged_tables(self.whole, self.tables)


def attend(q: Tensor, k: Tensor, v: Tensor, rows: Rows) -> Tensor:
    """q, k, v: [B, heads, S, D] -> [B, S, heads * D]."""
    if rows.memory is not None:
        k, v = rows.memory(k, v, rows.whole)
    if rows.seen is not None:
        counts = (0, 0) if rows.beside is None else (rows.beside.rows.shape[1], rows.beside.count)
        own = (x[:, :, : x.shape[2] - count] for x, count in zip((q, k), counts, strict=True))
        rows.seen(*own, rows.merge)
    beat()
    out = attention_beside(q, k, v, rows.whole, rows.beside)
    beat()
    return out.transpose(1, 2).flatten(2)


class SingleAttention(Fusing):
    """Self-attention over text and image together, one set of weights."""

    def __init__(self, heads: int, head_dim: int):
        super().__init__()
        dim = heads * head_dim
        self.heads = heads
        self.to_qkv = FusedLinear(("to_q", "to_k", "to_v"), dim, dim)
        self.norm_q, self.norm_k = (nn.RMSNorm(head_dim, eps=1e-6) for _ in range(2))

    def stream(self, x: Tensor, top_down: Tensor | None = None) -> Stream:
        """x: [B, S, C]. top_down: [B, s, C] that joins its first rows through the value projection, without its bias: 0
        changes nothing."""
        product = self.to_qkv(x).unflatten(-1, (3, self.heads, -1))
        beat()
        if top_down is not None:
            rows = product[:, : top_down.shape[1], 2]
            rows.add_(self.to_qkv.product("to_v", top_down).unflatten(-1, (self.heads, -1)))
        return Stream(product, self.norm_q.weight, self.norm_k.weight)

    def forward(self, x: Tensor, rows: Rows, top_down: Tensor | None = None) -> Tensor:
        return attend(*joined([self.stream(x, top_down)], rows.table), rows)


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
        """image: its rows, and those of a reference after them."""
        product = self.add_qkv_proj(text).unflatten(-1, (3, self.heads, -1))
        texts = Stream(product, self.norm_added_q.weight, self.norm_added_k.weight)
        out = attend(*joined([texts, self.stream(image, top_down)], rows.table), rows)
        out_text, out_image = out.split([text.shape[1], image.shape[1]], dim=1)
        return self.to_out[0](out_image), self.to_add_out(out_text)


class JointBlock(nn.Module):
    """Text and image streams with weights of their own, attending to each other."""

    def __init__(self, heads: int, head_dim: int):
        super().__init__()
        dim = heads * head_dim
        self.norm1 = Modulation(dim, 2)
        self.norm1_context = Modulation(dim, 2)
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
        beside: Beside | None = None,
    ) -> tuple[Tensor, Tensor]:
        """image, top_down: [B, n, C]; text: [B, L, C]; embedding: [B, C] after its SiLU; tables: of text, image and
        what is `beside`, whose rows become those after the block."""
        by, by_text = self.norm1(embedding), self.norm1_context(embedding)
        rows = Rows(tables, merges.after(text.shape[1]).attention, memory, beside=beside)
        normed = merged(merges.attention, modulate(image, by, 0))
        if beside is not None:
            by_own, count = self.norm1(beside.reference.embedding), normed.shape[1]
            normed = torch.cat([normed, modulate(beside.rows, by_own, 0)], dim=1)
        attn_image, attn_text = self.attn(normed, modulate(text, by_text, 0), rows, top_down)
        if beside is not None:
            own, normed = gated_and_modulated(beside.rows, by_own, 0, attn_image[:, count:])
            beside.rows = gated(own, by_own, 1, self.ff(normed))
            attn_image = attn_image[:, :count]
        image, normed = gated_and_modulated(image, by, 0, unmerged(merges.attention, attn_image))
        image = gated(image, by, 1, unmerged(merges.mlp, self.ff(merged(merges.mlp, normed))))
        text, normed = gated_and_modulated(text, by_text, 0, attn_text)
        text = gated(text, by_text, 1, self.ff_context(normed))
        return image, within_half(text)


class SingleBlock(nn.Module):
    """One stream over text and image; attention and MLP in parallel."""

    def __init__(self, heads: int, head_dim: int):
        super().__init__()
        dim = heads * head_dim
        self.norm = Modulation(dim, 1)
        self.proj_mlp = BlockLinear(dim, 4 * dim)
        self.proj_out = BlockLinear(5 * dim, dim)
        self.attn = SingleAttention(heads, head_dim)

    def forward(
        self,
        x: Tensor,
        embedding: Tensor,
        tables: Tables,
        merges: BlockMerges = NO_MERGES,
        memory: Memory | None = None,
        top_down: Tensor | None = None,
        seen: Callable[[Tensor, Tensor, Merge | None], None] | None = None,
        beside: Beside | None = None,
    ) -> Tensor:
        """x, top_down: [B, S, C], text first; embedding: [B, C] after its SiLU; `merges` speak of all its rows; tables:
        of these and what is `beside`, whose rows become those after the block."""
        by = self.norm(embedding)
        normed = modulate(x, by, 0)
        rows = Rows(tables, merges.attention, memory, seen, beside)
        attended = merged(merges.attention, normed)
        if beside is not None:
            by_own, count = self.norm(beside.reference.embedding), attended.shape[1]
            own = modulate(beside.rows, by_own, 0)
            attended = torch.cat([attended, own], dim=1)
        attn = self.attn(attended, rows, top_down)
        if beside is not None:
            added = in_parts(self.out, attn[:, count:], own)
            beside.rows = within_half(gated(beside.rows, by_own, 0, added))
            attn = attn[:, :count]
        if merges.attention is merges.mlp:
            out = unmerged(merges.mlp, in_parts(self.out, attn, merged(merges.mlp, normed)))
        else:
            mlp = unmerged(merges.mlp, self.mlp(merged(merges.mlp, normed)))
            out = of_parts(self.proj_out, unmerged(merges.attention, attn), mlp)
        return within_half(gated(x, by, 0, out))

    def mlp(self, x: Tensor) -> Tensor:
        return gelu(self.proj_mlp, x)

    def out(self, attn: Tensor, x: Tensor) -> Tensor:
        """[..., C] after attention and before the MLP -> what the block adds, before its gate."""
        return of_parts(self.proj_out, attn, self.mlp(x))


def within_half(x: Tensor) -> Tensor:
    """Keeps float16 activations finite, as the published network does."""
    return x.clamp(-FP16_LIMIT, FP16_LIMIT) if x.dtype == torch.float16 else x
