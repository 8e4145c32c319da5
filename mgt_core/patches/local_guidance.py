"""Local guidance (EditMGT, arXiv 2512.11715): where an instruction looks, told by the attention of its text.

Published for grids of 32 x 32 rows, under pictures of 32 x 32 and 64 x 64 tokens, and for one image; the same on other
grids, by images of a batch, is ours.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..backbones.base import Backbone
from ..backbones.hooks import Hooks
from ..backbones.merge import Merge, attention_mask
from ..errors import MGTError
from ..placement import sent
from .attention_maps import FOLLOWED, also_seen, attention_to, own_images
from .base import Call

FIRST, LAST = 28 / 42, 36 / 42  # shares of the depth
SIGMA, RADIUS, WINDOW = 1.5, 6, 5  # in image rows
TOP, KEPT, CALM = 0.9, 0.7, 0.7  # quantile above which scores are kept, how much of them; how much detail resists
EPS = 1e-8


@dataclass
class LocalMaps:
    """Reads in every evaluation of the positive condition how much image rows are looked at by the text: weights after
    a softmax over text and image, in the mean over blocks, heads and text rows.

    first, last: blocks that are read, of those of text and image in one sequence. rows: of the text, none for all.
    An evaluation that computes no text rows (token cache, step skipping) leaves what was read before.
    """

    first: int
    last: int
    rows: tuple[int, ...] = ()
    images: slice | None = None
    block: int = 0
    total: Tensor | None = None
    read_blocks: int = 0
    last_read: Tensor | None = None  # [B, n]
    inner: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, settings: Any, network: Backbone) -> "LocalMaps":
        """For a network whose `block_counts` says how many blocks of each kind it has. Raises MGTError where the shares
        of its depth hold none that can be read."""
        before, single = network.block_counts
        depth = before + single
        # Shares are rounded when they are written down.
        first = max(0, -int((-settings.first_block * depth + 1e-6) // 1) - before)
        last = min(single - 1, int(settings.last_block * depth + 1e-6) - before)
        if first > last:
            raise MGTError(
                f"local guidance reads blocks {settings.first_block:.3g} to {settings.last_block:.3g} of the depth, "
                f"where this network has none with text and image in one sequence; they begin at {before / depth:.3g}"
            )
        return cls(first, last, settings.rows)

    def hooks(self, hooks: Hooks, call: Call) -> Hooks:
        if FOLLOWED not in call.entries:
            return hooks
        self.read()
        count, place = len(call.tokens) // len(call.entries), call.entries.index(FOLLOWED)
        side = call.network.row_side
        self.images = slice(place * count, (place + 1) * count)
        self.inner = call.tokens.shape[1] // side, call.tokens.shape[2] // side
        self.block, self.total, self.read_blocks = 0, None, 0
        return also_seen(hooks, self.see)

    def see(self, lead: int, queries: Tensor, keys: Tensor, merge: Merge | None) -> None:
        """For Hooks.attention."""
        block, self.block = self.block, self.block + 1
        if not lead or not self.first <= block <= self.last:
            return
        queries, keys, mask = queries[self.images, :, :lead], keys[self.images], attention_mask(merge)
        if self.rows:
            if max(self.rows) >= lead:
                raise MGTError(f"local guidance looks at row {max(self.rows)} of the prompt, which has {lead}")
            queries = queries.index_select(2, sent(torch.tensor(self.rows), queries.device))
        columns = torch.arange(keys.shape[2], device=keys.device).expand(len(keys), -1)
        weights = attention_to(queries, keys, columns, None if mask is None else mask[self.images]).mean(1)
        if merge is not None:
            weights = own_images(merge, self.images).unmerge(weights[..., None])[..., 0]
        weights = weights[:, lead:]
        self.total = weights if self.total is None else self.total + weights
        self.read_blocks += 1

    def read(self) -> Tensor | None:
        """[B, h, w] as last read, on the grid of image rows; None before anything was."""
        if self.total is not None:
            self.last_read, self.total = (self.total / self.read_blocks).unflatten(1, self.inner), None
        return self.last_read


def cell_scores(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Attention [B, h, w] of image rows -> scores [B, H, W] of the cells of `grid`, about 0 to 1."""
    scores = smoothed(rescaled(maps))
    if tuple(scores.shape[1:]) == tuple(grid):
        return scores
    return F.interpolate(scores[:, None], grid, mode="bicubic", align_corners=False)[:, 0]


def rescaled(maps: Tensor) -> Tensor:
    """[B, h, w], each from 0 to 1."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low + EPS)


def smoothed(scores: Tensor) -> Tensor:
    """[B, h, w], blurred where little happens: less where the values around vary, and least where they are highest.
    Each keeps its lowest and highest value."""
    rows, columns = (sent(blur(side), scores.device) for side in scores.shape[1:])
    near = [sent(around(side), scores.device) for side in scores.shape[1:]]
    windows = scores[:, near[0]][:, :, :, near[1]]  # [B, h, WINDOW, w, WINDOW]
    still = 1 - CALM * rescaled(windows.var((2, 4), correction=0))
    out = torch.lerp(scores, rows @ scores @ columns.T, still)
    top = scores.flatten(1).quantile(TOP, dim=1)[:, None, None]
    out = torch.where(scores > top, KEPT * scores + (1 - KEPT) * out, out)
    low, high = scores.amin((1, 2), keepdim=True), scores.amax((1, 2), keepdim=True)
    return low + rescaled(out) * (high - low)


def mirrored(side: int, reach: int) -> Tensor:
    """[side, 2 reach + 1] long: places around each, beyond the edges those before them again (d c b a | a b c d)."""
    places = (torch.arange(side)[:, None] + torch.arange(-reach, reach + 1)) % (2 * side)
    return torch.minimum(places, 2 * side - 1 - places)


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def around(side: int) -> Tensor:
    """[side, WINDOW] long, on the CPU and not to be written to."""
    return mirrored(side, WINDOW // 2)


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def blur(side: int) -> Tensor:
    """[side, side] float32: what each place takes of each other, in all 1. On the CPU, not to be written to."""
    weights = torch.exp(-((torch.arange(-RADIUS, RADIUS + 1).double() / SIGMA) ** 2) / 2)
    places = mirrored(side, RADIUS)
    return torch.zeros(side, side).double().scatter_add_(1, places, (weights / weights.sum()).expand_as(places)).float()
