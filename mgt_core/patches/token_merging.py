"""Token merging: similar image tokens share one row through attention and MLP.

TomeMGT (arXiv 2411.10781, section 4) after ToMe for Stable Diffusion (Bolya and Hoffman, arXiv
2303.17604): bipartite soft matching between a few destinations, one a window, and all other tokens.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import MGTError, finite_number, whole_number
from ..interval import check_interval, in_interval
from ..placement import sent

BLOCKS = ("joint", "single", "all")
PARTS = ("attention", "mlp", "both")
Tables = tuple[Tensor, Tensor]
TIE = 1e-4  # similarities closer than this count as the same


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

    def after(self, rows: int) -> "Merge":
        """The same merge behind `rows` rows that stay as they are (the text in a joined sequence)."""
        if rows not in self.kept:
            lead = torch.arange(rows, device=self.slot.device).expand(self.slot.shape[0], -1)
            filled = None if self.filled is None else F.pad(self.filled, (rows, 0), value=True)
            self.kept[rows] = Merge(torch.cat([lead, rows + self.slot], dim=1), rows + self.size, filled)
        return self.kept[rows]

    def tables(self, tables: Tables) -> Tables:
        """Rotary tables [S, D] averaged like the tokens: [B, size, D], each sample its own."""
        source, averaged = self.kept.get("tables", (None, None))
        if source is not tables[0]:
            averaged = tuple(self.merge(table.expand(self.slot.shape[0], -1, -1)) for table in tables)
            self.kept["tables"] = tables[0], averaged
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


def destinations(grid: tuple[int, int], stride: tuple[int, int], generator: torch.Generator | None) -> Tensor:
    """[h, w] bool, one destination in every whole window of stride (rows, columns): at random, or the
    first cell when there is no generator. Leftover rows and columns hold none."""
    (h, w), (sy, sx) = grid, stride
    rows, columns = h // sy, w // sx
    pick = torch.zeros(rows, columns, dtype=torch.long)
    if generator is not None:
        pick = torch.randint(sy * sx, (rows, columns), generator=generator)
    return destinations_at(grid, stride, pick)


def destinations_at(grid: tuple[int, int], stride: tuple[int, int], pick: Tensor) -> Tensor:
    """As `destinations`, cell pick[i, j] (row-major within the window) being the one of window i, j."""
    sy, sx = stride
    y = torch.arange(pick.shape[0])[:, None] * sy + pick // sx
    x = torch.arange(pick.shape[1])[None, :] * sx + pick % sx
    chosen = torch.zeros(grid, dtype=torch.bool)
    chosen[y, x] = True
    return chosen


def spread(count: int) -> Tensor:
    """[count] float in 0..1 such that any stretch of them is even: an order that favours no place."""
    return torch.arange(count) * 0.6180339887 % 1


def sides(is_destination: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Places [S] of the tokens that are no destinations, in an order that favours none, and [T] of those that are;
    how far apart they lie, [S, T] below 1. All on the CPU, as is_destination [h, w] bool."""
    sources, targets = ((is_destination.flatten() == kind).nonzero()[:, 0] for kind in (False, True))
    sources = sources[spread(len(sources)).argsort()]
    width = is_destination.shape[1]
    at, to = (torch.stack([place // width, place % width], dim=1).float() for place in (sources, targets))
    return sources, targets, torch.cdist(at, to) / sum(is_destination.shape)


def match(metric: Tensor, is_destination: Tensor, counts: Sequence[int], allowed: Tensor | None = None) -> Merge | None:
    """Merge the counts[b] tokens of sample b most similar (cosine) to a destination into it.

    Masked tokens are all alike before the first block: ties go to the nearest destination, and sources
    that tie are taken from all over the grid.
    metric: [B, h * w, C]; is_destination: [h, w] bool, on the CPU. A count is limited to the tokens that
    are no destinations. allowed: [B, h * w] bool, the tokens that may share a row at all; asks the device
    how many there are. None when there is nothing to merge.
    """
    unit = F.normalize(metric.float(), dim=-1)
    sources, targets, farness = (sent(table, metric.device) for table in sides(is_destination))
    similarity = (unit[:, sources] @ unit[:, targets].transpose(1, 2) / TIE).round() - 0.9 * farness
    counts = [min(count, len(sources)) for count in counts]
    if allowed is not None:
        pairs = allowed[:, sources, None] & allowed[:, None, targets]
        similarity = similarity.masked_fill(~pairs, -torch.inf)
        counts = [min(pair) for pair in zip(counts, pairs.any(-1).sum(1).tolist(), strict=True)]
    if not any(counts):
        return None
    best, target = similarity.max(-1)
    rank = best.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    gone = sent(torch.tensor(counts)[:, None], metric.device)
    slot = torch.empty(metric.shape[:2], dtype=torch.long, device=metric.device)
    slot[:, targets] = torch.arange(len(targets), device=metric.device)
    slot[:, sources] = torch.where(rank < gone, target, len(targets) + rank - gone)
    size, filled = metric.shape[1] - min(counts), None
    if min(counts) < max(counts):
        filled = torch.arange(size, device=metric.device) < metric.shape[1] - gone
    return Merge(slot, size, filled)


@dataclass(frozen=True)
class TokenMerging:
    """Settings of token merging.

    ratio: share of the image tokens that is merged away; all but the destinations at the most (0.75 with
    stride 2 x 2). stride: rows and columns of a window. random: a random destination in each window, else
    its first cell. seed: of the random destinations, which are the same for every image of a batch.
    refresh: blocks that use one matching before it is computed again (5 in the authors' code), counted
    from step to step. blocks: joint (as in the paper), single, or all. part: what runs merged.
    first_block, last_block: the blocks, counted from 0 through both kinds, between which it acts.
    known_only: merge only tokens whose cells are all known, into such tokens. start, end: share of the run
    in which it acts, as for modifiers.
    While every cell of an image is masked it is not merged: all similarities tie then.
    """

    ratio: float = 0.5
    stride: tuple[int, int] = (2, 2)
    random: bool = True
    seed: int = 0
    refresh: int = 5
    blocks: str = "all"
    part: str = "both"
    start: float = 0.0
    end: float = 1.0
    first_block: int = 0
    last_block: int = 9999
    known_only: bool = False

    def __post_init__(self):
        finite_number("token merging ratio", self.ratio, 0, 0.99)
        check_interval("token merging", self.start, self.end)
        if not isinstance(self.stride, (tuple, list)) or len(self.stride) != 2:
            raise MGTError(f"token merging stride is {self.stride!r}; expected two numbers, rows and columns")
        for side in self.stride:
            whole_number("token merging stride", side, 1, 64)
        whole_number("token merging refresh", self.refresh, 1, 10_000)
        whole_number("token merging seed", self.seed, 0, 2**64 - 1)
        whole_number("token merging first_block", self.first_block, 0, 9999)
        whole_number("token merging last_block", self.last_block, 0, 9999)
        if self.first_block > self.last_block:
            raise MGTError(
                f"token merging acts from block {self.first_block} to {self.last_block}; "
                "first_block may not exceed last_block"
            )
        for name, choices in (("blocks", BLOCKS), ("part", PARTS)):
            if getattr(self, name) not in choices:
                raise MGTError(f"token merging {name} is {getattr(self, name)!r}; accepted are {', '.join(choices)}")

    def begin(self) -> "RunMerging":
        return RunMerging(self)


class RunMerging:
    """Token merging during one run, for each set of conditions that is evaluated together by itself."""

    def __init__(self, settings: TokenMerging):
        self.settings = settings
        self.active: dict[Hashable, ActiveMerging] = {}
        self.acting, self.first = True, True

    def enter(self, index: int, total: int) -> None:
        """Told before every network evaluation: step `index` of `total`."""
        self.acting = in_interval(self.settings.start, self.settings.end, index, total)
        if self.first and index > 0:  # matchings of the first step know little of the picture
            self.active.clear()
        self.first = index == 0

    def evaluation(self, entries: Hashable, all_masked: Sequence[bool], known: Tensor) -> "ActiveMerging | None":
        """For one evaluation of `entries`. all_masked: of each image; known: [B, n] bool, rows without masked cells."""
        if not self.acting or not self.settings.ratio:
            return None
        active = self.active.setdefault(entries, ActiveMerging(self.settings))
        active.begin(all_masked, known)
        return active


class ActiveMerging:
    """The matching of one set of conditions and how often it has been used.

    When a matching is due depends on the blocks seen, not on the images, and destinations are drawn for
    every one that is due: an image in a batch is merged as it is alone.
    """

    def __init__(self, settings: TokenMerging):
        self.settings = settings
        self.generator = torch.Generator().manual_seed(settings.seed) if settings.random else None
        self.current: Merge | None = None
        self.uses = 0
        self.block = 0
        self.all_masked: Sequence[bool] = ()
        self.known: Tensor | None = None

    def begin(self, all_masked: Sequence[bool], known: Tensor | None = None) -> None:
        """A new evaluation, of as many images as `all_masked` has entries."""
        self.block, self.all_masked, self.known = 0, all_masked, known

    def at(self, kind: str, image: Tensor, grid: tuple[int, int]) -> BlockMerges:
        """What the next block, of `kind`, merges, whose image tokens [B, n, C] on `grid` are about to enter it."""
        chosen, block = self.settings, self.block
        self.block += 1
        fits = grid[0] >= chosen.stride[0] and grid[1] >= chosen.stride[1]
        if not (fits and chosen.blocks in (kind, "all") and chosen.first_block <= block <= chosen.last_block):
            return NO_MERGES
        if self.uses % chosen.refresh == 0:
            share = int(image.shape[1] * chosen.ratio)
            counts = [0 if masked else share for masked in self.all_masked]
            self.current = match(image, self.choose(grid), counts, self.known if chosen.known_only else None)
        self.uses += 1
        return BlockMerges(
            attention=self.current if chosen.part != "mlp" else None,
            mlp=self.current if chosen.part != "attention" else None,
        )

    def choose(self, grid: tuple[int, int]) -> Tensor:
        return destinations(grid, self.settings.stride, self.generator)
