"""Token merging: similar image tokens share one row through attention and MLP.

TomeMGT (arXiv 2411.10781, section 4) after ToMe for Stable Diffusion (Bolya and Hoffman, arXiv
2303.17604): bipartite soft matching between a few destinations, one a window, and all other tokens.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from ..backbones.base import Backbone
from ..backbones.hooks import Hooks
from ..backbones.merge import NO_MERGES, BlockMerges, Merge
from ..errors import MGTError, several, whole_number
from ..interval import in_interval
from ..placement import sent
from ..registry import PATCHES
from ..sampling.draws import cpu_generator
from ..settings import choice, hold, number, share, whole
from ..types import PICTURES
from .base import Call, Moment, Patch, RunPatch
from .spread import spread

BLOCKS = ("joint", "single", "all")
PARTS = ("attention", "mlp", "both")
LARGEST_STRIDE = 64
TIE = 1e-4  # similarities closer than this count as the same


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


def sides(is_destination: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Places [S] of the tokens that are no destinations, in an order that favours none, and [T] of those that are;
    how far apart they lie, [S, T] below 1. All on the CPU, as is_destination [h, w] bool."""
    sources, targets = ((is_destination.flatten() == kind).nonzero()[:, 0] for kind in (False, True))
    sources = sources[spread(len(sources)).argsort()]
    width = is_destination.shape[1]
    at, to = (torch.stack([place // width, place % width], dim=1).float() for place in (sources, targets))
    return sources, targets, torch.cdist(at, to) / sum(is_destination.shape)


@dataclass(frozen=True)
class Allowed:
    """[B, h * w] bool, tokens that may share a row at all. How many there are decides how many rows there are, so that
    the host has to know: it asks the device once, whatever the number of matchings. of: those of the images, which
    these repeat for each of their conditions."""

    there: Tensor
    of: "Allowed | None" = None

    @cached_property
    def here(self) -> Tensor:
        return self.there.cpu() if self.of is None else self.of.here.repeat(len(self.there) // len(self.of.there), 1)

    def repeated(self, count: int) -> "Allowed":
        """For `count` conditions of the same images."""
        return Allowed(self.there.repeat(count, 1), self)

    def counts(self, sources: Tensor, targets: Tensor) -> list[int]:
        """Of each sample, the sources that find a target. Places on the CPU."""
        return (self.here[:, sources].sum(1) * self.here[:, targets].any(1)).tolist()


def match(
    metric: Tensor, is_destination: Tensor, counts: Sequence[int], allowed: Allowed | None = None
) -> Merge | None:
    """Merge the counts[b] tokens of sample b most similar (cosine) to a destination into it.

    Masked tokens are all alike before the first block: ties go to the nearest destination, and sources
    that tie are taken from all over the grid.
    metric: [B, h * w, C]; is_destination: [h, w] bool, on the CPU. A count is limited to the tokens that
    are no destinations. None when there is nothing to merge.
    """
    tables = sides(is_destination)
    counts = [min(count, len(tables[0])) for count in counts]
    if allowed is not None and any(counts):
        counts = [min(pair) for pair in zip(counts, allowed.counts(*tables[:2]), strict=True)]
    if not any(counts):
        return None
    unit = F.normalize(metric.float(), dim=-1)
    sources, targets, farness = (sent(table, metric.device) for table in tables)
    similarity = (unit[:, sources] @ unit[:, targets].transpose(1, 2) / TIE).round() - 0.9 * farness
    if allowed is not None:
        pairs = allowed.there[:, sources, None] & allowed.there[:, None, targets]
        similarity = similarity.masked_fill(~pairs, -torch.inf)
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


@PATCHES.register("token_merging")
@dataclass(frozen=True)
class TokenMerging(Patch):
    """Settings.

    ratio: share of the image tokens that is merged away (0.25 in the authors' demo); all but the destinations at the
    most (0.75 with stride 2 x 2). stride: rows and columns of a window; of a sound's frames columns alone count.
    random: a random destination in each window, else its first cell. seed: of the random destinations, which are the
    same for every image of a batch.
    refresh: blocks that use one matching before it is computed again (5 in the authors' code), counted
    from step to step. blocks: joint (as the authors patch them), single, or all; networks with one kind of block
    merge in those, whatever is said here. part: what runs merged.
    first_block, last_block: the blocks, counted from 0 through both kinds, between which it acts.
    known_only: merge only tokens whose cells are all known, into such tokens; how many rows that leaves only a CPU
    is asked, and elsewhere all are computed (see match). start, end: share of the run in which it acts, as for
    modifiers.
    While every cell of an image is masked it is not merged: all similarities tie then.
    """

    slot = "token_merging"
    title = "token merging"
    place = "blocks"
    needs = "merging"
    interval_of = "token merging"
    neutral = {"ratio": 0.0}

    ratio: float = number(0.25, 0, 0.99, "token merging ratio", step=0.05)
    stride: tuple[int, int] = (2, 2)
    random: bool = True
    seed: int = whole(0, 0, 2**64 - 1, "token merging seed")
    refresh: int = whole(5, 1, 10_000, "token merging refresh")
    blocks: str = choice("joint", BLOCKS, "token merging blocks")
    part: str = choice("both", PARTS, "token merging part")
    start: float = share(0.0)
    end: float = share(1.0)
    first_block: int = whole(0, 0, 9999, "token merging first_block")
    last_block: int = whole(9999, 0, 9999, "token merging last_block")
    known_only: bool = False

    def __post_init__(self):
        super().__post_init__()
        sides = several("token merging stride", self.stride, "two numbers, rows and columns", 2)
        hold(self, stride=tuple(whole_number("token merging stride", side, 1, LARGEST_STRIDE) for side in sides))
        if self.first_block > self.last_block:
            raise MGTError(
                f"token merging acts from block {self.first_block} to {self.last_block}; "
                "first_block may not exceed last_block"
            )

    def begin(self, network: Backbone) -> "RunMerging":
        settings = self if len(network.block_kinds) > 1 else replace(self, blocks="all")
        if network.makes != PICTURES:  # their grids are of one row
            settings = replace(settings, stride=(1, self.stride[1]))
        return RunMerging(settings)


class RunMerging(RunPatch):
    """Token merging during one run, for each set of conditions that is evaluated together by itself."""

    def __init__(self, settings: TokenMerging):
        self.settings = settings
        self.active: dict[Hashable, ActiveMerging] = {}
        self.acting, self.first = True, True
        self.allowed: Allowed | None = None  # of the tokens now, whatever the conditions and how many calls they take

    def enter(self, moment: Moment) -> None:
        settings = self.settings
        self.acting = settings.ratio and in_interval(settings.start, settings.end, moment.index, moment.total)
        self.allowed = None
        if self.first and moment.index > 0:  # matchings of the first step know little of the picture
            self.active.clear()
        self.first = moment.index == 0

    def hooks(self, hooks: Hooks, call: Call) -> Hooks:
        if not self.acting:
            return hooks
        known = None
        if self.settings.known_only and not all(call.moment.all_masked):
            count = len(call.entries)
            if self.allowed is None:
                cells = call.network.row_cells(call.tokens[: len(call.tokens) // count])
                self.allowed = Allowed((cells != call.network.mask_id).all(-1))
            known = self.allowed.repeated(count)
        active = self.active.setdefault(call.entries, ActiveMerging(self.settings))
        active.begin(call.moment.all_masked * len(call.entries), known)
        return replace(hooks, merging=active)


class ActiveMerging:
    """The matching of one set of conditions and how often it has been used.

    When a matching is due depends on the blocks seen, not on the images, and destinations are drawn for
    every one that is due: an image in a batch is merged as it is alone.
    """

    def __init__(self, settings: TokenMerging):
        self.settings = settings
        self.generator = cpu_generator(settings.seed) if settings.random else None
        self.current: Merge | None = None
        self.uses = 0
        self.block = 0
        self.all_masked: Sequence[bool] = ()
        self.known: Allowed | None = None

    def begin(self, all_masked: Sequence[bool], known: Allowed | None = None) -> None:
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
            self.current = match(image, self.choose(grid), counts, self.known)
        self.uses += 1
        return BlockMerges(
            attention=self.current if chosen.part != "mlp" else None,
            mlp=self.current if chosen.part != "attention" else None,
        )

    def choose(self, grid: tuple[int, int]) -> Tensor:
        return destinations(grid, self.settings.stride, self.generator)
