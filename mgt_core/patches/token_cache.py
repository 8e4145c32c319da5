"""Token cache: between refreshes only the critical tokens are computed; the others keep their values.

Training-free, after ENAT (arXiv 2411.06959): from one step to the next few tokens change, and of the
others what attention reads (keys, values) and what comes out (features) hardly moves. What is kept also
belongs to an earlier timestep and an earlier text stream.
"""

import math
from dataclasses import dataclass, field, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ..backbones.base import Backbone
from ..backbones.hooks import Hooks, Memory
from ..backbones.merge import Merge, Tables
from ..interval import in_interval
from ..placement import sent
from ..registry import PATCHES
from ..settings import share as share_of
from ..settings import whole
from .base import Call, Entry, Moment, Patch, RunPatch
from .pieces import Pieces
from .spread import spread

REACH = 5  # rows and columns of the window within which a change is near


@PATCHES.register("token_cache")
@dataclass(frozen=True)
class TokenCache(Patch):
    """Settings.

    share: how many of the image tokens are computed between refreshes. every: evaluations of a prompt from
    one refresh, which computes all tokens, to the next; 1 always computes everything. start, end: share of
    the run in which it acts, as for modifiers.
    """

    slot = "token_cache"
    title = "the token cache"
    place = "rows"
    needs = "cache"
    interval_of = "token cache"
    neutral = {"every": 1}

    share: float = share_of(0.25, "token cache share")
    every: int = whole(4, 1, 100_000, "token cache every")
    start: float = share_of(0.0)
    end: float = share_of(1.0)

    def held_bytes(self, network: Backbone, rows: int, conditions: int, size: int) -> int:
        return rows * conditions * network.kept_width * size

    def begin(self, network: Backbone) -> "RunCache":
        return RunCache(self)


@dataclass
class Computed:
    """What the blocks made of every row when it was last computed.

    keys, values: of each block, [B, heads, S, D], text rows first, keys rotated. features: [B, n, C] or
    [B, S, C], the image's or all rows after the last block.
    """

    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    features: Tensor | None = None

    def tensors(self) -> list[Tensor]:
        """All of them in one list; none before the first evaluation."""
        return [] if self.features is None else [*self.keys, *self.values, self.features]

    def take(self, tensors: list[Tensor]) -> "Computed":
        """Holds these instead, as `tensors` gives them."""
        *own, self.features = tensors
        self.keys, self.values = own[: len(own) // 2], own[len(own) // 2 :]
        return self

    def images(self, part: slice) -> "Computed":
        return Computed().take([tensor[part] for tensor in self.tensors()])


@dataclass
class Kept:
    """Every row of some conditions. cells: [B, n, c] the cells that each row stood for when it was last computed.
    age: [B, n] float, evaluations since then."""

    cells: Tensor
    age: Tensor
    computed: Computed = field(default_factory=Computed)

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, part: slice) -> "Kept":
        """The same memory for some of the images."""
        return Kept(self.cells[part], self.age[part], self.computed.images(part))


class RunCache(RunPatch):
    """What a run keeps, for each condition."""

    def __init__(self, settings: TokenCache):
        self.settings = settings
        self.kept: Pieces[Kept] = Pieces()
        self.uses: dict[Entry, int] = {}  # evaluations of a condition since all its rows were computed
        self.acting = True

    def enter(self, moment: Moment) -> None:
        self.acting = in_interval(self.settings.start, self.settings.end, moment.index, moment.total)

    def hooks(self, hooks: Hooks, call: Call) -> Hooks:
        skip = hooks.skip
        if skip is not None and skip.taken:
            return hooks  # the few blocks that run compute all rows, and what is kept stays as it is
        side, mask_id = call.network.row_side, call.network.mask_id
        grid = call.tokens.shape[1] // side, call.tokens.shape[2] // side
        # What step skipping keeps for the first time is wanted of all rows.
        anew = skip is not None and skip.fresh
        active = self.evaluation(call.entries, call.network.row_cells(call.tokens), mask_id, grid, anew)
        # Between refreshes the few rows that are computed are not merged.
        few = active is not None and active.rows is not None
        return replace(hooks, cache=active, merging=None if few else hooks.merging)

    def evaluation(
        self, entries: tuple[Entry, ...], cells: Tensor, mask_id: int, grid: tuple[int, int], anew: bool = False
    ) -> "ActiveCache | None":
        """For one evaluation of the conditions `entries`, one below the other in the batch.

        cells: [B, n, c] the cells of every row, on a `grid` of rows. anew: whether to refresh in any case.
        Refreshes depend on the number of evaluations alone, never on the images.
        """
        if not self.acting or self.settings.every == 1 or self.settings.share == 1:
            self.kept.clear()
            return None
        kept = self.kept.find(entries)
        due = kept is None or anew or max(self.uses[entry] for entry in entries) >= self.settings.every
        self.uses |= {entry: 1 if due else self.uses[entry] + 1 for entry in entries}
        if kept is None:
            self.kept.forget(entries)
            kept = self.kept[entries] = Kept(cells.clone(), torch.zeros_like(cells[..., 0], dtype=torch.float32))
        if due:
            kept.cells.copy_(cells)
            kept.age.zero_()
            return ActiveCache(kept.computed)
        count = math.ceil(self.settings.share * cells.shape[1])
        rows = urgency(kept, cells, mask_id, grid).argsort(dim=1, descending=True, stable=True)[:, :count]
        kept.cells.scatter_(1, wide(rows, cells), cells.gather(1, wide(rows, cells)))
        kept.age.add_(1).scatter_(1, rows, 0)
        return ActiveCache(kept.computed, rows)


def urgency(kept: Kept, cells: Tensor, mask_id: int, grid: tuple[int, int]) -> Tensor:
    """[B, n] float, highest for the rows to compute first: those whose cells changed, then those with masked
    cells, the nearer to a change the sooner, and of the rest those computed longest ago."""
    changed = (cells != kept.cells).any(-1).float()
    near = F.avg_pool2d(changed.unflatten(1, grid), REACH, stride=1, padding=REACH // 2).flatten(1)
    masked = (cells == mask_id).any(-1)
    ties = sent(spread(cells.shape[1]), cells.device)
    return 1e6 * changed + 1e3 * masked + 10 * near + kept.age.clamp_max(100) + 0.1 * ties


def wide(rows: Tensor, like: Tensor) -> Tensor:
    """Row numbers [B, m] as an index into [B, n, c] values."""
    return rows[..., None].expand(-1, -1, like.shape[-1])


class ActiveCache:
    """One call, as the backbone sees it (see RowCache). Rows that are computed are kept; those before the image's are
    computed with all image rows only."""

    def __init__(self, computed: Computed, rows: Tensor | None = None):
        self.computed, self.rows, self.block = computed, rows, 0
        self.places: tuple[Tensor, Tensor] | None = None

    def select(self, image: Tensor, text: Tensor, tables: Tables | None) -> tuple[Tensor, Tensor, Tables | None]:
        if self.rows is None:
            return image, text, tables
        joined = text.shape[1] + self.rows
        self.places = torch.arange(len(joined), device=joined.device)[:, None], joined
        own = None if tables is None else tables[joined]
        return image.gather(1, wide(self.rows, image)), text[:, :0], own

    def memory(self) -> Memory:
        self.block += 1
        return partial(self._exchange, self.block - 1)

    def _exchange(self, block: int, keys: Tensor, values: Tensor, merge: Merge | None) -> tuple[Tensor, Tensor]:
        kept = self.computed
        if self.rows is None:
            for held, new in ((kept.keys, keys), (kept.values, values)):
                keep(held, block, new if merge is None else spread_heads(merge, new))
            return keys, values
        for held, new in ((kept.keys, keys), (kept.values, values)):
            held[block].transpose(1, 2)[self.places] = new.transpose(1, 2)
        return kept.keys[block], kept.values[block]

    def whole(self, states: Tensor, lead: int = 0, text: Tensor | None = None) -> Tensor:
        if self.rows is not None:
            return self.computed.features.scatter_(1, wide(lead + self.rows, states), states)
        if self.computed.features is None:
            self.computed.features = states.clone()
        return self.computed.features.copy_(states)

    @property
    def kind(self) -> str:
        return "all rows" if self.rows is None else "some rows"

    @property
    def fresh(self) -> bool:
        return self.computed.features is None

    @property
    def owner(self) -> Computed:
        return self.computed

    def reads(self) -> list[Tensor]:
        return [] if self.rows is None else [self.rows]

    def state(self) -> list[Tensor]:
        return self.computed.tensors()

    @classmethod
    def on(cls, kind: str, reads: list[Tensor], state: list[Tensor]) -> "ActiveCache":
        return cls(Computed().take(state), *reads)

    def borrow(self, state: list[Tensor]) -> None:
        self.computed.take(state)


def keep(held: list[Tensor], place: int, new: Tensor) -> None:
    """Into the memory that is there, if any, which others may share."""
    if place < len(held):
        held[place].copy_(new)
    else:
        held.append(new.clone(memory_format=torch.contiguous_format))


def spread_heads(merge: Merge, x: Tensor) -> Tensor:
    """[B, heads, rows, D] -> [B, heads, S, D], every token the value of its merged row."""
    return merge.unmerge(x.transpose(1, 2).flatten(2)).unflatten(2, (x.shape[1], -1)).transpose(1, 2)
