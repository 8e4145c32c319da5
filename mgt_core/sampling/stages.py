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


def stage_steps(model: MGTModel, steps: int) -> list[int]:
    """How `steps` are divided among the stages of a model's grid, by its shares of them, one each at the least.

    Raises MGTError for fewer steps than stages."""
    shares = model.stage_shares
    if steps < len(shares):
        raise MGTError(f"steps is {steps}; this model fills {len(shares)} code books one after the other: give more")
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
    other, at each stage."""
    counts = stage_steps(model, steps)
    state = getattr(sampler, "cut", lambda model, state: state)(model, state)
    made = Filled(state, steps, callback)
    for stage, count in enumerate(counts):
        part = row_of(state, stage)
        if bool(part.to_fill.any()) and part.first_step(count) < count:
            filled = sampler(
                model.at_stage(stage, made.context(stage)),
                part,
                row_of_condition(positive, stage, state.grid[1]),
                row_of_condition(negative, stage, state.grid[1]),
                steps=count,
                seeds=[stage_seed(seed, stage) for seed in seeds],
                callback=made.callback(stage),
                **others,
            )
        else:
            filled = replace(part, strength=None)
        made.add(stage, filled, count)
    return made.state


class Filled:
    """The whole grid while its stages are filled. state: with the stages that are done."""

    def __init__(self, state: TokenState, steps: int, told: Callback | None):
        self.given, self.steps, self.told = state, steps, told
        self.done = self.calls = self.passes = 0
        self.last: Step | None = None
        # Rows to come are not known before their stage, whatever they hold.
        tokens = state.tokens.masked_fill(state.to_fill, state.mask_id)
        revealed_at = torch.full_like(tokens, -1)
        confidence = torch.zeros_like(tokens, dtype=torch.float32) if state.confidence is None else state.confidence
        self.state = replace(state, tokens=tokens, revealed_at=revealed_at, confidence=confidence, strength=None)

    def context(self, stage: int) -> Tensor:
        """[B, K, T] the rows that a stage sees beside its own."""
        return self.state.tokens

    def with_row(self, stage: int, filled: TokenState) -> TokenState:
        values = {}
        for name in ("tokens", "revealed_at", "confidence"):
            whole, row = getattr(self.state, name).clone(), getattr(filled, name)
            if row is not None:
                if name == "revealed_at":
                    row = torch.where(row >= 0, row + self.done, row)
                whole[:, stage : stage + 1] = row.to(whole)
            values[name] = whole
        return replace(self.state, **values)

    def add(self, stage: int, filled: TokenState, steps: int) -> None:
        """The end of a stage of so many steps."""
        self.state = self.with_row(stage, filled)
        self.done += steps
        if self.last is not None:
            self.calls, self.passes, self.last = self.calls + self.last.calls, self.passes + self.last.passes, None

    def callback(self, stage: int) -> Callback | None:
        """What tells of a stage's steps as steps of the whole."""
        if self.told is None:
            return None

        before: list[Tensor] = []  # the whole grid, where steps have their row: nobody waits for a device at each

        def tell(step: Step) -> None:
            self.last = step
            if not before:
                before.append(sent(self.state.tokens, step.tokens.device))
            tokens = before[0].clone()
            tokens[:, stage : stage + 1] = step.tokens
            self.told(
                replace(
                    step,
                    index=self.done + step.index,
                    total=self.steps,
                    tokens=tokens,
                    calls=self.calls + step.calls,
                    passes=self.passes + step.passes,
                    outcome=lambda: self.with_row(stage, step.result),
                )
            )

        return tell


def row_of(state: TokenState, stage: int) -> TokenState:
    """The grid [B, 1, T] of one stage."""
    names = ("tokens", "fixed", "revealed_at", "confidence")
    rows = {name: value[:, stage : stage + 1] for name in names if (value := getattr(state, name)) is not None}
    return replace(state, **rows)


def row_of_condition(given: ConditionInput | None, stage: int, width: int) -> ConditionInput | None:
    """With those weights of its parts that are of this row, whose end a sampler may have cut off."""
    if not isinstance(given, Conditions):
        return given
    weights = [part.weight for part in given.parts]
    rows = [w[:, stage : stage + 1, :width] if isinstance(w, Tensor) and w.ndim == 3 else w for w in weights]
    return Conditions(tuple(replace(part, weight=row) for part, row in zip(given.parts, rows, strict=True)))
