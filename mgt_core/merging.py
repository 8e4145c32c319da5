"""Token merging: similar image tokens share one row through attention and MLP.

TomeMGT (arXiv 2411.10781, section 4) after ToMe for Stable Diffusion (Bolya and Hoffman, arXiv
2303.17604): bipartite soft matching between a few destinations, one a window, and all other tokens.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import MGTError, finite_number, whole_number
from .interval import check_interval, in_interval

BLOCKS = ("joint", "single", "all")
PARTS = ("attention", "mlp", "both")


@dataclass(frozen=True)
class Merge:
    """Which tokens share a row: token i of a sample lies in row slot[i].

    slot: [B, n] long in 0..size-1. size: rows after merging.
    """

    slot: Tensor
    size: int

    def merge(self, x: Tensor) -> Tensor:
        """[B, n, C] -> [B, size, C], the mean of the tokens of each row."""
        index = self.slot[..., None]
        total = x.new_zeros(x.shape[0], self.size, x.shape[2], dtype=torch.float32)
        count = total.new_zeros(x.shape[0], self.size, 1)
        total.scatter_add_(1, index.expand_as(x), x.float())
        count.scatter_add_(1, index, torch.ones_like(count[:, :1]).expand(-1, x.shape[1], -1))
        return (total / count).to(x.dtype)

    def unmerge(self, rows: Tensor) -> Tensor:
        """[B, size, C] -> [B, n, C], every token the value of its row."""
        return rows.gather(1, self.slot[..., None].expand(-1, -1, rows.shape[-1]))

    def after(self, rows: int) -> "Merge":
        """The same merge behind `rows` rows that stay as they are (the text in a joined sequence)."""
        lead = torch.arange(rows, device=self.slot.device).expand(self.slot.shape[0], -1)
        return Merge(torch.cat([lead, rows + self.slot], dim=1), rows + self.size)


class BlockMerges(NamedTuple):
    """What a block merges before its attention and before its MLP; None leaves the tokens as they are."""

    attention: Merge | None = None
    mlp: Merge | None = None

    def after(self, rows: int) -> "BlockMerges":
        if self.attention is self.mlp:
            both = self.attention and self.attention.after(rows)
            return BlockMerges(both, both)
        return BlockMerges(*(merge and merge.after(rows) for merge in self))


NO_MERGES = BlockMerges()


def merged(merge: Merge | None, x: Tensor) -> Tensor:
    return x if merge is None else merge.merge(x)


def unmerged(merge: Merge | None, x: Tensor) -> Tensor:
    return x if merge is None else merge.unmerge(x)


def merged_tables(merge: Merge | None, tables: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Rotary tables [S, D] averaged like the tokens: [B, rows, D], each sample its own."""
    if merge is None:
        return tables
    cos, sin = (merge.merge(table.expand(merge.slot.shape[0], -1, -1)) for table in tables)
    return cos, sin


def destinations(grid: tuple[int, int], stride: tuple[int, int], generator: torch.Generator | None) -> Tensor:
    """[h * w] bool, one destination in every whole window of stride (rows, columns): at random, or the
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
    return chosen.flatten()


def match(metric: Tensor, is_destination: Tensor, count: int) -> Merge:
    """Merge the `count` tokens most similar (cosine) to a destination into it.

    metric: [B, n, C]; is_destination: [n] bool. count is limited to the tokens that are no destinations.
    """
    unit = F.normalize(metric.float(), dim=-1)
    sources, targets = ((is_destination == kind).nonzero()[:, 0].to(metric.device) for kind in (False, True))
    count = min(count, len(sources))
    stay = len(sources) - count
    best, target = (unit[:, sources] @ unit[:, targets].transpose(1, 2)).max(-1)
    order = best.argsort(dim=-1, descending=True, stable=True)
    gone, kept = order[:, :count], order[:, count:]
    slot = torch.empty(metric.shape[:2], dtype=torch.long, device=metric.device)
    slot[:, targets] = torch.arange(stay, stay + len(targets), device=metric.device)
    slot.scatter_(1, sources[kept], torch.arange(stay, device=metric.device).expand(len(slot), -1))
    slot.scatter_(1, sources[gone], stay + target.gather(1, gone))
    return Merge(slot, stay + len(targets))


@dataclass(frozen=True)
class TokenMerging:
    """Settings of token merging.

    ratio: share of the image tokens that is merged away; all but the destinations at the most (0.75 with
    stride 2 x 2). stride: rows and columns of a window. random: a random destination in each window, else
    its first cell.
    seed: of the destinations; they are the same for every image of a batch. refresh: blocks that use one
    matching before it is computed again (5 in the authors' code). blocks: joint (as in the paper),
    single, or all. part: what runs merged. start, end: share of the run in which it acts, as for modifiers.
    While every token is masked nothing is merged: all similarities tie then.
    """

    ratio: float = 0.5
    stride: tuple[int, int] = (2, 2)
    random: bool = True
    seed: int = 0
    refresh: int = 5
    blocks: str = "joint"
    part: str = "both"
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self):
        finite_number("token merging ratio", self.ratio, 0, 0.99)
        check_interval("token merging", self.start, self.end)
        if not isinstance(self.stride, (tuple, list)) or len(self.stride) != 2:
            raise MGTError(f"token merging stride is {self.stride!r}; expected two numbers, rows and columns")
        for side in self.stride:
            whole_number("token merging stride", side, 1, 64)
        whole_number("token merging refresh", self.refresh, 1, 10_000)
        whole_number("token merging seed", self.seed, 0, 2**64 - 1)
        for name, choices in (("blocks", BLOCKS), ("part", PARTS)):
            if getattr(self, name) not in choices:
                raise MGTError(f"token merging {name} is {getattr(self, name)!r}; accepted are {', '.join(choices)}")

    def begin(self) -> "ActiveMerging":
        return ActiveMerging(self)


class ActiveMerging:
    """Token merging during one run: the current matching and how often it has been used."""

    def __init__(self, settings: TokenMerging):
        self.settings = settings
        self.generator = torch.Generator().manual_seed(settings.seed) if settings.random else None
        self.current: Merge | None = None
        self.uses = 0
        self.acting = True

    def enter(self, index: int, total: int, all_masked: bool) -> None:
        """Told before every network evaluation: step `index` of `total`."""
        self.acting = in_interval(self.settings.start, self.settings.end, index, total) and not all_masked

    def at(self, kind: str, image: Tensor, grid: tuple[int, int]) -> BlockMerges:
        """What a block of `kind` merges, whose image tokens [B, n, C] on `grid` are about to enter it."""
        count = int(image.shape[1] * self.settings.ratio)
        fits = grid[0] >= self.settings.stride[0] and grid[1] >= self.settings.stride[1]
        if not (self.acting and count and fits and self.settings.blocks in (kind, "all")):
            return NO_MERGES
        stale = self.current is None or self.current.slot.shape != image.shape[:2]
        if stale or self.uses >= self.settings.refresh:
            self.current, self.uses = match(image, self.choose(grid), count), 0
        self.uses += 1
        return BlockMerges(
            attention=self.current if self.settings.part != "mlp" else None,
            mlp=self.current if self.settings.part != "attention" else None,
        )

    def choose(self, grid: tuple[int, int]) -> Tensor:
        return destinations(grid, self.settings.stride, self.generator)
