"""Timed whole runs: text, sampling, decoding, and within sampling what goes to the network."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

import mgt_core

from ..hardware import PeakMemory, synchronize
from .rows import Row

PROMPTS = ("a lighthouse on a cliff above a stormy sea", "two foxes reading a map in the snow")
NEGATIVE = "worst quality, low quality, low res, blurry, distortion, watermark, logo, signature, text, jpeg artifacts"
NETWORK_PARTS = ("prepare", "features", "head")


@dataclass(frozen=True)
class Settings:
    """What all rows share. size: pixels of a side."""

    size: int
    steps: int
    cfg: float
    temperature: tuple[float, float] = (2.0, 0.0)


@dataclass(frozen=True)
class Timing:
    """Seconds of one whole run. steps: of each step, the preparation in the first. network: by part of the
    backbone, when it was asked for. peak: bytes beside what was resident before, None where unknown."""

    text: float
    sample: float
    decode: float
    steps: list[float]
    calls: int
    passes: int
    peak: int | None
    network: dict[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        return self.text + self.sample + self.decode


class Clock:
    """Seconds since the last reading, when the device has finished. now: what tells the time."""

    def __init__(self, device: torch.device, now: Callable[[], float] = time.perf_counter):
        self.device, self.now = device, now
        self.lap()

    def lap(self) -> float:
        synchronize(self.device)
        now = self.now()
        spent, self.started = now - getattr(self, "started", now), now
        return spent


@contextmanager
def network_clock(
    network: torch.nn.Module, device: torch.device, now: Callable[[], float] = time.perf_counter
) -> Iterator[dict[str, float]]:
    """Seconds spent in each part of a backbone. On a GPU it waits for each call, so don't time with it there."""
    seconds = dict.fromkeys(NETWORK_PARTS, 0.0)

    def timed(name: str, work):
        def call(*args, **kwargs):
            clock = Clock(device, now)
            try:
                return work(*args, **kwargs)
            finally:
                seconds[name] += clock.lap()

        return call

    for name in NETWORK_PARTS:
        setattr(network, name, timed(name, getattr(network, name)))
    try:
        yield seconds
    finally:
        for name in NETWORK_PARTS:
            delattr(network, name)


def prompts(batch: int) -> list[str]:
    return [f"{PROMPTS[i % len(PROMPTS)]}, number {i}" for i in range(batch)]


def run(
    pipe: mgt_core.Pipeline, row: Row, settings: Settings, batch: int = 1, seed: int = 0, inside: bool = False
) -> Timing:
    """One whole run. inside: also time the parts of the network."""
    device = next(pipe.model.network.parameters()).device
    model, marks, counts = row.attach(pipe.model), [], (0, 0)
    memory, clock = PeakMemory(device), Clock(device)
    state = mgt_core.empty_tokens(pipe, settings.size, settings.size, batch)
    positive, negative = pipe.text.encode(prompts(batch)), pipe.text.encode(NEGATIVE)
    text = clock.lap()

    def note(step: mgt_core.Step) -> None:
        nonlocal counts
        marks.append(time.perf_counter())
        counts = step.calls, step.passes

    def sample() -> mgt_core.TokenState:
        return mgt_core.sample(
            model,
            state,
            positive,
            negative,
            steps=settings.steps,
            cfg=settings.cfg,
            temperature=settings.temperature,
            seed=seed,
            callback=note,
        )

    started, network = time.perf_counter(), {}
    if inside:
        with network_clock(pipe.model.network, device) as network:
            out = sample()
    else:
        out = sample()
    sampled = clock.lap()
    pipe.codec.decode(out)
    decoded = clock.lap()
    steps = [end - begin for begin, end in zip([started, *marks], marks)]
    return Timing(text, sampled, decoded, steps, *counts, memory.read(), network)
