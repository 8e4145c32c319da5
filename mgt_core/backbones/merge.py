"""Tokens that share a row: how a block runs on fewer rows than there are tokens."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Tables = Tensor  # cosines and sines of rotary embeddings, [S, D] or [B, S, D]: see rotary_table (kernels/block.py)


@dataclass(frozen=True)
class Merge:
    """Which tokens share a row: token i of a sample lies in row slot[i].

    slot: [B, n] long in 0..size-1. size: rows after merging. filled: [B, size] bool, the rows that hold a
    token where samples merge different numbers of them; None when all do.
    """

    slot: Tensor
    size: int
    filled: Tensor | None = None
    place: Tensor = field(init=False, repr=False)  # [B * n] row of every token, counted through the batch
    order: Tensor = field(init=False, repr=False)  # [B * n] tokens, counted through the batch, row by row
    starts: Tensor = field(init=False, repr=False)  # [B * size] where the tokens of each row begin in `order`
    kept: dict = field(init=False, repr=False, default_factory=dict)  # what is derived from it once

    def __post_init__(self):
        batch, device = self.slot.shape[0], self.slot.device
        place = (self.slot + self.size * torch.arange(batch, device=device)[:, None]).flatten()
        rows, order = place.sort(stable=True)
        starts = torch.searchsorted(rows, torch.arange(batch * self.size, device=device))
        for name, value in (("place", place), ("order", order), ("starts", starts)):
            object.__setattr__(self, name, value)

    def merge(self, x: Tensor) -> Tensor:
        """[B, n, C] -> [B, size, C], the mean of the tokens of each row; 0 in rows that hold none."""
        # A bag of embeddings is read by one worker in order: the same sum every time, on a GPU too.
        rows = F.embedding_bag(self.order, x.flatten(0, 1), self.starts, mode="mean")
        return rows.unflatten(0, (-1, self.size))

    def unmerge(self, rows: Tensor) -> Tensor:
        """[B, size, C] -> [B, n, C], every token the value of its row."""
        return rows.flatten(0, 1)[self.place].unflatten(0, self.slot.shape)

    def after(self, rows: int, then: int = 0) -> "Merge":
        """The same merge behind `rows` rows that stay as they are (the text in a joined sequence), and before `then`
        more of them (a reference)."""
        if (rows, then) not in self.kept:
            count, size = self.slot.shape[0], rows + self.size
            lead, tail = (
                torch.arange(*span, device=self.slot.device).expand(count, -1)
                for span in ((rows,), (size, size + then))
            )
            filled = None if self.filled is None else F.pad(self.filled, (rows, then), value=True)
            self.kept[rows, then] = Merge(torch.cat([lead, rows + self.slot, tail], dim=1), size + then, filled)
        return self.kept[rows, then]

    def tables(self, tables: Tables) -> Tables:
        """Rotary tables [S, D] averaged like the tokens: [B, size, D], each sample its own."""
        source, averaged = self.kept.get("tables", (None, None))
        if source is not tables:
            averaged = self.merge(tables.expand(self.slot.shape[0], -1, -1))
            self.kept["tables"] = tables, averaged
        return averaged

    @property
    def mask(self) -> Tensor | None:
        """[B, 1, 1, size] bool, the rows that may be attended to; None for all of them."""
        return None if self.filled is None else self.filled[:, None, None]


class BlockMerges(NamedTuple):
    """What a block merges before its attention and before its MLP; None leaves the tokens as they are."""

    attention: Merge | None = None
    mlp: Merge | None = None

    def after(self, rows: int) -> "BlockMerges":
        return BlockMerges(*(merge and merge.after(rows) for merge in self))


NO_MERGES = BlockMerges()


def merged(merge: Merge | None, x: Tensor) -> Tensor:
    return x if merge is None else merge.merge(x)


def unmerged(merge: Merge | None, x: Tensor) -> Tensor:
    return x if merge is None else merge.unmerge(x)


def merged_tables(merge: Merge | None, tables: Tables) -> Tables:
    return tables if merge is None else merge.tables(tables)


def attention_mask(merge: Merge | None) -> Tensor | None:
    return None if merge is None else merge.mask
