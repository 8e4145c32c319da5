"""What the blocks of a backbone let others do inside them, during one evaluation."""

from collections.abc import Callable, MutableSequence, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from .merge import BlockMerges, Merge, Tables

# (keys, values [B, heads, S, D] of the rows computed, how they were merged) -> those to attend to
Memory = Callable[[Tensor, Tensor, Merge | None], tuple[Tensor, Tensor]]


class Merging(Protocol):
    """Says what each block merges."""

    def at(self, kind: str, image: Tensor, grid: tuple[int, int]) -> BlockMerges:
        """For the next block, of `kind` ("joint" or "single"), which image rows [B, n, C] on `grid` are about to
        enter."""
        ...


class RowCache(Protocol):
    """Rows that need not be computed: `select` before the blocks, a `memory` for each of them, `whole` after them.

    rows: [B, m] the image rows to compute, None for all of them.
    """

    rows: Tensor | None

    def select(self, image: Tensor, text: Tensor, tables: Tables) -> tuple[Tensor, Tensor, Tables]:
        """What the blocks compute of image rows [B, n, C], text rows [B, L, C] and rotary tables [L + n, D]."""
        ...

    def memory(self) -> Memory:
        """For the next block's attention: where keys and values of the other rows lie."""
        ...

    def whole(self, image: Tensor) -> Tensor:
        """All image rows [B, n, C], from those computed."""
        ...


class Shortcut(Protocol):
    """From the first blocks to the end of the last one.

    first: blocks that run whatever happens. taken: whether the others are left out. fresh: whether what they add is
    not known yet.
    """

    first: int
    taken: bool
    fresh: bool

    def past(self, others: Callable[[Tensor], Tensor], states: Tensor, rows: Tensor | None = None) -> Tensor:
        """States [B, S, C] after the last block, of those [B, m, C] after the first ones, as `others` computes them.
        rows: [B, m] the ones that a row cache computes, None for all of them."""
        ...


@dataclass(frozen=True)
class Hooks:
    """Handed to `Backbone.features`; what is None does not act. A backbone names the fields that it
    heeds in `supports`, and is never handed another one.

    top_down: for each block [B, S, C], S what the blocks see of the image, which joins what attention reads
    through its value projection (Self-Guidance); not together with merging and cache. taps: gets the states
    [B, S, C] before each block and after the last. perturb: what becomes of the token embeddings [B, h, w, C].
    skip: a way past the blocks after the first ones.
    """

    merging: Merging | None = None
    cache: RowCache | None = None
    top_down: Sequence[Tensor] | None = None
    taps: MutableSequence[Tensor] | None = None
    perturb: Callable[[Tensor], Tensor] | None = None
    skip: Shortcut | None = None

    def tap(self, states: Tensor) -> None:
        if self.taps is not None:
            self.taps.append(states)


NO_HOOKS = Hooks()
