"""What a step of a run costs beside its seconds: kernels and launches, operations, arithmetic, time of the host.

A step is the difference of two runs of different length over the number of steps between them, so that what is done
once a run is left out; that number is a whole period of what does not act in every step.
"""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from math import lcm
from statistics import median

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import mgt_core

from ..speed.rows import TECHNIQUES
from ..speed.runs import NEGATIVE, Settings, prompts
from .rows import DeviceRow

Sample = Callable[..., mgt_core.TokenState]  # (steps, callback=None)
FIRST = 2  # steps of the shorter run
WHOLE = 8  # steps of a period that is not known


class Operations(TorchDispatchMode):
    """Counts what is dispatched, but for views."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def sampling(pipe: mgt_core.Pipeline, settings: Settings, batch: int) -> Sample:
    """Runs with the text encoded beforehand, and the tokens on the device that computes."""
    state = mgt_core.empty_tokens(pipe, settings.size, settings.size, batch).to(pipe.model.acquire())
    conditions = pipe.text.encode(prompts(batch)), pipe.text.encode(NEGATIVE)
    fixed = {"cfg": settings.cfg, "temperature": settings.temperature, "seed": 0}
    return lambda steps, callback=None: mgt_core.sample(
        pipe.model, state, *conditions, steps=steps, callback=callback, **fixed
    )


def period(row: DeviceRow) -> int:
    every = [getattr(TECHNIQUES[name].part, "every", None) for name in row.parts]
    if row.exact or not row.parts:
        return 2
    return lcm(2, *(n or 1 for n in every)) if any(every) else WHOLE


def a_step(measure: Callable[[int], Counter], steps: int) -> dict[str, float]:
    """Of what `measure` counts in a run of so many steps."""
    short, long = measure(FIRST), measure(FIRST + steps)
    return {f"{name}_a_step": (long[name] - short[name]) / steps for name in long}


def operations(sample: Sample, steps: int) -> dict[str, float]:
    """For a CPU, where nothing is launched: what would be about as many kernels on a card."""

    def count(steps: int) -> Counter:
        with Operations() as found:
            sample(steps)
        return Counter(operations=found.count)

    return a_step(count, steps)


def launches(sample: Sample, steps: int) -> dict[str, float]:
    """Kernels that ran on the card, copies and fills beside them, and what the host launched: a graph is one launch."""
    sample(FIRST)  # what is recorded or compiled once
    return a_step(lambda steps: told(traced(lambda: sample(steps), [ProfilerActivity.CUDA])), steps)


def traced(work: Callable[[], object], activities: list[ProfilerActivity]) -> list:
    """Averages of the profiler, an entry for each kernel and call."""
    with profile(activities=activities) as found:
        work()
        torch.cuda.synchronize()
    return list(found.key_averages())


def told(entries: list) -> Counter:
    found = Counter(kernels=0, copies=0, launches=0)
    for entry in entries:
        if on_device(entry):
            found["copies" if entry.key.startswith(("Memcpy", "Memset")) else "kernels"] += entry.count
        elif entry.key.startswith("cu") and "Launch" in entry.key:
            found["launches"] += entry.count
    return found


def on_device(entry) -> bool:
    """Whether an entry is of what ran on a card; a mark of the host's is drawn there as well."""
    cuda = entry.device_type == torch.autograd.DeviceType.CUDA
    return cuda and not getattr(entry, "is_user_annotation", False)


def arithmetic(sample: Sample, steps: int) -> dict[str, float]:
    """Of plain torch's products and convolutions; what other kernels multiply is not seen."""

    def count(steps: int) -> Counter:
        # torch does not count a product that ends in an activation.
        activated = {torch.ops.aten._addmm_activation: lambda c, a, b, *_, **__: 2 * a[0] * a[1] * b[1]}
        counter: AbstractContextManager = FlopCounterMode(display=False, custom_mapping=activated)
        with counter:
            sample(steps)
        return Counter(flop=counter.get_total_flops())

    return a_step(count, steps)


def host_time(sample: Sample, steps: int, device: torch.device) -> dict[str, float]:
    """Seconds until the loop has launched a step, each from an empty queue; the median, and the most."""
    spent: list[float] = []
    started = 0.0

    def note(step: mgt_core.Step) -> None:
        nonlocal started
        spent.append(time.perf_counter() - started)
        torch.cuda.synchronize(device)
        started = time.perf_counter()

    started = time.perf_counter()
    sample(FIRST + steps, note)
    later = spent[1:]  # the first prepares
    return {"host_seconds_a_step": median(later), "host_seconds_a_step_most": max(later)}
