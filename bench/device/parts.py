"""The parts, in the order of their worth, and how much of the time each may take up to."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .budget import budget
from .ceilings import machine
from .one_step import one_step
from .original import original
from .runs import runs
from .session import Session
from .suite import suite
from .tries import Tries

WHOLE = 1.0


@dataclass(frozen=True)
class Part:
    """until: share of the whole time at which it gives way to the next; what it has not tried then comes once more when
    all others were there."""

    name: str
    title: str
    work: Callable[[Session, Tries], None]
    until: float


PARTS = (
    Part("machine", "The machine", machine, 0.2),
    Part("suite", "Right against the CPU", suite, 0.3),
    Part("runs", "Whole runs", runs, 0.65),
    Part("original", "The original pipeline", original, 0.85),
    Part("budget", "A card of 8 GB", budget, 0.9),
    Part("step", "A step", one_step, 0.95),
)
AGAIN = ("machine", "runs", "original", "budget", "step", "suite")


def visits() -> Iterator[tuple[Part, float]]:
    """Each part, and the share of the time at which this visit ends."""
    yield from ((part, part.until) for part in PARTS)
    by_name = {part.name: part for part in PARTS}
    yield from ((by_name[name], WHOLE) for name in AGAIN)
