"""Grids that are filled in stages, a row after the other: the code books of sound.

MAGNeT (arXiv 2401.04577, section 3) fills the first book of all frames, then the second, which sees the first, and so
on. Each stage is a run of its own over a grid of that one row, by a view of the network that sees the other rows beside
it (`Backbone.at_stage`): samplers, schedules, modifiers and patches act in it as on any grid, and all that acts over a
share of the run does so in every stage.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..conditioning.parts import ConditionInput, Conditions
from ..errors import MGTError
from ..model import MGTModel
from ..placement import sent
from ..types import Callback, Step, TokenState
from .draws import stage_seed

Fill = Callable[..., TokenState]  # a sampler, or what is called as one
PER_CELL = ("tokens", "fixed", "revealed_at", "confidence")  # of a state


def stage_steps(model: MGTModel, steps: int) -> list[int]:
    """How `steps` are divided among the stages of a model's grid, by its shares of them, one each at the least.

    Raises MGTError for fewer steps than stages."""
    shares = model.stage_shares
    if steps < len(shares):
        raise MGTError(
            f"steps is {steps}; this model fills {len(shares)} code books one after the other, and takes a step for "
            "each at the least"
        )
    bounds, total = [0], sum(shares)
    for index in range(len(shares)):
        wanted = round(steps * sum(shares[: index + 1]) / total)
        latest = steps - (len(shares) - 1 - index)
        bounds.append(min(max(wanted, bounds[-1] + 1), latest))
    return [after - before for before, after in zip(bounds, bounds[1:], strict=False)]


def fill_by_stages(
    sampler: Fill,
    model: MGTModel,
    state: TokenState,
    positive: ConditionInput | None,
    negative: ConditionInput | None,
    *,
    steps: int,
    seeds: Sequence[int],
    callback: Callback | None = None,
    **others,
) -> TokenState:
    """Fill the masked cells of `state` [B, K, T], row after row. sampler, others: as `sample` calls the one with the
    other, at each stage. A sampler that has `cut(model, state) -> state` is asked once for the grid that it fills."""
    counts = stage_steps(model, steps)
    state = getattr(sampler, "cut", lambda model, state: state)(model, state)
    made = Filled(state, steps, callback)
    for stage, count in enumerate(counts):
        part = row_of(state, stage)
        if bool(part.to_fill.any()) and part.first_step(count) < count:
            view = made.seen_by(stage)
            filled = sampler_at(sampler, stage, view)(
                model.at_stage(stage, view),
                part,
                row_of_condition(positive, stage, state.grid[1]),
                row_of_condition(negative, stage, state.grid[1]),
                steps=count,
                seeds=[stage_seed(seed, stage) for seed in seeds],
                callback=made.callback(stage, count),
                **others,
            )
        else:
            filled = replace(part, strength=None, revealed_at=None)
        made.add(stage, filled, count)
    return made.state


def sampler_at(sampler: Fill, stage: int, tokens: Tensor) -> Fill:
    """With its own models at that stage."""
    changed = getattr(sampler, "with_companions", None)
    return changed(lambda each: each.at_stage(stage, tokens)) if changed else sampler


class Filled:
    """The whole grid while its stages are filled. state: with the stages that are done."""

    def __init__(self, state: TokenState, steps: int, told: Callback | None):
        self.steps, self.told = steps, told
        self.done = self.calls = self.passes = 0
        self.last: Step | None = None
        # Rows to come are not known before their stage, whatever they hold.
        tokens = state.tokens.masked_fill(state.to_fill, state.mask_id)
        confidence = torch.zeros_like(tokens, dtype=torch.float32)
        if state.confidence is not None:
            confidence = state.confidence.to(confidence).masked_fill(tokens == state.mask_id, 0)
        revealed_at = torch.full_like(tokens, -1)
        self.state = replace(state, tokens=tokens, revealed_at=revealed_at, confidence=confidence, strength=None)

    def seen_by(self, stage: int) -> Tensor:
        """[B, K, T] the rows that a stage sees beside its own: what is known before it."""
        return self.state.tokens

    def add(self, stage: int, filled: TokenState, steps: int) -> None:
        """The end of a stage of so many steps."""
        self.state = with_row(self.state, stage, filled, self.done)
        self.done += steps
        if self.last is not None:
            self.calls, self.passes, self.last = self.calls + self.last.calls, self.passes + self.last.passes, None

    def callback(self, stage: int, steps: int) -> Callback | None:
        """What tells of the steps of a stage, which are to be so many, as steps of the whole."""
        if self.told is None:
            return None

        done, before = self.done, self.state
        grids: list[Tensor] = []  # the whole one, sent to where steps have their row: nobody waits for it at each

        def tell(step: Step) -> None:
            self.last = step
            # Several candidates, one after the other, take their stage's share of the whole.
            index = step.index if step.total <= steps else step.index * steps // step.total
            if not grids:
                grids.append(sent(before.tokens, step.tokens.device))
            tokens = grids[0].clone()
            tokens[:, stage : stage + 1] = step.tokens
            self.told(
                replace(
                    step,
                    index=done + index,
                    total=self.steps,
                    tokens=tokens,
                    calls=self.calls + step.calls,
                    passes=self.passes + step.passes,
                    outcome=lambda: with_row(before, stage, step.result, done),
                )
            )

        return tell


def with_row(state: TokenState, stage: int, filled: TokenState, done: int) -> TokenState:
    """The state with this row, filled by steps of which `done` of other stages came before."""
    rows = {"tokens": filled.tokens, "confidence": filled.confidence, "revealed_at": filled.revealed_at}
    if filled.revealed_at is not None:
        rows["revealed_at"] = torch.where(filled.revealed_at < 0, filled.revealed_at, filled.revealed_at + done)
    values = {name: getattr(state, name).clone() for name, row in rows.items() if row is not None}
    for name, whole in values.items():
        whole[:, stage : stage + 1] = rows[name].to(whole)
    return replace(state, **values)


def row_of(state: TokenState, stage: int) -> TokenState:
    """The grid [B, 1, T] of one stage."""
    return replace(state, **{n: v[:, stage : stage + 1] for n in PER_CELL if (v := getattr(state, n)) is not None})


def row_of_condition(given: ConditionInput | None, stage: int, width: int) -> ConditionInput | None:
    """With those weights of its parts that are of this row, whose end a sampler may have cut off."""
    if not isinstance(given, Conditions):
        return given
    weights = [part.weight for part in given.parts]
    rows = [w[:, stage : stage + 1, :width] if isinstance(w, Tensor) and w.ndim == 3 else w for w in weights]
    return Conditions(tuple(replace(part, weight=row) for part, row in zip(given.parts, rows, strict=True)))
