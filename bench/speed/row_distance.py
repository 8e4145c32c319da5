"""How far a row is from the plain path, on a model with real weights: the built-in one.

The states of a plain run are given to the row again, step by step, with the same uniform draws; what it
computes there is compared with the plain path's distributions and draws. The judge then reads whole pictures.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

import mgt_core
from recipe.data.scenes import Scene
from recipe.judge.pictures import model_settings

from ..quality import Case, run_case, single_objects
from .rows import Row

REPLAYED = 8  # prompts whose states are compared, which bounds the tables held


@dataclass(frozen=True)
class Record(mgt_core.Modifier):
    """Changes nothing; keeps the log-probabilities [M, V] of the masked cells that it is handed, by step."""

    kept: list[Tensor] = field(default_factory=list)

    def begin(self):
        def keep(logits: Tensor, step: mgt_core.Step) -> Tensor:
            self.kept.append(logits[step.masked].log_softmax(-1).cpu())
            return logits

        return keep


@dataclass(frozen=True)
class Replay(mgt_core.ConfidenceSampler):
    """Visits given states instead of its own. states: [B, N] tokens before each step; drawn: what each step
    draws for its masked cells."""

    states: tuple[Tensor, ...] = ()
    drawn: list[Tensor] = field(default_factory=list)

    def loop(self, run) -> None:
        for index, tokens in enumerate(self.states):
            masked = (tokens == run.model.mask_id).sum(1).tolist()
            drawn = run.draw(index, tokens.to(run.device), masked)
            run.noise(drawn)  # so that the next step draws what the plain run's did
            self.drawn.append(drawn.tokens[drawn.cells].cpu())


@dataclass(frozen=True)
class Plain:
    """A plain run over the first prompts: its states, and what it computes there."""

    positive: mgt_core.Condition
    negative: mgt_core.Condition
    state: mgt_core.TokenState
    settings: dict
    states: tuple[Tensor, ...]
    logs: list[Tensor]
    drawn: list[Tensor]


def plain_run(pipe: mgt_core.Pipeline, scenes: list[Scene], settings: dict, seed: int = 0) -> Plain:
    positive, negative = pipe.text.encode([scene.caption for scene in scenes]), pipe.text.encode("")
    state, states = mgt_core.empty_tokens(pipe, *pipe.size, batch=len(scenes)), []
    mgt_core.sample(
        pipe.model,
        state,
        positive,
        negative,
        seed=seed,
        callback=lambda step: states.append(step.tokens.flatten(1).cpu()),
        **settings,
    )
    plain = Plain(positive, negative, state, settings, tuple(states), [], [])
    logs, drawn = replay(pipe.model, plain, seed)
    return Plain(positive, negative, state, settings, tuple(states), logs, drawn)


def replay(model: mgt_core.MGTModel, plain: Plain, seed: int = 0) -> tuple[list[Tensor], list[Tensor]]:
    """Log-probabilities and draws of `model` in the states of the plain run, step by step."""
    record, sampler = Record(), Replay(plain.settings["temperature"], states=plain.states)
    mgt_core.sample(
        model.with_modifier(record),
        plain.state,
        plain.positive,
        plain.negative,
        sampler=sampler,
        seed=seed,
        **{name: value for name, value in plain.settings.items() if name != "temperature"},
    )
    return record.kept, sampler.drawn


def measure_distance(
    load: Callable[[str], mgt_core.Pipeline], rows: list[Row], count: int, base: str, steps: int | None = None
) -> dict:
    """Figures by row, with the settings of the runs.

    load: dtype name -> the built-in pipeline; count: prompts that the judge sees; base: dtype of the plain
    path; steps: of a run, the bundle's own number by default.
    """
    scenes = single_objects(count)
    pipe = load(base)
    settings = model_settings(pipe)
    settings |= {"steps": steps or settings["steps"]}
    plain = plain_run(pipe, scenes[:REPLAYED], settings)
    figures = {}
    for row in rows:
        own = load(row.dtype or base)
        logs, drawn = replay(row.attach(own.model), plain)
        judged = run_case(own, Case(row.name, row.attach), scenes, settings, seed=0).figures
        figures[row.name] = {
            "kl": mean(kl(p, q) for p, q in zip(plain.logs, logs)),
            "tokens_agree": mean((a == b).float() for a, b in zip(plain.drawn, drawn)),
            "object_accuracy": judged["object"]["share"],
            "background_accuracy": judged["background"]["share"],
            "object_interval95": judged["object"]["interval95"],
        }
    return {"prompts": count, "settings": settings, "rows": figures}


def kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) of log-probabilities [M, V] -> [M], in nats."""
    return (p.double().exp() * (p.double() - q.double())).sum(-1)


def mean(parts: Iterable[Tensor]) -> float:
    """Over all elements of all tensors."""
    return float(torch.cat([part.flatten() for part in parts]).double().mean())
