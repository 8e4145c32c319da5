"""ML-Cache: between refreshes only the rows are computed whose prediction is least sure; the others keep theirs.

Training-free, of Lumina-DiMOO (arXiv 2510.06308, max logit-based cache): a row whose largest logit was high in the step
before hardly changes. Words are chosen like cells where the same weights compute both.
"""

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..backbones.base import Backbone
from ..backbones.hooks import Hooks
from ..backbones.merge import Tables
from ..registry import PATCHES
from ..settings import share, whole
from .base import Call, Features, Moment, Patch, RunPatch
from .pieces import Pieces
from .token_cache import ActiveCache, Computed, wide


@PATCHES.register("ml_cache")
@dataclass(frozen=True)
class MLCache(Patch):
    """Settings, with the published defaults.

    cache_ratio: share of the rows that keep what they have between refreshes, those whose largest logit is highest.
    refresh_interval: steps from one that computes all rows to the next; 1 always computes everything. warmup_ratio:
    share of the run at whose beginning every step computes all rows.

    It takes the place of a token cache, as a token cache takes its. Where step skipping runs all blocks, all rows are
    computed.
    """

    slot = "token_cache"
    title = "ML-Cache"
    place = "rows"
    needs = "cache"
    neutral = {"refresh_interval": 1}

    cache_ratio: float = share(0.9, "ML-Cache cache_ratio")
    refresh_interval: int = whole(5, 1, 100_000, "ML-Cache refresh_interval")
    warmup_ratio: float = share(0.3, "ML-Cache warmup_ratio")

    def held_bytes(self, network: Backbone, rows: int, conditions: int, size: int) -> int:
        return rows * conditions * network.kept_width * size

    def begin(self, network: Backbone) -> "RunMLCache":
        return RunMLCache(self)

    def refreshes(self, index: int, total: int) -> bool:
        """Whether step `index` of `total` computes all rows."""
        after = index - int(total * self.warmup_ratio)
        return after <= 0 or after % self.refresh_interval == 0

    def chosen(self, rows: int) -> int:
        """How many of so many rows are computed between refreshes: as many as are not above the quantile
        1 - cache_ratio of all, linear between them, in float32 as published."""
        rank = torch.tensor(1 - self.cache_ratio) * (rows - 1)
        return math.floor(rank.item()) + 1


@dataclass
class Sure:
    """Every row of some conditions. logits: [B, R] float, the largest of each row when it was last computed, infinite
    where there is no word. Rows are those of the image, behind those of the text where both are computed alike."""

    computed: Computed = field(default_factory=Computed)
    logits: Tensor | None = None

    def __len__(self) -> int:
        return len(self.logits)

    def __getitem__(self, part: slice) -> "Sure":
        """The same memory for some of the images."""
        return Sure(self.computed.images(part), self.logits[part])

    def note(self, logits: Tensor) -> None:
        if self.logits is None:
            self.logits = logits
        else:
            self.logits.copy_(logits)


class RunMLCache(RunPatch):
    """What a run keeps, for each condition."""

    def __init__(self, settings: MLCache):
        self.settings = settings
        self.kept: Pieces[Sure] = Pieces()
        self.now: Sure | None = None  # that of the call to come
        self.due = True

    def enter(self, moment: Moment) -> None:
        self.due = self.settings.refreshes(moment.index, moment.total)

    def hooks(self, hooks: Hooks, call: Call) -> Hooks:
        self.now, skip = None, hooks.skip
        if self.settings.refresh_interval == 1 or self.settings.cache_ratio == 0 or (skip is not None and skip.taken):
            return hooks
        kept = self.kept.find(call.entries)
        if kept is None:
            self.kept.forget(call.entries)
            kept = self.kept[call.entries] = Sure()
        self.now = kept
        cache = JointCache if call.network.computes_alike else ActiveCache
        if self.due or skip is not None or kept.logits is None:
            return replace(hooks, cache=cache(kept.computed))
        cells = call.network.row_cells(call.tokens).shape[1]
        rows = least_sure(kept.logits, self.settings) + cells - kept.logits.shape[1]
        return replace(hooks, cache=cache(kept.computed, rows), merging=None)

    def around(self, features: Features, call: Call) -> Features:
        kept = self.now
        if kept is None:
            return features

        def noted(tokens: Tensor, timestep: Tensor, prepared: object, hooks: Hooks) -> Tensor:
            out = features(tokens, timestep, prepared, hooks)
            kept.note(largest(call.network, out, kept.computed, prepared))
            return out

        return noted


def largest(network: Backbone, features: Tensor, computed: Computed, prepared: object) -> Tensor:
    """[B, R] the largest logit of every row, from features [B, h, w, C] of the cells and what was computed."""
    image = network.row_cells(network.head(features).amax(-1)).amax(-1).float()
    if not network.computes_alike:
        return image
    words = network.read_by_head(computed.features[:, : computed.features.shape[1] - image.shape[1]])
    words = network.head(words).amax(-1).float()
    if prepared.seen is not None:
        words = words.masked_fill(~prepared.seen[:, 0, 0], math.inf)
    return torch.cat([words, image], dim=1)


def least_sure(logits: Tensor, settings: MLCache) -> Tensor:
    """[B, m] rows of the smallest values [B, R] among those that are finite. An image with fewer such rows than others
    has one of them several times, so that it computes what it would alone."""
    order = logits.argsort(dim=1, stable=True)[:, : settings.chosen(logits.shape[1])]
    rank = torch.tensor(1 - settings.cache_ratio) * (logits.isfinite().sum(1) - 1)
    own = torch.arange(order.shape[1], device=order.device) <= rank[:, None].floor()
    return torch.where(own, order, order[:, :1])


class JointCache(ActiveCache):
    """One call of a network that computes words as it does cells. rows: [B, m], below 0 those of the text, counted
    from its end."""

    def select(self, image: Tensor, text: Tensor, tables: Tables) -> tuple[Tensor, Tensor, Tables]:
        if self.rows is None:
            return image, text, tables
        self.lead = text.shape[1]
        joined = self.lead + self.rows
        self.places = torch.arange(len(joined), device=joined.device)[:, None], joined
        both = torch.cat([text, image], dim=1)
        return both.gather(1, wide(joined, both)), text[:, :0], tables[joined]

    def whole(self, states: Tensor, lead: int = 0, text: Tensor | None = None) -> Tensor:
        if self.rows is None:
            super().whole(torch.cat([text, states], dim=1))
            return states
        _, joined = self.places
        return self.computed.features.scatter_(1, wide(joined, states), states)[:, self.lead :]
