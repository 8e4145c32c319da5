"""One way to decode, and what it makes of some prompts."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch

import mgt_core
from recipe.data.scenes import Scene
from recipe.judge.reading import PairVerdict, Verdict
from recipe.judge.scores import score

from ..pace import Pace, mean

BATCH = 24


@dataclass(frozen=True)
class Case:
    """One way to decode. attach: what is added to the model; settings: what differs in `sample`; scheme: that the
    model's weights are packed by."""

    name: str
    attach: Callable[[mgt_core.MGTModel], mgt_core.MGTModel] = lambda model: model
    settings: dict = field(default_factory=dict)
    scheme: str | None = None


@dataclass(frozen=True)
class Decoded:
    """images: [P, H, W, 3] float; tokens: [P, h, w]; calls and passes (a guided call is two) an image, a mean where
    images go at their own pace; seconds of the processor in all, on a GPU those of the clock."""

    images: np.ndarray
    tokens: torch.Tensor
    calls: float
    passes: float
    seconds: float


@dataclass(frozen=True)
class Outcome(Decoded):
    """With what the judge reads in the pictures."""

    verdicts: list[Verdict | PairVerdict]
    figures: dict


def decode(
    pipe: mgt_core.Pipeline,
    case: Case,
    scenes: list[Scene],
    settings: dict,
    seed: int,
    given: mgt_core.TokenState | None = None,
) -> Decoded:
    """Decode every prompt once; prompt i always gets the seed `seed + i`. given: what a run begins with, an image a
    prompt; all masked by default."""
    pipe = mgt_core.quantize_pipeline(pipe, case.scheme)
    model, options = case.attach(pipe.model), settings | case.settings
    sampler = options.get("sampler", "maskgit")
    if isinstance(sampler, mgt_core.ConfidenceSampler):
        options["sampler"] = replace(sampler, temperature=options.pop("temperature"))
    elif isinstance(sampler, mgt_core.Sampler):
        del options["temperature"]  # it has none
    costs, tokens, images = [], [], []
    on_gpu = next(model.network.parameters()).is_cuda
    clock = time.perf_counter if on_gpu else time.process_time
    started = clock()
    for start in range(0, len(scenes), BATCH):
        prompts = [scene.caption for scene in scenes[start : start + BATCH]]
        state = mgt_core.empty_tokens(pipe, *pipe.size, batch=len(prompts))
        if given is not None:
            here = slice(start, start + BATCH)
            state = replace(state, tokens=given.tokens[here], fixed=given.fixed[here])
        pace = Pace(sampler)
        state = mgt_core.sample(
            model,
            state,
            pipe.text.encode(prompts),
            pipe.text.encode(""),
            seed=seed + start,
            callback=pace,
            **options,
        )
        costs += pace.costs
        tokens.append(state.tokens)
        images.append(pipe.codec.decode(state).float().cpu().numpy())
    calls, passes = (mean(counts) for counts in zip(*costs, strict=True))
    return Decoded(np.concatenate(images), torch.cat(tokens), calls, passes, clock() - started)


def run_case(pipe: mgt_core.Pipeline, case: Case, scenes: list[Scene], settings: dict, seed: int) -> Outcome:
    """Decode every prompt once and have the pictures judged."""
    done = decode(pipe, case, scenes, settings, seed)
    figures, verdicts = score(scenes, done.images)
    return Outcome(**vars(done), verdicts=verdicts, figures=figures)


def right(scenes: list[Scene], verdicts: list[Verdict | PairVerdict]) -> np.ndarray:
    """[P] bool: background, objects and their places as asked for."""
    return np.array([v.drawn(scene) and v.colour == scene.colour for v, scene in zip(verdicts, scenes, strict=True)])


def compare(scenes: list[Scene], outcome: Outcome, vanilla: Outcome) -> dict:
    """Figures of a case and, prompt by prompt, what it gained and lost against vanilla."""
    ours, theirs = right(scenes, outcome.verdicts), right(scenes, vanilla.verdicts)
    return {
        **outcome.figures,
        "gained": int((ours & ~theirs).sum()),
        "lost": int((~ours & theirs).sum()),
        "judge_distance": round(float(np.mean([v.distance for v in outcome.verdicts])), 3),
        "tokens_as_vanilla": round(float((outcome.tokens == vanilla.tokens).float().mean()), 3),
        "calls": outcome.calls,
        "passes": outcome.passes,
        "relative_time": round(outcome.seconds / vanilla.seconds, 2),
    }
