"""A second network beside the one of a run: on the run's grids, under its conditions, with patches of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..backbones.base import Backbone
from ..conditioning.parts import condition_parts
from ..errors import MGTError
from ..model import MGTModel
from ..modifiers.base import ActiveModifier
from ..patches.base import Asked, Rows
from ..placement import Resident, acquired_together
from ..types import PICTURES, Step
from . import memory
from .finite import non_finite_origin
from .guided import GuidedNetwork


def check_second(network: Backbone, second: MGTModel, role: str) -> None:
    """Raises MGTError for a `second` model that cannot be evaluated on grids and under conditions of `network`. role:
    what messages call it."""
    if not isinstance(second, MGTModel):
        raise MGTError(f"the {role} is {type(second).__name__}; expected the .model of a loaded bundle")
    other = second.network
    if (own := vocabulary(network)) != (its := vocabulary(other)):
        raise MGTError(f"the {role} has {its}, and the model {own}; the two need one vocabulary, that of one codec")
    if (own := kind(network)) != (its := kind(other)):
        raise MGTError(f"the {role} makes {its}, and the model {own}; the two have to make the same")
    if set(network.condition_fields) != set(other.condition_fields):
        own, its = (" and ".join(sorted(each.condition_fields)) for each in (network, other))
        raise MGTError(f"the {role} reads {its} of a condition, and the model {own}; the two have to read the same")
    if network.only_trained_grid and other.only_trained_grid and network.trained_grid != other.trained_grid:
        own, its = (" x ".join(map(str, each.trained_grid)) for each in (network, other))
        raise MGTError(f"the {role} makes grids of {its} tokens alone, and the model of {own}; the two have to agree")
    if remembering := [each for each in second.modifiers if not each.by_rows]:
        raise MGTError(
            f"the {role} carries {type(remembering[0]).__name__}, which looks at more than a cell at a time or draws "
            "numbers; attach it to the model of the run instead"
        )


def vocabulary(network: Backbone) -> str:
    return f"{network.codebook_size} codes and {network.mask_id} for a masked cell"


def kind(network: Backbone) -> str:
    stages = len(network.stage_shares)
    return f"{network.makes} of {stages} code books" if stages > 1 else network.makes


class Second:
    """During one run: what `model` predicts for the run's grids, guided by the run's conditions.

    model: with patches, guidance schedule, LoRAs and weights of its own; its modifiers, if any, act on its own
    prediction. run: the Run, or another Second, whose calls and passes count those made here too. role: what messages
    call it. Raises MGTError where the two do not go together.
    """

    def __init__(self, model: MGTModel, run: Any, role: str):
        check_second(run.model.network, model, role)
        if model.pixels_per_token != run.model.pixels_per_token:
            own, its = run.model.pixels_per_token, model.pixels_per_token
            what = "pixels" if model.makes == PICTURES else "samples"
            raise MGTError(f"a token of the {role} stands for {its} {what}, and one of the model for {own}")
        self.model, self.run, self.role, self.state, self.steps = model, run, role, run.state, run.steps
        self.cfg, self.cfgs = run.cfg, model.guidances(run.cfg, run.steps)
        own = run.network
        model.network.check_grid(tuple(own.grid))
        for name, given in (("positive", own.positive), ("negative", own.negative)):
            for part in condition_parts(given):
                model.network.check_condition(part.condition, name)
        self.network = GuidedNetwork(model.network, own.positive, own.negative, own.grid, model.run_patches())
        self.modifiers = [modifier.begin() for modifier in model.modifiers]
        self.begun = len(run.model.patches), len(model.patches)
        for patch in self.network.patches:
            patch.started(self)

    def acquire(self, guidance: float) -> None:
        """Have it lie beside the run's model, with the memory that evaluations at this guidance need. For one that is
        no companion of that model, whose own placement sees to those."""
        conditions = self.network.positive, self.network.negative
        needed = memory.step_bytes(self.model, self.state, *conditions, [guidance])
        models = [self.run.model, *self.run.model.companions, self.model, *self.model.companions]
        acquired_together([each.placement or Resident(each.network) for each in models], needed)

    def guidance(self, asked: Asked) -> float:
        """Its own, by its own schedule, where the run's is asked for; any other is for both."""
        index = asked.moment.index
        return self.cfgs[index] if asked.cfg == self.run.cfgs[index] else asked.cfg

    def report(self, index: int, evaluate: Callable[[], object]) -> None:
        """Raises MGTError naming the layer where its numbers broke; `evaluate` breaks them again."""
        origin = non_finite_origin(self.model.network, evaluate)
        place = f"step {index + 1} of {self.steps}"
        raise MGTError(f"the {self.role}'s logits of {place} are not finite; they first appear in {origin}")

    def evaluate(self, asked: Asked, cfg: float, told: int | None = None) -> Rows:
        """What it predicts for the same tokens and cells. told: the step that the network is told, by default the one
        of the moment."""
        index = asked.moment.index if told is None else told
        calls, passes = self.network.calls, self.network.passes
        theirs, ours = self.begun
        added = self.run.network.patches[theirs:]
        self.network.patches[ours:] = [patch for patch in added if patch.in_both]
        time = self.model.timestep(asked.tokens, index, self.steps)
        rows = self.network.evaluate(asked.tokens, time, cfg, asked.positions, asked.moment, asked.second_pass)
        self.run.network.calls += self.network.calls - calls
        self.run.network.passes += self.network.passes - passes
        step = Step(asked.moment.index, self.steps, asked.tokens)
        return Modified(rows, step, tuple(self.modifiers)) if self.modifiers else rows


@dataclass(frozen=True)
class Modified:
    """Rows that modifiers have acted on, each by itself."""

    own: Rows
    step: Step
    modifiers: tuple[ActiveModifier, ...]

    def rows(self, part: slice = slice(None)) -> Tensor:
        logits = self.own.rows(part)
        for modifier in self.modifiers:
            logits = modifier(logits, self.step)
        return logits
