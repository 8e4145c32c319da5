"""A picture beside the one that is made, as EditMGT (arXiv 2512.11715) has it: rows of its own that share the weights
of the image's."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...kernels.block import attention
from ..merge import Merge, Tables, attention_mask


@dataclass(frozen=True)
class Reference:
    """What stays for a run. rows: [B, m, C] as they enter the first block. embedding: [B, C] that modulates them, of
    timestep 0, after its SiLU. table: rotary_table [m, D] of the rows. bias: what is added to the scores between a
    reference and all else, the logarithm of its strength."""

    rows: Tensor
    embedding: Tensor
    table: Tensor
    bias: float

    def begin(self, known: bool) -> "Beside":
        """For one call. known: whether a token cache holds keys and values of its rows, so that none is computed."""
        computed = slice(0, 0) if known else slice(None)
        return Beside(self, self.rows[:, computed], self.table[computed])


@dataclass
class Beside:
    """A reference during one call. rows: [B, m, C] as the last block left them, none where they are known. table: of
    these."""

    reference: Reference
    rows: Tensor
    table: Tensor

    @property
    def count(self) -> int:
        """Rows that there are, computed or not."""
        return self.reference.rows.shape[1]

    def joined(self, tables: Tables) -> Tables:
        """Rotary tables [S, D] or [B, S, D] of other rows, with its own after them."""
        if not len(self.table):
            return tables
        return torch.cat([tables, self.table.expand(*tables.shape[:-2], -1, -1)], dim=-2)


def attention_beside(q: Tensor, k: Tensor, v: Tensor, merge: Merge | None, beside: Beside | None) -> Tensor:
    """Attention [B, heads, S, D] of rows of which the last are those of a reference, if there is one: one softmax over
    everything. merge: of all rows."""
    if beside is None or not (added := beside.reference.bias):
        return attention(q, k, v, attention_mask(merge))
    last, own = k.shape[2] - beside.count, q.shape[2] - beside.rows.shape[1]
    outward, inward = (q.new_zeros(1, 1, 1, k.shape[2]) for _ in range(2))
    outward[..., last:], inward[..., :last] = added, added
    if (there := attention_mask(merge)) is not None:
        outward, inward = (bias.masked_fill(~there, -torch.inf) for bias in (outward, inward))
    out = attention(q[:, :, :own], k, v, outward)
    if own == q.shape[2]:
        return out
    return torch.cat([out, attention(q[:, :, own:], k, v, inward)], dim=2)
