"""The step loop of masked decoding, and `sample`, which checks its input and runs a sampler.

Semantics of MaskGIT (arXiv 2202.04200, section 3.2) as Meissonic (arXiv 2410.08261) runs it.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial

import torch
from torch import Tensor

from ..backbones.hooks import RunPatches
from ..conditioning.parts import Given, parts_of, unreached_by_step
from ..errors import MGTError, finite_number, whole_number
from ..model import MGTModel
from ..placement import sent
from ..registry import SAMPLERS
from ..schedules.base import MaskSchedule, schedule_from, still_masked
from ..types import Callback, Step, TokenState
from .draws import ROWS, Draws, GeneratorDraws, image_generators
from .finite import FiniteWatch, non_finite_origin
from .guided import AT_ONCE, GuidedNetwork, GuidedRows

log = logging.getLogger(__name__)

DrawSource = Callable[[Sequence[torch.Generator], int], Draws]
SEED_SPAN = 2**64


@dataclass(frozen=True)
class StepResult:
    """What one decoding step computed, for the cells that were to be filled.

    tokens: [B, N] after the step. left: masked cells of each image after it. positions: [B, M] cells.
    logits: [B, M, V] guided, before modifiers, of a run that works `at_once`, else None.
    drawn: [B, M] ids and their log_probability [B, M].
    confidence: [B, M] (None at the last step). kept: [B, M] bool, cells revealed now. noise: [B, N] in the
    confidence of every cell, where there was any.
    """

    tokens: Tensor
    left: list[int]
    positions: Tensor
    logits: Tensor | None
    drawn: Tensor
    log_probability: Tensor
    confidence: Tensor | None
    kept: Tensor
    noise: Tensor | None = None


class Run:
    """One sampling run: the prepared network, the random draws, and what modifiers remember.

    Samplers are short loops over its parts; everything it holds ends with it. keeps_logits: whether the sampler
    has a modifier of its own that keeps a step's logits.
    """

    def __init__(
        self,
        model: MGTModel,
        state: TokenState,
        positive: Given | None,
        negative: Given | None,
        *,
        schedule: MaskSchedule,
        steps: int,
        cfg: float,
        seeds: Sequence[int],
        temperatures: Sequence[float],
        callback: Callback | None = None,
        draws: DrawSource = GeneratorDraws,
        keeps_logits: bool = False,
    ):
        self.model, self.steps, self.seeds = model, steps, tuple(seeds)
        self.cfgs = guidance_values(model, cfg, steps)
        parts = [len(parts_of(condition)) for condition in (positive, negative)]
        evaluated = sum(parts) if any(w not in (0, 1) for w in self.cfgs) else max(parts)
        self.state, self.callback = state, callback
        self.grid, self.cells = state.grid, state.grid[0] * state.grid[1]
        self.generators = image_generators(self.seeds)
        self.draws = draws(self.generators, self.cells)
        self.whole_table = any(modifier.all_positions for modifier in model.modifiers)
        # Whether a step's logits are one table, as what keeps them needs it, or computed a part of the rows at a time.
        by_rows = hasattr(self.draws, "chooser") and all(modifier.by_rows for modifier in model.modifiers)
        self.at_once = self.whole_table or keeps_logits or not by_rows
        acting = len(model.modifiers) + keeps_logits
        self.device = model.acquire(activation_bytes(model, state, evaluated, acting, self.at_once))
        self.network = GuidedNetwork(
            model,
            positive.to(self.device) if positive is not None else None,
            negative.to(self.device) if negative is not None else None,
            state.grid,
            RunPatches(model),
            model.reuse.begin() if model.reuse is not None else None,
            branch=model.self_guidance.begin(model.network) if model.self_guidance is not None else None,
        )
        self.modifiers = [modifier.begin() for modifier in model.modifiers]
        self.finite = FiniteWatch(self.device)
        self.temperatures = list(temperatures)

        self.left = state.to_fill.flatten(1).sum(1).tolist()
        self.targets = [schedule.targets(steps, count) for count in self.left]
        self.tokens = state.tokens.flatten(1).to(self.device)
        self.given = ~state.to_fill.flatten(1).to(self.device)
        self.first = state.first_step(steps)
        if state.strength is not None:
            self.mask_again()
        self.revealed_at = torch.full_like(self.tokens, -1)
        self.confidence = torch.zeros_like(self.tokens, dtype=torch.float32)
        if state.confidence is not None:
            self.confidence = state.confidence.flatten(1).to(self.confidence) * (self.tokens != model.mask_id)

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
            to_come = self.steps - self.first
            wanted = [still_masked(t[self.first - 1], n, to_come) for t, n in zip(self.targets, self.left, strict=True)]
            self.left = [max(n, held) for n, held in zip(wanted, masked.sum(1).tolist(), strict=True)]
        self.tokens = self.tokens.masked_fill(least_confident(order, ~self.given, self.left), self.model.mask_id)

    def timestep(self, tokens: Tensor, index: int) -> Tensor:
        """[B] what the network is told at step `index` (see MGTModel.timestep_rule)."""
        if self.model.timestep_rule == "mask_ratio":
            return (tokens == self.model.mask_id).float().mean(1)
        return torch.full((tokens.shape[0],), float(self.steps - 1 - index), device=self.device)

    def step(self, tokens: Tensor, index: int, **details) -> Step:
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

    def guided(
        self,
        tokens: Tensor,
        index: int,
        cfg: float,
        masked: Sequence[int],
        positions: Tensor | None = None,
        aside: bool = False,
    ) -> GuidedRows:
        """Guided logits at `positions` (all cells when None).

        tokens: [B, N], of which each image has `masked`; index: the step the network is told;
        aside: whether Self-Guidance takes part, where the model has it.
        """
        beside = self.model.self_guidance
        scale = beside.scale if aside and beside is not None and beside.acts(index, self.steps) else 0.0
        self.network.enter(index, self.steps, [count == self.cells for count in masked])
        return self.network.evaluate(
            tokens.unflatten(1, self.grid), self.timestep(tokens, index), cfg, positions, (index, self.steps), scale
        )

    def modified(self, logits: Tensor, step: Step) -> Tensor:
        for modifier in self.modifiers:
            logits = modifier(logits, step)
        return logits

    def forward(
        self,
        tokens: Tensor,
        index: int,
        before: list[int] | None = None,
        visit: int = 0,
        ranks: Tensor | None = None,
        wanted: Tensor | None = None,
    ) -> StepResult:
        """One ordinary decoding step from `tokens` [B, N]: draw every masked cell, keep the surest.

        before: masked cells of each image in `tokens`, those of the run's own state by default.
        ranks: [B, N] keeps those of lowest rank instead. wanted: [B, N] bool, the cells to draw, masked or not,
        of which each image has `before`.
        """
        before = self.left if before is None else before
        unknown = before if wanted is None else [0] * len(before)
        wanted = tokens == self.model.mask_id if wanted is None else wanted
        # As many rows as the fullest image needs, known without asking the device.
        positions, masked = first_positions(wanted, max(before))
        table = self.all_cells(tokens) if self.whole_table else positions

        def evaluate() -> GuidedRows:
            return self.guided(tokens, index, self.cfgs[index], unknown, table, aside=True)

        guided = evaluate()
        step = self.step(tokens, index, positions=table, masked=wanted.gather(1, table), visit=visit)
        logits = None
        if self.at_once:
            logits = guided.rows()
            modified = self.modified(logits, step)
            if self.whole_table:
                logits, modified = (take_cells(values, positions) for values in (logits, modified))
            step = replace(step, positions=positions, masked=masked)
            drawn = self.draws.categorical(modified, step)
            log_probability = chosen_log_probability(modified, drawn)
        else:
            drawn, log_probability = self.choose(guided, step)
        self.check_finite(log_probability, index, lambda: evaluate().rows())
        left, confidence, kept, noise = [0] * len(before), None, masked, None
        if index < self.steps - 1:
            to_come = self.steps - 1 - index
            left = [still_masked(t[index], count, to_come) for t, count in zip(self.targets, before, strict=True)]
            if ranks is not None:
                confidence = -ranks.gather(1, positions).float()
            else:
                noise = self.temperatures[index] * self.draws.gumbel(step)
                confidence = log_probability + noise.gather(1, positions)
            kept = masked & ~least_confident(confidence, masked, left)
        return StepResult(
            tokens=tokens.scatter(1, positions, torch.where(kept, drawn, tokens.gather(1, positions))),
            left=left,
            positions=positions,
            logits=logits,
            drawn=drawn,
            log_probability=log_probability,
            confidence=confidence,
            kept=kept,
            noise=noise,
        )

    def chooser(self, step: Step) -> Callable[[Tensor, Step], Tensor]:
        """Draws ids [B, m] for some of the step's cells, given their logits and the step narrowed to them."""
        if not hasattr(self.draws, "chooser"):
            return self.draws.categorical  # recorded draws, looked up by cell
        choose = self.draws.chooser(step)
        return lambda logits, own: choose(logits, own.positions)

    def choose(self, guided: GuidedRows, step: Step) -> tuple[Tensor, Tensor]:
        """Ids [B, M] drawn for the step's cells, and their log-probability, with ROWS rows of logits at a time."""
        choose = self.chooser(step)

        def draw(logits: Tensor, own: Step) -> tuple[Tensor, Tensor]:
            logits = self.modified(logits, own)
            drawn = choose(logits, own)
            return drawn, chosen_log_probability(logits, drawn)

        return by_parts(guided, step, draw)

    def accept(self, result: StepResult, index: int) -> None:
        """Make `result` the state of the run, note what it revealed, and tell the callback."""
        before, self.tokens, self.left = self.tokens, result.tokens, result.left
        known = self.tokens != self.model.mask_id
        self.revealed_at = torch.where(known & (self.tokens != before), index, self.revealed_at)
        self.revealed_at = self.revealed_at.masked_fill(~known, -1)
        self.remember(result)
        self.confidence = self.confidence.masked_fill(~known, 0)
        if self.callback is not None:
            outcome = partial(self.now().to, self.state.tokens.device)
            self.callback(replace(self.step(before, index), outcome=outcome))

    def remember(self, result: StepResult) -> None:
        """Note the log-probability of the tokens that `result` reveals; `accept` does so for its own."""
        old = self.confidence.gather(1, result.positions)
        chosen = torch.where(result.kept, result.log_probability, old)
        self.confidence = self.confidence.scatter(1, result.positions, chosen)

    def finish(self) -> TokenState:
        """The state at the end, on the device the run was given its tokens on."""
        self.finite.settle()
        return self.now().to(self.state.tokens.device)

    def now(self) -> TokenState:
        """The state now, on the device that computes."""
        shaped = {
            "tokens": self.tokens.unflatten(1, self.grid),
            "revealed_at": self.revealed_at.unflatten(1, self.grid),
            "confidence": self.confidence.unflatten(1, self.grid),
        }
        return replace(self.state, strength=None, **shaped)

    def all_cells(self, tokens: Tensor) -> Tensor:
        """[B, N] every cell of every image."""
        return torch.arange(self.cells, device=self.device).expand(tokens.shape[0], -1)

    def check_finite(self, values: Tensor, index: int, evaluate: Callable[[], Tensor]) -> None:
        """Raises MGTError naming the step and the layer where the numbers broke; `evaluate` breaks them again.

        On a GPU it does so at a later step, when the answer has arrived."""

        def report() -> None:
            origin = non_finite_origin(self.model.network, evaluate)
            place = f"step {index + 1} of {self.steps}"
            raise MGTError(f"the logits of {place} are not finite; they first appear in {origin}")

        self.finite.add(values.isfinite().all(), report)


def by_parts(
    guided: GuidedRows, step: Step, compute: Callable[[Tensor, Step], tuple[Tensor, ...]]
) -> tuple[Tensor, ...]:
    """What `compute` makes of the logits [B, m, V] and the step of some cells, [B, M] of all the step's cells."""
    size, results = max(1, ROWS // len(step.positions)), []
    for start in range(0, step.positions.shape[1], size):
        part = slice(start, start + size)
        own = replace(step, positions=step.positions[:, part], masked=step.masked[:, part])
        results.append(compute(guided.rows(part), own))
    return tuple(torch.cat(values, dim=1) for values in zip(*results, strict=True))


def first_positions(wanted: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Cells where `wanted` [B, N] bool holds: positions [B, most] in row-major order, and whether each
    is wanted [B, most] (images with fewer are padded with other cells)."""
    order = torch.argsort((~wanted).to(torch.uint8), dim=1, stable=True)[:, :most]
    return order, wanted.gather(1, order)


def chosen_log_probability(logits: Tensor, ids: Tensor) -> Tensor:
    """log softmax(logits)[id]. logits: [B, M, V], ids: [B, M] -> [B, M] float32."""
    return logits.gather(-1, ids[..., None])[..., 0] - logits.logsumexp(-1)


def least_confident(confidence: Tensor, candidates: Tensor, counts: Sequence[int]) -> Tensor:
    """[B, M] bool: as many candidates of smallest confidence [B, M] as `counts` says for each image;
    ties go to the first cell."""
    rank = confidence.masked_fill(~candidates, math.inf).argsort(dim=1, stable=True).argsort(dim=1)
    return rank < sent(torch.tensor(counts), rank.device)[:, None]


def take_cells(values: Tensor, positions: Tensor) -> Tensor:
    """Rows [B, M, V] of a table over all cells [B, N, V]."""
    return values.gather(1, positions[..., None].expand(-1, -1, values.shape[-1]))


def activation_bytes(model: MGTModel, state: TokenState, evaluated: int, modifiers: int, at_once: bool) -> int:
    """Rough peak of a step beside the weights: the widest activations of the network, what the token cache and
    Self-Guidance hold, and tables of logits, of all cells if `at_once` and otherwise of ROWS of them.

    evaluated: conditions a step looks at. modifiers: how many act; one of them sorts its table at a time, and
    each may keep one."""
    cells, size = state.batch * state.grid[0] * state.grid[1], model.dtype.itemsize
    network, held = model.network, 0
    rows = cells // network.row_side**2
    if model.cache is not None:
        held += rows * evaluated * network.kept_width * size
    width = max((getattr(m, "out_features", 1) for m in network.modules()), default=1)
    held += min(evaluated, AT_ONCE) * 3 * rows * width * size
    if model.self_guidance is not None:  # its branch comes along for the run, and its pass comes after the others
        held += sum(p.numel() for p in model.self_guidance.branch.parameters()) * size
        evaluated += 1
    table = 4 * model.codebook_size * (cells if at_once else min(cells, max(ROWS, state.batch)))
    drawing = 3 * 4 * model.codebook_size * min(cells, ROWS)  # softmax, and its sum in float64
    return held + drawing + table * (evaluated + (4 + modifiers if modifiers else 0))


def guidance_values(model: MGTModel, cfg: float, steps: int) -> list[float]:
    """Guidance of every step."""
    schedule = model.guidance
    return [cfg if schedule is None else schedule.at(cfg, index, steps) for index in range(steps)]


def image_seeds(seed: int, batch: int) -> tuple[int, ...]:
    """Seed of each image, `seed + index`."""
    return tuple((seed + index) % SEED_SPAN for index in range(batch))


@torch.inference_mode()
def sample(
    model: MGTModel,
    state: TokenState,
    positive: Given,
    negative: Given | None = None,
    *,
    sampler="maskgit",
    schedule: str | MaskSchedule = "cosine",
    steps: int = 48,
    cfg: float = 9.0,
    temperature: float | tuple[float, float] | None = None,
    seed: int = 0,
    callback: Callback | None = None,
    **options,
) -> TokenState:
    """Fill the masked cells of `state`.

    positive, negative: one Condition each, or Conditions, parts of the picture and of the run.
    sampler, schedule: a registered name or a ready object. cfg: guidance w. temperature: of the
    confidence noise, from the first step to the last (one number t means t to 0.01, as Meissonic's
    pipeline has it). seed: image i uses seed + i. callback: called after every step with a Step.
    options: further settings of the sampler. Raises MGTError for bad input, before any work.
    """
    if temperature is not None:
        options["temperature"] = temperature
    if isinstance(sampler, str):
        sampler = build_sampler(sampler, options)
    elif options:
        log.warning("sample: %s has no effect on a sampler that is ready made", ", ".join(options))
    for name, value in (("sampler", sampler), ("callback", callback)):
        if (not callable(value) or isinstance(value, type)) and (name, value) != ("callback", None):
            raise MGTError(f"{name} is {value!r}; expected something that can be called")
    checks(model, state, steps, cfg, seed)
    steps = getattr(sampler, "steps_made", int)(steps)
    guidances = {*guidance_values(model, float(cfg), steps), *getattr(sampler, "guidances", ())}
    conditions = needed_conditions(model, state, {"positive": positive, "negative": negative}, guidances, steps)
    if state.first_step(steps) == steps or not bool(state.to_fill.any()):
        log.warning("there is nothing to do (%s): the tokens are returned as they are", nothing_to_do(state, steps))
        return state if state.strength is None else replace(state, strength=None)
    if note := model.size_note(state.grid):
        log.warning("%s", note)
    return sampler(
        model,
        state,
        conditions["positive"],
        conditions["negative"],
        schedule=schedule_from(schedule),
        steps=steps,
        cfg=float(cfg),
        seeds=image_seeds(seed, state.batch),
        callback=callback,
    )


def nothing_to_do(state: TokenState, steps: int) -> str:
    if state.first_step(steps) == steps:
        return f"strength {state.strength:g} leaves none of the {steps} steps"
    return "no cell is masked" if state.strength is None else "every cell is fixed"


def needed_conditions(
    model: MGTModel, state: TokenState, given: dict[str, Given | None], guidances: set[float], steps: int
) -> dict[str, Given | None]:
    """Both conditions, complete for this run, or None for one that no step looks at.

    Raises MGTError for one that is needed and missing, and for cells that no condition reaches.
    """
    needed = {"positive": any(w != 0 for w in guidances), "negative": any(w != 1 for w in guidances)}
    for role in needed:
        if needed[role] and given[role] is None:
            values = ", ".join(f"{w:g}" for w in sorted(guidances))
            raise MGTError(f"the run uses guidance {values}, which needs a {role} condition, and none was given")
        for part in parts_of(given[role]):
            part.check(state.batch, state.grid, role)
    indices = range(state.first_step(steps), steps)
    gaps = {role: unreached_by_step(given[role], indices, steps) for role in needed}
    for role, other in (("positive", "negative"), ("negative", "positive")):
        if needed[role] and not needed[other] and any(bool(gap.any()) for gap in gaps[role]):
            if given[other] is None:
                raise MGTError(
                    f"the {role} condition leaves part of the picture or of the run without a prompt, "
                    f"where the {other} one stands in, and none was given"
                )
            needed[other] = True
    for index, *both in zip(indices, *gaps.values(), strict=True):
        if all(needed.values()) and bool(torch.logical_and(*both).any()):
            raise MGTError(
                f"at step {index + 1} of {steps} neither the positive nor the negative condition reaches every part of "
                "the picture; add a prompt without mask, area or time range to one of them"
            )
    return {
        role: model.complete(given[role], state.batch, state.grid, role) if needed[role] else None for role in needed
    }


def build_sampler(name: str, options: dict):
    """The registered sampler `name` with those `options` it knows; warns about the others."""
    factory = SAMPLERS.get(name)
    known = {f.name for f in fields(factory)}
    unknown = [option for option in options if option not in known]
    if unknown:
        log.warning("sampler %s: %s has no meaning for it and is ignored", name, ", ".join(unknown))
    return factory(**{option: value for option, value in options.items() if option in known})


def checks(model: MGTModel, state: TokenState, steps: int, cfg: float, seed: int) -> None:
    """Raises MGTError for settings that no sampler accepts."""
    if not isinstance(model, MGTModel):
        raise MGTError(f"model is {type(model).__name__}; expected the .model of a loaded bundle")
    if not isinstance(state, TokenState):
        raise MGTError(f"tokens are {type(state).__name__}; expected a TokenState, as empty_tokens gives")
    whole_number("steps", steps, 1, 100_000)
    whole_number("seed", seed, 0, SEED_SPAN - 1)
    finite_number("cfg", cfg, 0, 1000)
    if (state.mask_id, state.codebook_size) != (model.mask_id, model.codebook_size):
        raise MGTError(
            f"the tokens belong to another model: they have mask id {state.mask_id} and {state.codebook_size} codes, "
            f"this model {model.mask_id} and {model.codebook_size}"
        )
    model.network.check_grid(state.grid)
    state.check()
