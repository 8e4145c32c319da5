"""How much the picture's rows attend to words of the prompt: maps read out of the blocks during a run."""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..backbones.hooks import Attended, Hooks
from ..backbones.merge import Merge, attention_mask
from ..placement import sent
from .base import Call, RunPatch

AT_ONCE = 2**24  # scores that are held at once
FOLLOWED = "positive", 0  # the condition whose words are looked at


def attention_to(queries: Tensor, keys: Tensor, columns: Tensor, mask: Tensor | None = None) -> Tensor:
    """Weights after the softmax that queries [B, heads, S, D] give some of the keys [B, heads, R, D], averaged over
    heads. columns: [B, T] long, which keys. -> [B, S, T] float32."""
    images = max(1, AT_ONCE // (queries[:1, ..., 0].numel() * keys.shape[2]))
    found = []
    for first in range(0, len(queries), images):
        part = slice(first, first + images)
        scores = (queries[part] * queries.shape[-1] ** -0.5 @ keys[part].transpose(2, 3)).float()
        if mask is not None:
            scores = scores.masked_fill(~mask[part], -torch.inf)
        chosen = columns[part, None, None].expand(-1, *scores.shape[1:3], -1)
        found.append((scores.gather(3, chosen) - scores.logsumexp(3, keepdim=True)).exp().mean(1))
    return torch.cat(found)


@dataclass
class Reading:
    """One call. images: of its batch, those of the condition that is looked at. rows: [B, m] image rows that it
    computes, None for all of them. total: [B, m, T] of as many `blocks`."""

    images: slice
    columns: Tensor
    rows: Tensor | None
    total: Tensor | None = None
    blocks: int = 0

    def see(
        self,
        lead: int | None,
        queries: Tensor,
        keys: Tensor,
        merge: Merge | None,
        visible: Tensor | None = None,
    ) -> None:
        """For Hooks.attention."""
        if visible is None and lead is not None:  # of the text's own rows all are there
            visible = attention_mask(merge)
        of = slice(0 if merge else lead, None)  # of merged rows those of the text can be told apart afterwards alone
        weights = attention_to(
            queries[self.images, :, of],
            keys[self.images],
            self.columns,
            None if visible is None else visible[self.images],
        )
        if merge is not None:
            weights = own_images(merge, self.images).unmerge(weights)[:, lead:]
        self.total = weights if self.total is None else self.total + weights
        self.blocks += 1


def also_seen(hooks: Hooks, see: Attended) -> Hooks:
    """Hooks with `see` beside what looks at the attention already."""
    before = hooks.attention
    if before is None:
        return replace(hooks, attention=see)

    def both(*attended: Any) -> None:
        before(*attended)
        see(*attended)

    return replace(hooks, attention=both)


def own_images(merge: Merge, images: slice) -> Merge:
    """What it merges in some of the images."""
    return Merge(merge.slot[images], merge.size)


@dataclass
class AttentionMaps(RunPatch):
    """Reads in every evaluation of the positive condition how much image rows attend to the text's rows `columns`
    [B, T] long, after the softmax, in the mean over heads and over the blocks that hold text and image in one sequence,
    or that attend to the text alone.

    Where an evaluation computes some of the rows or blocks alone (token cache, step skipping), what was read before
    stays; until all rows were read once there is nothing. acting: whether it reads; reading costs the queries' products
    with all keys once more.
    """

    in_both = False  # a second model has attention of its own

    columns: Tensor
    acting: bool = True
    reading: Reading | None = None
    last: Tensor | None = None  # [B, n, T]
    inner: tuple[int, int] = field(default=(0, 0))  # the grid of the rows

    def hooks(self, hooks: Hooks, call: Call) -> Hooks:
        if not self.acting or FOLLOWED not in call.entries:
            return hooks
        self.gather()
        count, place = len(self.columns), call.entries.index(FOLLOWED)
        images, side = slice(place * count, (place + 1) * count), call.network.row_side
        self.inner = call.tokens.shape[1] // side, call.tokens.shape[2] // side
        rows = hooks.cache.rows if hooks.cache is not None else None
        self.reading = Reading(images, self.columns, None if rows is None else rows[images])
        return also_seen(hooks, self.reading.see)

    def gather(self) -> None:
        """Takes over what the last call read."""
        read, self.reading = self.reading, None
        if read is None or read.total is None:
            return
        mean = read.total / read.blocks
        if read.rows is None:
            self.last = mean
        elif self.last is not None:
            # Rows of the text, which may be computed as well, go behind those of the image and away.
            where = torch.where(read.rows < 0, self.last.shape[1], read.rows)[..., None].expand_as(mean)
            self.last = F.pad(self.last, (0, 0, 0, 1)).scatter(1, where, mean)[:, :-1]

    def maps(self, grid: tuple[int, int]) -> Tensor | None:
        """[B, T, h, w] float32 as last read, spread over the cells of `grid` (bilinear); None before anything was."""
        self.gather()
        if self.last is None:
            return None
        rows = self.last.transpose(1, 2).unflatten(2, self.inner)
        if self.inner == tuple(grid):
            return rows
        down, right = (between(*sides, rows.device) for sides in zip(self.inner, grid, strict=True))
        return down @ rows @ right.T


def between(few: int, many: int, device: torch.device) -> Tensor:
    """[many, few] float32: the shares of linear interpolation between the middles of `few` places."""
    return sent(F.interpolate(torch.eye(few)[None], many, mode="linear", align_corners=False)[0].T.contiguous(), device)
