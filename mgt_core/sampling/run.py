"""What one sampling run holds from step to step; step.py is what it does in each."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from ..conditioning.parts import ConditionInput
from ..errors import MGTError
from ..model import MGTModel
from ..patches.base import Moment
from ..schedules.base import MaskSchedule, still_masked
from ..types import Callback, Step, TokenState
from . import cost, draws, memory
from .draws import Draws, GeneratorDraws, image_generators
from .finite import BESIDE, FiniteWatch, non_finite_origin
from .guided import GuidedNetwork, GuidedRows
from .step import Choose, Drawn, Kept, at_temperature, draw, filled, first_positions, keep, least_confident

log = logging.getLogger(__name__)

DrawSource = Callable[[Sequence[torch.Generator], int], Draws]


@dataclass(frozen=True)
class Plan:
    """How a run goes.

    cfg: guidance that the model's patches start from. seeds: one an image. temperatures: of the confidence noise at
    every step. draws: source of random numbers. keeps_logits: whether the sampler has a modifier of its own that keeps
    a step's logits. draw_temperatures: that ids are drawn at, 1 at every step by default.
    """

    schedule: MaskSchedule
    steps: int
    cfg: float
    seeds: Sequence[int]
    temperatures: Sequence[float]
    draws: DrawSource = GeneratorDraws
    keeps_logits: bool = False
    draw_temperatures: Sequence[float] = ()


class Run:
    """One sampling run: the network under guidance, the draws, the tokens so far, and what modifiers remember.

    Samplers are short loops over it: `draw`, `keep`, `accept`. Everything it holds ends with it.
    Cells are counted through the grid, N in all; what shape the grid has matters to the backbone alone.

    tokens: [B, N] now. left: masked cells of each image in them. totals: cells of each image that the whole schedule
    fills, and targets: how many of them it leaves masked after every step. given: [B, N] bool, cells never masked.
    modifiers: acting, in order; a sampler may put its own before them.
    """

    def __init__(
        self,
        model: MGTModel,
        state: TokenState,
        positive: ConditionInput | None,
        negative: ConditionInput | None,
        plan: Plan,
        callback: Callback | None = None,
    ):
        self.model, self.state, self.callback = model, state, callback
        self.steps, self.seeds, self.temperatures = plan.steps, tuple(plan.seeds), list(plan.temperatures)
        self.draw_temperatures = list(plan.draw_temperatures) or [1.0] * plan.steps
        self.cfg, self.cfgs = plan.cfg, model.guidances(plan.cfg, plan.steps)
        self.grid, self.cells = state.grid, math.prod(state.grid)
        self.generators = image_generators(self.seeds)
        self.draws = plan.draws(self.generators, self.cells)
        self.whole_table = any(modifier.all_positions for modifier in model.modifiers)
        # Whether a step's logits are one table, as what keeps them needs it, or computed a part of the rows at a time.
        by_rows = hasattr(self.draws, "chooser") and all(modifier.by_rows for modifier in model.modifiers)
        self.at_once = self.whole_table or plan.keeps_logits or not by_rows

        self.conditions = memory.evaluated_at_once(positive, negative, self.cfgs)
        needed = memory.step_bytes(model, state, positive, negative, self.cfgs, plan.keeps_logits, self.at_once)
        if note := cost.memory_note(model, state, needed):
            log.warning("%s", note)
        self.device = model.acquire(needed)
        self.network = GuidedNetwork(
            model.network,
            positive.to(self.device) if positive is not None else None,
            negative.to(self.device) if negative is not None else None,
            state.grid,
            model.run_patches(),
        )
        self.modifiers = [modifier.begin() for modifier in model.modifiers]
        self.finite = FiniteWatch(self.device)

        self.totals = self.left = state.to_fill.flatten(1).sum(1).tolist()
        self.schedule = plan.schedule
        self.targets = self.targets_of(self.totals, self.cells)
        self.tokens = state.tokens.flatten(1).to(self.device)
        self.given = ~state.to_fill.flatten(1).to(self.device)
        self.first = state.first_step(plan.steps)
        if state.strength is not None:
            self.mask_again()
        self.revealed_at = torch.full_like(self.tokens, -1)
        self.confidence = self.confidence_brought()
        for patch in self.network.patches:
            patch.started(self)

    def confidence_brought(self) -> Tensor:
        """[B, N] what the state says of the tokens that the run begins with, 0 elsewhere."""
        none = torch.zeros_like(self.tokens, dtype=torch.float32)
        if self.state.confidence is None:
            return none
        return self.state.confidence.flatten(1).to(none) * (self.tokens != self.model.mask_id)

    def targets_of(self, counts: Sequence[int], units: int) -> list[list[int]]:
        """How many the schedule leaves masked after every step, where the run fills `counts` in each image of so many
        units: cells, or what a sampler takes in their place."""
        paced = [units] * len(counts) if self.model.network.paces_known else counts
        return [self.schedule.targets(self.steps, count) for count in paced]

    @property
    def indices(self) -> range:
        """The steps to do; a run that repaints given tokens begins late."""
        return range(self.first, self.steps)

    def mask_again(self) -> None:
        """Mask as many of the cells that are not given, at random, as the steps before `first` would have left."""
        masked = self.tokens == self.model.mask_id
        order = torch.zeros_like(self.tokens, dtype=torch.float32)
        if self.first:  # all of them otherwise, with nothing to draw
            order = self.draws.gumbel(self.step(self.tokens, self.first)).masked_fill(masked, -math.inf)
            wanted = self.left_after(self.first - 1, self.left)
            self.left = [max(n, held) for n, held in zip(wanted, masked.sum(1).tolist(), strict=True)]
        self.tokens = self.tokens.masked_fill(least_confident(order, ~self.given, self.left), self.model.mask_id)

    def step(self, tokens: Tensor, index: int, **details) -> Step:
        """Step `index` from `tokens` [B, N], as modifiers, draws and callbacks see it."""
        return Step(
            index=index,
            total=self.steps,
            tokens=tokens.unflatten(1, self.grid),
            generators=self.generators,
            seeds=self.seeds,
            calls=self.network.calls,
            passes=self.network.passes,
            **details,
        )

    def timestep(self, tokens: Tensor, index: int) -> Tensor:
        """[B] what the network is told at step `index` (see MGTModel.timestep_rule)."""
        return self.model.timestep(tokens, index, self.steps)

    def evaluate(
        self,
        tokens: Tensor,
        index: int,
        cfg: float,
        masked: Sequence[int],
        positions: Tensor | None = None,
        second_pass: bool = True,
    ) -> GuidedRows:
        """Guided logits at `positions` (all cells when None).

        tokens: [B, N], of which each image has `masked`; index: the step the network is told; second_pass: whether a
        patch may look again.
        """
        moment = Moment(index, self.steps, [count == self.cells for count in masked])
        shaped, time = tokens.unflatten(1, self.grid), self.timestep(tokens, index)
        return self.network.evaluate(shaped, time, cfg, positions, moment, second_pass)

    def draw(
        self,
        index: int,
        tokens: Tensor | None = None,
        counts: Sequence[int] | None = None,
        wanted: Tensor | None = None,
        visit: int = 0,
        masked: Sequence[int] | None = None,
    ) -> Drawn:
        """Step `index` up to the choice of what it keeps: an id for every masked cell.

        tokens: [B, N] instead of the run's own; counts: masked cells of each image in them. wanted: [B, N] bool, cells
        to draw instead, masked or not, of which each image has `counts`. visit: see Step. masked: how many of the cells
        of each image are, where those to draw are wanted: none, as far as anybody knows.
        """
        tokens = self.tokens if tokens is None else tokens
        counts = self.left if counts is None else counts
        masked = masked or (counts if wanted is None else [0] * len(counts))
        wanted = tokens == self.model.mask_id if wanted is None else wanted
        # As many rows as the fullest image needs, known without asking the device.
        positions, here = first_positions(wanted, max(counts))
        table = self.all_cells(tokens) if self.whole_table else positions

        def evaluate() -> GuidedRows:
            return self.evaluate(tokens, index, self.cfgs[index], masked, table)

        guided = evaluate()
        step = self.step(tokens, index, positions=positions, masked=here, visit=visit)
        seen = replace(step, positions=table, masked=wanted) if self.whole_table else None
        # At once modifiers act before a number is drawn, and may draw numbers of their own.
        choose, rows = self.draws.categorical, self.cells
        if not self.at_once:
            choose, rows = self.chooser(step), self.rows_at_once
        choose = partial(self.drawn_ids, at_temperature(choose, self.draw_temperatures[index]))
        ids, scores = draw(guided, step, self.modified, choose, rows, seen)
        self.check_finite(scores, index, lambda: evaluate().rows())
        return filled(step, tokens, counts, ids, scores)

    @property
    def rows_at_once(self) -> int:
        """Cells of each image whose logits are held at once, where that is for the run to choose."""
        rows = draws.rows_held(self.model.codebook_size, self.device, self.conditions)
        return max(1, rows // self.tokens.shape[0])

    def modified(self, logits: Tensor, step: Step) -> Tensor:
        for modifier in self.modifiers:
            logits = modifier(logits, step)
        return logits

    def drawn_ids(self, choose: Choose, logits: Tensor, step: Step) -> Tensor:
        """Ids [B, m] that `choose` draws, as patches leave them."""
        ids = choose(logits, step)
        for patch in self.network.patches:
            ids = patch.chosen(ids, step)
        return ids

    def chooser(self, step: Step) -> Callable[[Tensor, Step], Tensor]:
        """Draws ids [B, m] for some of the step's cells, given their logits and the step narrowed to them."""
        if not hasattr(self.draws, "chooser"):
            return self.draws.categorical  # recorded draws, looked up by cell
        choose = self.draws.chooser(step)
        return lambda logits, own: choose(logits, own.positions)

    def noise(self, drawn: Drawn) -> Tensor | float:
        """[B, N] in the confidence of every cell; the last step keeps all of them, and none is drawn."""
        index = drawn.step.index
        return self.temperatures[index] * self.draws.gumbel(drawn.step) if index < self.steps - 1 else 0.0

    def keep(
        self, drawn: Drawn, confidence: Tensor, left: Sequence[int] | None = None, among: Tensor | None = None
    ) -> Kept:
        """As keep of step.py; as many cells of each image stay masked as the schedule says, or `left`."""
        left = self.left_after(drawn.step.index, drawn.counts) if left is None else left
        return keep(drawn, confidence, left, self.model.mask_id, among)

    def left_after(self, index: int, before: Sequence[int] | None = None) -> list[int]:
        """Cells of each image that the schedule leaves masked after step `index`, of `before` (now) before it."""
        before, to_come = self.left if before is None else before, self.steps - 1 - index
        return [still_masked(t[index], count, to_come) for t, count in zip(self.targets, before, strict=True)]

    def accept(self, kept: Kept) -> None:
        """Make the end of a step the state of the run, note what it revealed, and tell the callback."""
        before, self.tokens, self.left = self.tokens, kept.tokens, list(kept.left)
        masked = self.tokens == self.model.mask_id
        self.revealed_at = self.revealed_at.masked_fill(self.tokens != before, kept.index).masked_fill_(masked, -1)
        self.remember(kept)
        self.confidence = self.confidence.masked_fill(masked, 0)
        if self.callback is not None:
            outcome = partial(self.now().to, self.state.tokens.device)
            self.callback(replace(self.step(before, kept.index), outcome=outcome))

    def remember(self, kept: Kept) -> None:
        """Note the log-probability of the tokens that a step reveals; `accept` does so for its own."""
        self.confidence = torch.where(kept.kept, kept.log_probability, self.confidence)

    def finish(self) -> TokenState:
        """The state at the end, on the device the run was given its tokens on."""
        self.finite.settle()
        return self.now().to(self.state.tokens.device)

    def now(self) -> TokenState:
        """The state now, on the device that computes."""
        names = ("tokens", "revealed_at", "confidence")
        return replace(self.state, strength=None, **{n: getattr(self, n).unflatten(1, self.grid) for n in names})

    def all_cells(self, tokens: Tensor) -> Tensor:
        """[B, N] every cell of every image."""
        return torch.arange(self.cells, device=self.device).expand(tokens.shape[0], -1)

    def check_finite(self, values: Tensor, index: int, evaluate: Callable[[], Tensor]) -> None:
        """Raises MGTError naming the step and the layer where the numbers broke; `evaluate` breaks them again.

        On a GPU it does so at a later step, when the answer has arrived."""

        def report() -> None:
            networks = [each.network for each in (self.model, *self.model.companions)]
            origin = next(filter(BESIDE.__ne__, (non_finite_origin(each, evaluate) for each in networks)), BESIDE)
            place = f"step {index + 1} of {self.steps}"
            raise MGTError(f"the logits of {place} are not finite; they first appear in {origin}")

        self.finite.add(values.isfinite().all(), report)
