"""A picture beside the one that is made, as EditMGT (arXiv 2512.11715) has it: rows of its own that share the weights
of the image's."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...kernels.block import attention
from ..merge import Merge, Tables, attention_mask


@dataclass(frozen=True)
class Reference:
    """rows: [B, m, C] so far, or [B, 0, C] where a token cache holds their keys and values. embedding: [B, C] that
    modulates them, of timestep 0, after its SiLU. table: rotary_table [m, D] of the rows. bias: what is added to the
    scores between a reference and all else, the logarithm of its strength. count: m."""

    rows: Tensor
    embedding: Tensor
    table: Tensor
    bias: float
    count: int

    def holding(self, rows: Tensor) -> "Reference":
        """The same after a block."""
        return replace(self, rows=rows)

    def as_known(self) -> "Reference":
        """Of which no row is computed."""
        return replace(self, rows=self.rows[:, :0], table=self.table[:0])

    def joined(self, tables: Tables) -> Tables:
        """Rotary tables [S, D] or [B, S, D] of other rows, with its own after them."""
        if not len(self.table):
            return tables
        return torch.cat([tables, self.table.expand(*tables.shape[:-2], -1, -1)], dim=-2)


def attention_beside(q: Tensor, k: Tensor, v: Tensor, merge: Merge | None, reference: Reference | None) -> Tensor:
    """Attention [B, heads, S, D] of rows of which the last are those of a reference, if there is one: one softmax over
    everything. merge: of all rows."""
    if reference is None or not reference.bias:
        return attention(q, k, v, attention_mask(merge))
    last, own = k.shape[2] - reference.count, q.shape[2] - reference.rows.shape[1]
    outward, inward = (q.new_zeros(1, 1, 1, k.shape[2]) for _ in range(2))
    outward[..., last:], inward[..., :last] = reference.bias, reference.bias
    if (there := attention_mask(merge)) is not None:
        outward, inward = (bias.masked_fill(~there, -torch.inf) for bias in (outward, inward))
    out = attention(q[:, :, :own], k, v, outward)
    if own == q.shape[2]:
        return out
    return torch.cat([out, attention(q[:, :, own:], k, v, inward)], dim=2)
