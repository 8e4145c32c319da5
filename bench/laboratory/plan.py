"""Which cases there are, by study."""

from dataclasses import dataclass

from . import choices, settings
from .choices import CHOICES, HALTON, ON_HALTON, ON_VANILLA, ORDERS, VANILLA, Choice
from .decoders import DECODERS, EIGHT, HALF, ONCE, ONE, REVISING, SINGLE, STABLE, STEADY, SURER, TWO
from .settings import BLIND, CLASSES, EXACT, FIELD, FOUR, NOISE, SMOOTH, TARGET, TREE, WEAK, WEAK_FIELD, WORDS

STEPS = (4, 8, 16, 32, 64)
BUDGETS = {TREE: (8, 32), FIELD: (3, 9), WORDS: (8, 32)}  # passes, few and many
WEIGHTS = (1.0, 1.5, 2.0, 3.0, 5.0)
GUIDED_STEPS = 32
PLANE = 16  # passes of the plane of likelihood and diversity
ALL_AT_ONCE = 256  # cells of the tree
CELLS = {FIELD: 9, WORDS: 64}  # passes of one cell a step
# Those that end early, by truth, each in steps that leave the pace to it, and passes of vanilla to compare with: by
# other random numbers they made 6.4, 4.1, 2.9, 7.4 and 8.7 on the exact field, 22.3, 7.2 and 5.8 on the exact words.
ADAPTIVE = {FIELD: (HALF, ONE, TWO, STABLE, SURER), WORDS: (TWO, EIGHT, STABLE)}
AS_MANY = {FIELD: (3, 5, 7, 8, 9), WORDS: (6, 8, 23, 32, 64)}
MANY = {FIELD: 36, WORDS: 128}  # passes of what revises, more than there are cells


@dataclass(frozen=True)
class Case:
    """One way to decode one model. budget: passes at the most, of which the choice makes as many steps as they are good
    for; a guided pass counts as one here, for all choices alike. cfg: guidance."""

    model: str
    error: str
    choice: str
    budget: int
    cfg: float = 1.0

    @property
    def name(self) -> str:
        guided = f", guidance {self.cfg:g}" if self.cfg != 1 else ""
        return f"{self.model}, {self.error}: {self.choice}, {self.budget} passes{guided}"

    @property
    def made(self) -> Choice:
        return (CHOICES | DECODERS)[self.choice]

    @property
    def steps(self) -> int:
        return self.made.steps(self.budget)


def schedules() -> list[Case]:
    """Orders and counts against passes, exact and with errors."""
    exact = [Case(TREE, EXACT, choice.name, steps) for choice in ORDERS for steps in STEPS]
    wrong = [Case(TREE, error, HALTON, steps) for error in (NOISE, SMOOTH, BLIND) for steps in STEPS]
    return [*exact, *wrong, Case(TREE, EXACT, HALTON, ALL_AT_ONCE)]


def confidence() -> list[Case]:
    """What an order that looks at its draws does from few steps to one cell a step, and what noise on the logits
    mends."""
    noise = "noise regularization 2"
    return [Case(WEAK_FIELD, EXACT, choice, steps) for choice in (VANILLA, noise, HALTON) for steps in range(1, 10)]


def on_logits() -> list[Case]:
    """What acts on the logits in a fixed order."""
    return [
        Case(TREE, error, name, budget)
        for error in FOUR
        for name in (HALTON, *(choice.name for choice in ON_HALTON))
        for budget in BUDGETS[TREE]
    ]


def ways(model: str) -> list[Case]:
    """Everything that is chosen beside vanilla, with an exact model and a noisy one."""
    names = (VANILLA, *(choice.name for choice in ON_VANILLA))
    return [Case(model, error, name, budget) for error in (EXACT, NOISE) for name in names for budget in BUDGETS[model]]


def plane() -> list[Case]:
    """Likelihood against diversity."""
    return [Case(TREE, EXACT, name, PLANE) for name in (VANILLA, *(choice.name for choice in ON_VANILLA))]


def guidance() -> list[Case]:
    return [Case(CLASSES, error, HALTON, GUIDED_STEPS, weight) for error in (EXACT, WEAK, TARGET) for weight in WEIGHTS]


def zigzag() -> list[Case]:
    """With guidance, by which the published zigzags go forth and back."""
    names = (VANILLA, "Z-Sampling", *(choice.name for choice in choices.ZIGZAGS))
    return [
        Case(WORDS, error, name, budget, 2.0) for error in (EXACT, WEAK) for name in names for budget in BUDGETS[WORDS]
    ]


def later(model: str) -> list[Case]:
    """The decoders, those that end early at as many passes as they need; and vanilla at as many."""
    found = []
    for error in (EXACT, NOISE):
        found += [Case(model, error, choice.name, budget) for choice in STEADY for budget in BUDGETS[model]]
        found += [Case(model, error, choice.name, CELLS[model]) for choice in (ONCE, *ADAPTIVE[model])]
        found += [Case(model, error, VANILLA, budget) for budget in AS_MANY[model]]
    return found


def many() -> list[Case]:
    """What revises, with more passes than there are cells: with a noisy model, and one with an exact one, which its
    sweeps come nearer to."""
    noisy = [Case(WORDS, NOISE, choice.name, MANY[WORDS]) for choice in REVISING]
    return [*noisy, Case(FIELD, EXACT, SINGLE.name, MANY[FIELD])]


def on_tree() -> list[Case]:
    """At the passes of the plane."""
    return [Case(TREE, EXACT, choice.name, PLANE) for choice in STEADY]


STUDIES = {
    "schedules": schedules,
    "confidence": confidence,
    "on logits": on_logits,
    "field": lambda: ways(FIELD),
    "words": lambda: ways(WORDS),
    "plane": plane,
    "guidance": guidance,
    "zigzag": zigzag,
    "decoders, field": lambda: later(FIELD),
    "decoders, words": lambda: later(WORDS),
    "decoders, many steps": many,
    "decoders, tree": on_tree,
}


def plan() -> dict[str, Case]:
    """Every case once, by name."""
    return {case.name: case for study in STUDIES.values() for case in study()}


def pictures(case: Case) -> int:
    """A run of one cell a step is exact picture by picture, so a few tell."""
    return 16 if case.budget >= ALL_AT_ONCE else settings.MODELS[case.model].pictures
