"""What the blocks of a backbone let others do inside them, during one evaluation."""

from collections.abc import Callable, Hashable, MutableSequence, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from .merge import BlockMerges, Merge, Tables

# (keys, values [B, heads, S, D] of the rows computed, how they were merged) -> those to attend to
Memory = Callable[[Tensor, Tensor, Merge | None], tuple[Tensor, Tensor]]
# (text rows among the queries, queries [B, heads, S, D] of the rows computed, keys [B, heads, R, D] of all, text first,
# how they were merged; where some of the text's rows hold no word, [B, 1, 1, R] bool, which may be attended to).
# None in place of the first where the keys are the text's alone, and the queries the image's.
Attended = Callable[..., None]


class Merging(Protocol):
    """Says what each block merges."""

    def at(self, kind: str, image: Tensor, grid: tuple[int, int]) -> BlockMerges:
        """For the next block, of `kind` ("joint" or "single"), which image rows [B, n, C] on `grid` are about to
        enter."""
        ...


class Keeper(Protocol):
    """A hook that keeps tensors from call to call, and acts by device operations alone: the same ones in every call
    of the same `kind` on tensors of the same shapes.

    fresh: whether they hold nothing yet that a later call may read. owner: what keeps them, as long as they are in use.
    """

    kind: Hashable
    fresh: bool
    owner: object

    def reads(self) -> list[Tensor]:
        """Tensors that are others in every call."""
        ...

    def state(self) -> list[Tensor]:
        """Tensors that it reads and writes in place; none where a first call is to make them."""
        ...

    @classmethod
    def on(cls, kind: Hashable, reads: list[Tensor], state: list[Tensor]) -> "Keeper":
        """One of this kind on these."""
        ...

    def borrow(self, state: list[Tensor]) -> None:
        """Use these from now on, which a fresh one on the same shapes had."""
        ...


class RowCache(Keeper, Protocol):
    """Rows that need not be computed: `select` before the blocks, a `memory` for each of them, `whole` after them.

    rows: [B, m] the image rows to compute, None for all of them. Some may lie below 0, where rows of the text are
    computed as well, counted from their end.
    """

    rows: Tensor | None

    def select(self, image: Tensor, text: Tensor, tables: Tables | None) -> tuple[Tensor, Tensor, Tables | None]:
        """What the blocks compute of image rows [B, n, C], of the rows before them [B, L, C], which are text, a class
        or registers, and of rotary tables [L + n, D], None where the rows hold their positions."""
        ...

    def memory(self) -> Memory:
        """For the next block's attention: where keys and values of the other rows lie."""
        ...

    def whole(self, states: Tensor, lead: int = 0, text: Tensor | None = None) -> Tensor:
        """All rows after the last block, from those computed: those of the image [B, n, C], behind `lead` others. text:
        the rows of the text that were computed with them, where the network computes words as it does cells."""
        ...


class Shortcut(Keeper, Protocol):
    """From the first blocks to the end of the last one.

    first: blocks that run whatever happens. taken: whether the others are left out.
    """

    first: int
    taken: bool

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
    skip: a way past the blocks after the first ones. attention: sees what the blocks that hold text and image in one
    sequence attend with, or what attends to the text alone. words: gets the states [B, L, C] of the text after the last
    block.
    """

    merging: Merging | None = None
    cache: RowCache | None = None
    top_down: Sequence[Tensor] | None = None
    taps: MutableSequence[Tensor] | None = None
    perturb: Callable[[Tensor], Tensor] | None = None
    skip: Shortcut | None = None
    attention: Attended | None = None
    words: MutableSequence[Tensor] | None = None

    def tap(self, states: Tensor) -> None:
        if self.taps is not None:
            self.taps.append(states)

    def hear(self, states: Tensor) -> None:
        if self.words is not None:
            self.words.append(states)

    @property
    def keepers(self) -> dict[str, Keeper]:
        """Those that act, by field."""
        return {name: getattr(self, name) for name in KEEPERS if getattr(self, name) is not None}

    @property
    def fixed(self) -> bool:
        """Whether all that acts does the same operations in every call of its kind; others decide anew each time."""
        return self == Hooks(**self.keepers)


KEEPERS = ("cache", "skip")
NO_HOOKS = Hooks()
