"""The states that a calibration looks at, gathered once and shown again to networks with other layers."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial

import torch
from torch import Tensor, nn

from ..backbones.base import Backbone
from ..errors import MGTError
from ..model import MGTModel, told_index
from ..recommended import recommended
from ..sample import sample
from ..sampling.draws import seeded_generator
from ..sampling.guided import GuidedNetwork
from ..sampling.step import chosen_log_probability
from ..self_guidance.objective import mask_some
from ..types import SOUND, Callback, Condition, Step, TokenState, empty_state
from .calibration import CalibrationRun
from .surgery import replaced

MOST_FRAMES = 500  # of the sounds that are made to be looked at
CELLS_COMPARED = 512  # masked cells of every recorded state whose predictions are compared

Progress = Callable[[int, int], None]


@dataclass
class Meter:
    """Counts what is done for a progress bar."""

    total: int
    report: Progress | None
    done: int = 0

    def tick(self) -> None:
        self.done += 1
        if self.report is not None:
            self.report(min(self.done, self.total), self.total)


@dataclass(frozen=True)
class Recorded:
    """A state on the way: tokens [1, h, w] and what the network is told of the time [1]; cells [1, M] whose
    predictions are compared. place: which of the conditions it was sampled for. stage: the row that is being filled of
    a grid that is filled row by row, which the cells are counted in; None for other grids."""

    place: int
    tokens: Tensor
    timestep: Tensor
    cells: Tensor
    stage: int | None = None

    def shown(self, network: Backbone, tokens: Tensor) -> tuple[Backbone, Tensor]:
        """What of `network` looks at it, or at other tokens of its kind, and the grid that this is shown."""
        if self.stage is None:
            return network, tokens
        return network.at_stage(self.stage, self.tokens.to(tokens.device)), tokens[:, self.stage : self.stage + 1]


@dataclass(frozen=True)
class Predicted:
    """Likeliest token of each compared cell [1, M] as the float network has it, and its log-probability."""

    best: Tensor
    score: Tensor


@dataclass(frozen=True)
class Session:
    """One calibration: the model without patches, its conditions, and the progress. run: with every setting filled.
    pictures: [P, h, w] long, where states are made of given ones. finished: tokens [1, h, w] of whole pictures, each
    with the place of its conditions."""

    model: MGTModel
    conditions: tuple[tuple[Condition, Condition], ...]
    grid: tuple[int, int]
    run: CalibrationRun
    meter: Meter
    callback: Callback | None = None
    pictures: Tensor | None = None
    finished: list[tuple[int, Tensor]] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        model: MGTModel,
        positive: Condition,
        negative: Condition,
        run: CalibrationRun,
        layers: int = 0,
        progress: Progress | None = None,
        callback: Callback | None = None,
        pictures: Tensor | None = None,
        replays: int = 3,
    ) -> "Session":
        """layers: how many will be packed, which counts as progress like the states, shown `replays` times each, and
        the pictures of fine-tuning. Raises MGTError for pictures that do not fit the model or the conditions."""
        grid = run.grid or own_grid(model)
        if pictures is not None:
            grid = checked(pictures, model, positive.batch)
        own = recommended(model)
        steps, cfg = run.steps or own["steps"], own["cfg"] if run.cfg is None else run.cfg
        run = replace(run, steps=steps, cfg=cfg, states=min(run.states, steps))
        count = positive.batch
        positive = model.complete(positive, count, grid, "positive")
        negative = model.complete(negative, count, grid, "negative")
        conditions = tuple((nth(positive, place), nth(negative, place)) for place in range(count))
        plain = replace(model, modifiers=(), patches=(), codec=None, trained_size=None, quantization=None, loras=())
        if model.in_stages:  # how guidance falls and steps are divided came with the weights
            pace = (model.patch(name) for name in ("guidance", "stage_steps"))
            plain = replace(plain, patches=tuple(filter(None, pace)))
        shown = replays * run.states * (count if pictures is None else len(pictures))
        total = (count * run.steps if pictures is None else 0) + shown + layers + run.finetune * run.batch
        return cls(plain, conditions, grid, run, Meter(total, progress), callback, pictures)

    def states(self) -> list[Recorded]:
        return self.record() if self.pictures is None else self.masked()

    def masked(self) -> list[Recorded]:
        """Given pictures with a share cos(pi u / 2) of their tokens masked, u uniform, as in training."""
        states = []
        for number, ids in enumerate(self.pictures):
            place = number if len(self.conditions) > 1 else 0
            self.finished.append((place, ids[None]))
            generator = seeded_generator(f"masking {self.run.seed + number}", torch.device("cpu"))
            states += (self.some_masked(place, ids[None], generator) for _ in range(self.run.states))
        return states

    def some_masked(self, place: int, ids: Tensor, generator: torch.Generator) -> Recorded:
        """A finished picture [1, h, w] with a random share of it masked; of a grid that is filled row by row a share of
        any row, and all rows after it."""
        draw = partial(torch.rand, generator=generator)
        stage = int(torch.randint(self.grid[0], (), generator=generator)) if self.model.in_stages else None
        here = ids if stage is None else ids[:, stage]
        numbers = (draw(1), draw(1, here.numel()))
        tokens = mask_some(here.flatten(1), self.model.mask_id, *(n.to(ids.device) for n in numbers))
        if stage is None:
            return self.recorded(tokens.view_as(ids), place)
        whole = ids.clone()
        whole[:, stage], whole[:, stage + 1 :] = tokens, self.model.mask_id
        return self.recorded(whole, place)

    def record(self) -> list[Recorded]:
        """States of one sampling run for each pair of conditions, evenly spread over its steps."""
        run, states = self.run, []
        wanted = {round(i * (run.steps - 1) / max(1, run.states - 1)) for i in range(run.states)}
        empty = empty_state(1, self.grid, self.model.mask_id, self.model.codebook_size, self.model.makes)

        def note(step: Step, place: int) -> None:
            self.meter.tick()
            if self.callback is not None:
                self.callback(step)
            if step.index in wanted:
                states.append(self.recorded(step.tokens, place, step.index))

        for place, (positive, negative) in enumerate(self.conditions):
            made = sample(
                self.model,
                empty,
                positive,
                negative,
                steps=run.steps,
                cfg=run.cfg,
                seed=run.seed + place,
                callback=partial(note, place=place),
            )
            self.finished.append((place, made.tokens))
        return states

    def recorded(self, tokens: Tensor, place: int, index: int | None = None) -> Recorded:
        """A state, and at most about CELLS_COMPARED of its masked cells. index: of the step before which it was; by
        default that at which the cosine schedule leaves as many masked."""
        masked = tokens == self.model.mask_id
        stage = int(masked.any(2)[0].nonzero()[0]) if self.model.in_stages else None  # rows after it are masked too
        masked = masked.flatten(1) if stage is None else masked[:, stage]
        count = int(masked.sum())
        share, last = count / masked.numel(), self.run.steps - 1
        if index is None:
            index = min(last, round(self.run.steps * math.acos(share) * 2 / math.pi))
        rule = self.model.timestep_rule
        time = share if rule == "mask_ratio" else told_index(rule, index, self.run.steps)
        cells = masked[0].nonzero()[:: -(-count // CELLS_COMPARED), 0][None]
        return Recorded(place, tokens, torch.full((1,), float(time), device=cells.device), cells, stage)

    def replay(
        self, layers: Mapping[str, nn.Module], states: Sequence[Recorded], expected: Sequence[Predicted] | None = None
    ) -> list[Predicted]:
        """Show every state to the network with `layers` in it. With `expected`, scores are of its tokens."""
        found = []
        for index, logits in enumerate(self.logits(replaced(self.model.network, layers), states)):
            best = logits.argmax(-1)
            score = chosen_log_probability(logits, best if expected is None else expected[index].best)
            found.append(Predicted(best, score))
            self.meter.tick()
        return found

    def logits(self, network: Backbone, states: Sequence[Recorded]) -> Iterator[Tensor]:
        """Guided logits [1, M, V] of the compared cells of every state, by `network`."""
        device = self.model.acquire()
        pairs = [[condition.to(device) for condition in pair] for pair in self.conditions]
        networks = [GuidedNetwork(network, *pair, self.grid) for pair in pairs]
        for state in states:
            view, tokens = state.shown(network, state.tokens.to(device))
            guided = networks[state.place]
            if state.stage is not None:
                guided = GuidedNetwork(view, *pairs[state.place], tuple(tokens.shape[1:]))
            yield guided.logits(tokens, state.timestep.to(device), self.run.cfg, state.cells.to(device))


def own_grid(model: MGTModel) -> tuple[int, int]:
    """That of training; of long sounds a part, which shows the network no less."""
    if model.trained_size:
        return model.grid_for(*model.trained_size)
    height, width = model.network.trained_grid
    return (height, min(width, MOST_FRAMES)) if model.makes == SOUND else (height, width)


def checked(pictures: Tensor, model: MGTModel, conditions: int) -> tuple[int, int]:
    """Their grid. Raises MGTError for tokens that are not the model's, and for as many conditions as do not fit."""
    if not isinstance(pictures, Tensor) or pictures.ndim != 3 or pictures.is_floating_point() or not len(pictures):
        held = list(pictures.shape) if isinstance(pictures, Tensor) else type(pictures).__name__
        raise MGTError(f"pictures are {held}; expected their tokens [pictures, h, w], as picture_tokens gives")
    TokenState(pictures, torch.zeros_like(pictures, dtype=torch.bool), model.mask_id, model.codebook_size).check()
    if bool((pictures == model.mask_id).any()):
        raise MGTError("pictures have masked tokens; calibrating masks whole ones by itself")
    if conditions not in (1, len(pictures)):
        raise MGTError(
            f"there are {len(pictures)} pictures and {conditions} prompts; give one prompt, or one for each picture"
        )
    grid = tuple(pictures.shape[1:])
    model.network.check_grid(grid)
    return grid


def nth(condition: Condition, place: int) -> Condition:
    """That of one image, as a batch of one."""
    parts = {f.name: getattr(condition, f.name) for f in fields(condition)}
    return Condition(**{name: None if value is None else value[place : place + 1] for name, value in parts.items()})


def compared(expected: Sequence[Predicted], found: Sequence[Predicted]) -> tuple[float, float]:
    """Share of cells whose likeliest token stayed, and the mean change of its log-probability."""
    same = [(a.best == b.best).float().mean() for a, b in zip(expected, found, strict=True)]
    moved = [(a.score - b.score).abs().mean() for a, b in zip(expected, found, strict=True)]
    return float(torch.stack(same).mean()), float(torch.stack(moved).mean())
