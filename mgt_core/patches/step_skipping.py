"""Step skipping: in most evaluations only the first blocks run, and what the others added the last time is added again.

Training-free. What is kept is that of the first-block cache of ParaAttention (github.com/chengzeyi/ParaAttention): the
residual from the first block to the last. When to compute it anew is told by the number of evaluations alone. By the
change of the first block's output, as there and in TeaCache (arXiv 2411.19108), the host would have to wait for the
device at every step, and every image of a batch would have its own answer; in masked models that change says little
about what skipping does (docs/techniques.md).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..backbones.base import Backbone
from ..backbones.hooks import Hooks
from ..interval import in_interval
from ..placement import compute_dtype
from ..registry import PATCHES
from ..settings import share, whole
from .base import Call, Entry, Moment, Patch, RunPatch
from .pieces import Pieces


@PATCHES.register("step_skipping")
@dataclass(frozen=True)
class StepSkipping(Patch):
    """Settings.

    every: evaluations from one of a prompt that runs all blocks to the next; 1 changes nothing. first: blocks that run
    in the others too; where a network has two kinds, of the first kind at the most. start, end: share of the run in
    which it acts, as for modifiers. The last step, which keeps all that it draws, runs all blocks anyway.
    """

    slot = "step_skipping"
    title = "step skipping"
    place = "step"
    needs = "skip"
    interval_of = "step skipping"
    neutral = {"every": 1}

    every: int = whole(2, 1, 100_000, "step skipping every")
    first: int = whole(1, 0, 9999, "step skipping first")
    start: float = share(0.0)
    end: float = share(1.0)

    def held_bytes(self, network: Backbone, rows: int, conditions: int, size: int) -> int:
        return rows * conditions * network.row_width * size

    def begin(self, network: Backbone) -> "RunSkipping":
        return RunSkipping(self)


class RunSkipping(RunPatch):
    """What a run keeps: of every condition [B, S, C], what the blocks after the first ones added to each row."""

    def __init__(self, settings: StepSkipping):
        self.settings = settings
        self.added: Pieces[Added] = Pieces()
        self.whole_at: dict[Entry, int] = {}  # the evaluation in which all blocks last ran
        self.evaluation, self.acting = 0, True

    def enter(self, moment: Moment) -> None:
        settings = self.settings
        self.evaluation += 1
        self.acting = settings.every > 1 and in_interval(settings.start, settings.end, moment.index, moment.total)
        self.acting = self.acting and moment.index < moment.total - 1
        if not self.acting:
            self.added.clear()

    def hooks(self, hooks: Hooks, call: Call) -> Hooks:
        if not self.acting:
            return hooks
        entries, added = call.entries, self.added.find(call.entries)
        fresh = added is None
        if fresh:
            self.added.forget(entries)
            added = self.added[entries] = unwritten(call)
        due = fresh or max(self.evaluation - self.whole_at[entry] for entry in entries) >= self.settings.every
        if due:
            self.whole_at |= dict.fromkeys(entries, self.evaluation)
        return replace(hooks, skip=Past(self.settings.first, not due, fresh, added))


@dataclass
class Added:
    """[B, S, C] what the blocks after the first ones added."""

    values: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, images: slice) -> "Added":
        return Added(self.values[images])


def unwritten(call: Call) -> Added:
    """For the rows of a call's images."""
    network, tokens = call.network, call.tokens
    rows = tokens.shape[1:].numel() // network.row_side**2 + network.lead_rows
    shape = len(tokens), rows, network.row_width
    return Added(torch.empty(shape, dtype=compute_dtype(network), device=tokens.device))


@dataclass(frozen=True)
class Past:
    """One call, as the backbone sees it (see Shortcut). It does not ask what the values are.

    added: read where `taken` and else written, a row cache's rows alone where it has some.
    """

    first: int
    taken: bool
    fresh: bool
    added: Added

    def past(self, others: Callable[[Tensor], Tensor], states: Tensor, rows: Tensor | None = None) -> Tensor:
        added = self.added.values
        if self.taken:
            return states + added
        last = others(states)
        if rows is None:
            torch.sub(last, states, out=added)
        else:
            where = rows[..., None].expand(-1, -1, last.shape[-1])
            added.scatter_(1, where, last.gather(1, where) - states)
        return last

    @property
    def kind(self) -> tuple[int, bool]:
        return self.first, self.taken

    @property
    def owner(self) -> Added:
        return self.added

    def reads(self) -> list[Tensor]:
        return []

    def state(self) -> list[Tensor]:
        return [self.added.values]

    @classmethod
    def on(cls, kind: tuple[int, bool], reads: list[Tensor], state: list[Tensor]) -> "Past":
        return cls(*kind, False, Added(*state))

    def borrow(self, state: list[Tensor]) -> None:
        (self.added.values,) = state
