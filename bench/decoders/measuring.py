"""What every decoder costs on the built-in model: calls, and the work of a step outside the network.

Seconds are those of the processor, one thread; a step's work outside the network (guidance, drawing, choosing,
bookkeeping) is told as a share of what MaskGIT spends inside it in a step. The built-in network is small, so that
these shares are as large as they get.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch

import mgt_core

from ..hardware import in_short
from ..pace import Pace, mean
from ..speed.runs import Clock, network_clock
from .rows import ROWS, Row

PROMPTS = ("a fox on a blue background", "a bee and a heart on a white background", "a red apple on a gray background")
OBJECTS = ("bee", "heart")  # of the second, for a sampler that is told them
STEPS, GUIDANCE = 24, 2.0
REPEATS = 3
PLAIN = "maskgit"


@dataclass(frozen=True)
class Cost:
    """Of a picture. steps: that were made. inside, outside: seconds of a run in the network and beside it."""

    calls: float
    passes: float
    steps: int
    inside: float
    outside: float


def sampler_of(name: str, row: Row, pipe: mgt_core.Pipeline, prompt: str) -> mgt_core.Sampler:
    settings = dict(row.settings)
    if row.hook == "attention":
        settings["objects"] = (mgt_core.object_words(pipe.text, prompt, OBJECTS),)
    return mgt_core.SAMPLERS.get(name)(**settings)


def cost(pipe: mgt_core.Pipeline, sampler: mgt_core.Sampler, prompt: str, seed: int) -> Cost:
    """Of one picture."""
    pace, steps = Pace(sampler), []

    def see(step: mgt_core.Step) -> None:
        pace(step)
        steps.append(step.index)

    positive, negative = pipe.text.encode([prompt]), pipe.text.encode("")
    state, device = mgt_core.empty_tokens(pipe, *pipe.size), torch.device("cpu")
    clock = Clock(device, time.process_time)
    with network_clock(pipe.model.network, device, time.process_time) as inside:
        mgt_core.sample(
            pipe.model,
            state,
            positive,
            negative,
            sampler=sampler,
            steps=STEPS,
            cfg=GUIDANCE,
            seed=seed,
            callback=see,
        )
    whole, within = clock.lap(), sum(inside.values())
    ((calls, passes),) = pace.costs
    return Cost(calls, passes, len(set(steps)), within, whole - within)


def measure(pipe: mgt_core.Pipeline, tell: Callable[[str], None] = lambda line: None) -> dict:
    """Figures of every decoder by name; decoders take turns, so that a slow moment meets all of them."""
    costs: dict[str, list[Cost]] = {name: [] for name in ROWS}
    prompt = PROMPTS[1]
    for repeat in range(-1, REPEATS):  # the first warms up
        for name, row in ROWS.items():
            found = cost(pipe, sampler_of(name, row, pipe, prompt), prompt, max(repeat, 0))
            if repeat >= 0:
                costs[name].append(found)
        tell(f"{repeat + 1} of {REPEATS}")
    step = median(own.inside / own.calls for own in costs[PLAIN])
    return {
        "hardware": in_short(),
        "steps": STEPS,
        "guidance": GUIDANCE,
        "network_seconds_a_step": step,
        "decoders": {name: figures(own, step) for name, own in costs.items()},
    }


def figures(costs: list[Cost], step: float) -> dict:
    """outside, inside: medians over the runs, of a call, as shares of what a plain step spends in the network."""
    return {
        "calls": mean([own.calls for own in costs]),
        "passes": mean([own.passes for own in costs]),
        "inside": median(own.inside / own.calls for own in costs) / step,
        "outside": median(own.outside / own.calls for own in costs) / step,
    }
