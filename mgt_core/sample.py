"""`sample`: settles what its caller leaves open, checks its arguments, and runs a sampler."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import torch

from .backbones.base import Backbone
from .conditioning.parts import ConditionInput, Conditions, condition_parts, unreached_by_step
from .errors import MGTError, finite_number, whole_number
from .model import MGTModel
from .recommended import recommended
from .registry import SAMPLERS
from .samplers.base import Sampler
from .sampling.draws import image_seeds
from .sampling.stages import fill_by_stages, stage_steps
from .schedules.base import MaskSchedule, schedule_from
from .types import COUNTED, ONE, PICTURES, SOUND, Callback, TokenState, check_makes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settled:
    """Settings of a run with nothing left open; `schedule` and `sampler` are what acts."""

    steps: int
    cfg: float
    schedule: MaskSchedule
    sampler: Sampler

    def values(self) -> dict[str, Any]:
        """As JSON holds them, for a picture's metadata."""
        return {"steps": self.steps, "cfg": self.cfg, "schedule": repr(self.schedule), "sampler": repr(self.sampler)}


def settle(
    model: MGTModel,
    state: TokenState,
    *,
    sampler: str | Sampler | None = None,
    schedule: str | MaskSchedule | None = None,
    steps: int | None = None,
    cfg: float | None = None,
    **options,
) -> Settled:
    """What `sample` runs with: what is None, here or in the sampler, is as the model recommends (recommended.py).

    options: further settings of a sampler given by its name. Raises MGTError for bad settings.
    """
    check_model(model, state)
    own = recommended(model)
    if sampler is None:
        sampler, options = own["sampler"], {**own["sampler_settings"], **options}
    if isinstance(sampler, str):
        sampler = build_sampler(sampler, options)
    elif options:
        log.warning("sample: %s has no effect on a sampler that is ready made", ", ".join(options))
    if not callable(sampler) or isinstance(sampler, type):
        raise MGTError(f"sampler is {sampler!r}; expected something that can be called")
    own |= getattr(sampler, "recommends", {})
    if schedule is None:
        schedule = own["inpainting_schedule" if bool(state.fixed.any()) else "schedule"]
    chosen = steps is not None
    steps, cfg = steps if chosen else own["steps"], own["cfg"] if cfg is None else cfg
    steps, cfg = whole_number("steps", steps, 1, 100_000), finite_number("cfg", cfg, 0, 1000)
    if not chosen:  # samplers that recommend fewer think of one stage
        steps = max(steps, len(model.stage_shares))
    made, fitted = getattr(sampler, "steps_made", int), getattr(sampler, "fitted", lambda own: sampler)
    steps = sum(map(made, stage_steps(model, steps))) if model.in_stages else made(steps)
    return Settled(steps, cfg, schedule_from(schedule), fitted(own))


@torch.inference_mode()
def sample(
    model: MGTModel,
    state: TokenState,
    positive: ConditionInput,
    negative: ConditionInput | None = None,
    *,
    sampler: str | Sampler | None = None,
    schedule: str | MaskSchedule | None = None,
    steps: int | None = None,
    cfg: float | None = None,
    temperature: float | tuple[float, float] | None = None,
    seed: int | Sequence[int] = 0,
    callback: Callback | None = None,
    **options,
) -> TokenState:
    """Fill the masked cells of `state`.

    positive, negative: one Condition each, or Conditions, parts of the picture and of the run.
    sampler, schedule: a registered name or a ready object. cfg: guidance w. temperature: of the
    confidence noise, from the first step to the last (one number t means t to 0.01, as Meissonic's
    pipeline has it). Of these, what is left out is as the model recommends (recommended.py).
    seed: image i uses seed + i; or one seed an image, in a list or array. callback: called after every step with a
    Step. Numbers may be of any library (plain.py).
    options: further settings of the sampler. Raises MGTError for bad input, before any work.
    """
    if temperature is not None:
        options["temperature"] = temperature
    if callback is not None and (not callable(callback) or isinstance(callback, type)):
        raise MGTError(f"callback is {callback!r}; expected something that can be called")
    run = settle(model, state, sampler=sampler, schedule=schedule, steps=steps, cfg=cfg, **options)
    steps, sampler, seeds = run.steps, run.sampler, image_seeds(seed, state.batch, COUNTED[model.makes])
    if getattr(sampler, "looks", False) and model.makes != PICTURES:
        raise MGTError(
            f"the sampler is steered by a reward, which looks at pictures, and this model makes {model.makes}"
        )
    paces = stage_steps(model, steps) if model.in_stages else [steps]
    guidances = {w for each in (model, *model.companions) for n in paces for w in each.guidances(run.cfg, n)}
    guidances.update(getattr(sampler, "guidances", ()))
    conditions = needed_conditions(model, state, {"positive": positive, "negative": negative}, guidances, paces)
    if all(state.first_step(count) == count for count in paces) or not bool(state.to_fill.any()):
        log.warning("there is nothing to do (%s): the tokens are returned as they are", nothing_to_do(state, steps))
        return state if state.strength is None else replace(state, strength=None)
    if note := model.size_note(state.grid):
        log.warning("%s", note)
    return (partial(fill_by_stages, sampler) if model.in_stages else sampler)(
        model,
        state,
        conditions["positive"],
        conditions["negative"],
        schedule=run.schedule,
        steps=steps,
        cfg=run.cfg,
        seeds=seeds,
        callback=callback,
    )


def nothing_to_do(state: TokenState, steps: int) -> str:
    if bool(state.to_fill.any()):
        return f"strength {state.strength:g} leaves none of the {steps} steps"
    return "no cell is masked" if state.strength is None else "every cell is fixed"


def needed_conditions(
    model: MGTModel,
    state: TokenState,
    given: dict[str, ConditionInput | None],
    guidances: set[float],
    paces: Sequence[int],
) -> dict[str, ConditionInput | None]:
    """Both conditions, complete for this run, or None for one that no step looks at. paces: steps of its stages.

    Raises MGTError for one that is needed and missing, and for cells that no condition reaches.
    """
    needed = {"positive": any(w != 0 for w in guidances), "negative": any(w != 1 for w in guidances)}
    for role in needed:
        if needed[role] and given[role] is None:
            values = ", ".join(f"{w:g}" for w in sorted(guidances))
            raise MGTError(f"the run uses guidance {values}, which needs a {role} condition, and none was given")
        for part in condition_parts(given[role]):
            part.check(state.batch, state.grid, role, COUNTED[model.makes])
    told = [(index, steps) for steps in dict.fromkeys(paces) for index in range(state.first_step(steps), steps)]
    gaps = {role: unreached_by_step(given[role], told) for role in needed}
    for role, other in (("positive", "negative"), ("negative", "positive")):
        if needed[role] and not needed[other] and any(bool(gap.any()) for gap in gaps[role]):
            if given[other] is None:
                raise MGTError(
                    f"the {role} condition leaves part of the {ONE[model.makes]} or of the run without a prompt, "
                    f"where the {other} one stands in, and none was given"
                )
            needed[other] = True
    for (index, steps), *both in zip(told, *gaps.values(), strict=True):
        if all(needed.values()) and bool(torch.logical_and(*both).any()):
            raise MGTError(
                f"at step {index + 1} of {steps} neither the positive nor the negative condition reaches every part of "
                f"the {ONE[model.makes]}; add a prompt without mask, area or time range to one of them"
            )
    made = {role: model.complete(given[role], state.batch, state.grid, role) for role in needed if needed[role]}
    return dict.fromkeys(needed) | alike(model.network, made)


def alike(network: Backbone, given: dict[str, ConditionInput]) -> dict[str, ConditionInput]:
    """The conditions of both roles as they share calls of the network (Backbone.alike)."""
    parts = [part.condition for role in given for part in condition_parts(given[role])]
    changed = iter(network.alike(parts))
    return {
        role: held.map(lambda _: next(changed)) if isinstance(held, Conditions) else next(changed)
        for role, held in given.items()
    }


def build_sampler(name: str, options: dict):
    """The registered sampler `name` with those `options` it knows; warns about the others."""
    factory = SAMPLERS.get(name)
    known = {f.name for f in fields(factory)}
    unknown = [option for option in options if option not in known]
    if unknown:
        log.warning("sampler %s: %s has no meaning for it and is ignored", name, ", ".join(unknown))
    return factory(**{option: value for option, value in options.items() if option in known})


def check_model(model: MGTModel, state: TokenState) -> None:
    """Raises MGTError for a state that is none of the model's."""
    if not isinstance(model, MGTModel):
        raise MGTError(f"model is {type(model).__name__}; expected the .model of a loaded bundle")
    if not isinstance(state, TokenState):
        raise MGTError(f"tokens are {type(state).__name__}; expected a TokenState, as empty_tokens gives")
    if state.makes == SOUND:
        check_makes(model.makes, f"a model of {model.makes}", tokens=state)
    if (state.mask_id, state.codebook_size) != (model.mask_id, model.codebook_size):
        raise MGTError(
            f"the tokens belong to another model: theirs has {state.codebook_size} codes and {state.mask_id} for a "
            f"masked cell, this one {model.codebook_size} and {model.mask_id}"
        )
    model.network.check_grid(state.grid)
    state.check()
