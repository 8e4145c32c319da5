"""What the suites compare: vanilla, and choices that act on the model's own distribution."""

from collections.abc import Mapping

from ..cases import (
    VANILLA,
    blank_canvas,
    differential,
    guidance_of,
    halton,
    hotter,
    masked_zigzag,
    noise,
    nucleus,
    schedule,
    with_steps,
)
from ..decoders import candidates, dear, exploring, steady
from ..decoding import Case

STEPS, GUIDANCE = 8, 1.0


def base(settings: Mapping) -> dict:
    """The model's recommended settings, but in few steps and with no guidance, which would decide in their place."""
    return {**settings, "steps": STEPS, "cfg": GUIDANCE}


def choices() -> list[Case]:
    """Without what is vanilla at another number of steps or with guidance."""
    return [
        hotter(2.0),
        hotter(8.0),
        noise(2.0),
        halton("arccos"),
        halton("cosine"),
        halton("cosine", 0.9),
        halton("cosine", roll=True),
        Case("top-p 0.9", nucleus(0.9)),
        differential(0.75),
        masked_zigzag(),
        Case("Self-Guidance on a blank canvas, 0.5", blank_canvas),
        schedule("linear"),
        *steady(),
        exploring(),
        *dear(),
    ]


def completion_cases() -> list[Case]:
    """An empty prompt is its own negative, so that guidance would change nothing."""
    return [Case(VANILLA), *choices(), *candidates(), *(with_steps(n) for n in (1, 4, 16, 32))]


def open_cases() -> list[Case]:
    guided = [guidance_of(w) for w in (2.0, 4.0)]
    return [Case(VANILLA), *choices(), hotter(0.0), *guided, *(with_steps(n) for n in (1, 4))]
