"""The states that sampling passes through, recorded once and shown again to networks with other layers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial

import torch
from torch import Tensor, nn

from ..model import MGTModel
from ..sample import sample
from ..sampling.guided import GuidedNetwork
from ..sampling.step import chosen_log_probability
from ..types import Callback, Condition, Step, empty_state
from .calibration import CalibrationRun
from .surgery import replaced

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
    predictions are compared. place: which of the conditions it was sampled for."""

    place: int
    tokens: Tensor
    timestep: Tensor
    cells: Tensor


@dataclass(frozen=True)
class Predicted:
    """Likeliest token of each compared cell [1, M] as the float network has it, and its log-probability."""

    best: Tensor
    score: Tensor


@dataclass(frozen=True)
class Session:
    """One calibration: the model without patches, its conditions, and the progress. run: with every setting filled."""

    model: MGTModel
    conditions: tuple[tuple[Condition, Condition], ...]
    grid: tuple[int, int]
    run: CalibrationRun
    meter: Meter
    callback: Callback | None = None

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
    ) -> "Session":
        """layers: how many will be packed, which counts as progress like the states that are shown."""
        grid = run.grid or (model.grid_for(*model.trained_size) if model.trained_size else model.network.trained_grid)
        steps = run.steps or model.defaults.get("steps", 48)
        cfg = model.defaults.get("cfg", 9.0) if run.cfg is None else run.cfg
        run = replace(run, steps=steps, cfg=cfg, states=min(run.states, steps))
        count = positive.batch
        positive = model.complete(positive, count, grid, "positive")
        negative = model.complete(negative, count, grid, "negative")
        conditions = tuple((nth(positive, place), nth(negative, place)) for place in range(count))
        plain = MGTModel(
            model.network, model.pixels_per_token, model.timestep_rule, model.defaults, placement=model.placement
        )
        total = count * (run.steps + 3 * run.states) + layers
        return cls(plain, conditions, grid, run, Meter(total, progress), callback)

    def record(self) -> list[Recorded]:
        """States of one sampling run for each pair of conditions, evenly spread over its steps."""
        run, states = self.run, []
        wanted = {round(i * (run.steps - 1) / max(1, run.states - 1)) for i in range(run.states)}
        empty = empty_state(1, self.grid, self.model.mask_id, self.model.codebook_size)

        def note(step: Step, place: int) -> None:
            self.meter.tick()
            if self.callback is not None:
                self.callback(step)
            if step.index in wanted:
                states.append(self.recorded(step, place))

        for place, (positive, negative) in enumerate(self.conditions):
            sample(
                self.model,
                empty,
                positive,
                negative,
                steps=run.steps,
                cfg=run.cfg,
                temperature=tuple(self.model.defaults.get("temperature", (2.0, 0.0))),
                seed=run.seed + place,
                callback=partial(note, place=place),
            )
        return states

    def recorded(self, step: Step, place: int) -> Recorded:
        """The state before `step`, and at most about CELLS_COMPARED of its masked cells."""
        masked = (step.tokens == self.model.mask_id).flatten(1)
        count = int(masked.sum())
        ratio = self.model.timestep_rule == "mask_ratio"
        time = count / masked.numel() if ratio else self.run.steps - 1 - step.index
        cells = masked[0].nonzero()[:: -(-count // CELLS_COMPARED), 0][None]
        return Recorded(place, step.tokens, torch.full((1,), float(time), device=cells.device), cells)

    def replay(
        self, layers: Mapping[str, nn.Module], states: Sequence[Recorded], expected: Sequence[Predicted] | None = None
    ) -> list[Predicted]:
        """Show every state to the network with `layers` in it. With `expected`, scores are of its tokens."""
        device = self.model.acquire()
        model = replace(self.model, network=replaced(self.model.network, layers), placement=None)
        pairs = [[condition.to(device) for condition in pair] for pair in self.conditions]
        networks = [GuidedNetwork(model.network, *pair, self.grid) for pair in pairs]
        found = []
        for index, state in enumerate(states):
            logits = networks[state.place].logits(state.tokens, state.timestep, self.run.cfg, state.cells)
            best = logits.argmax(-1)
            score = chosen_log_probability(logits, best if expected is None else expected[index].best)
            found.append(Predicted(best, score))
            self.meter.tick()
        return found


def nth(condition: Condition, place: int) -> Condition:
    """That of one image, as a batch of one."""
    parts = {f.name: getattr(condition, f.name) for f in fields(condition)}
    return Condition(**{name: None if value is None else value[place : place + 1] for name, value in parts.items()})


def compared(expected: Sequence[Predicted], found: Sequence[Predicted]) -> tuple[float, float]:
    """Share of cells whose likeliest token stayed, and the mean change of its log-probability."""
    same = [(a.best == b.best).float().mean() for a, b in zip(expected, found, strict=True)]
    moved = [(a.score - b.score).abs().mean() for a, b in zip(expected, found, strict=True)]
    return float(torch.stack(same).mean()), float(torch.stack(moved).mean())
