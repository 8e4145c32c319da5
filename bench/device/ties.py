"""Two runs compared draw by draw: equal, but where a random number lay as near to a border as rounding reaches.

The same numbers on two devices differ by rounding. A draw takes the code in whose stretch of [0, 1) its uniform lies;
where a border between two codes moves across it, the codes differ, and what follows are two runs of nothing in common.
So the runs are watched from the start up to the first difference, which has to be such a near-tie.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mgt_core.sampling import step as steps
from mgt_core.sampling.draws import GeneratorDraws

from .names import DIFFERS, SAME, TIES

NEAR = 1e-4  # of the largest value: how far float32 on two devices may be apart, as tests/golden has it


@dataclass(frozen=True)
class Draw:
    """logits [R, V], one uniform a row [R] float64, and the ids [R] that were drawn."""

    logits: Tensor
    uniform: Tensor
    ids: Tensor


@dataclass(frozen=True)
class Choice:
    """Confidences [B, N], and which cells were among the least confident [B, N]."""

    confidence: Tensor
    chosen: Tensor


@dataclass
class Compared:
    """logits_error: largest difference over the largest logit. draws: ids compared, of which `differing` differ, and
    choices: cells. gap: how far the uniform of a differing id lay from the border, or the confidences of two cells that
    changed places, at the most. reason: what differs where it is no near-tie."""

    verdict: str = SAME
    draws: int = 0
    choices: int = 0
    differing: int = 0
    gap: float = 0.0
    logits_error: float = 0.0
    reason: str = ""

    def differs(self, reason: str) -> "Compared":
        self.verdict, self.reason = DIFFERS, reason
        return self


@dataclass
class Watched:
    """The draws and choices of a run, in their order."""

    events: list[Draw | Choice] = field(default_factory=list)


@contextmanager
def watched() -> Iterator[Watched]:
    """What runs inside is watched."""
    found = Watched()
    chooser, uniform, least = GeneratorDraws.chooser, GeneratorDraws.uniform, steps.least_confident
    drawn: list[Tensor] = []

    def numbers(self, device):
        drawn.append(uniform(self, device))
        return drawn[-1]

    def watching(self, step):
        choose = chooser(self, step)
        numbers = drawn[-1].cpu()

        def ids_of(logits: Tensor, positions: Tensor) -> Tensor:
            ids = choose(logits, positions)
            own = numbers.gather(1, positions.cpu())
            found.events.append(Draw(logits.float().flatten(0, 1).cpu(), own.flatten(), ids.flatten().cpu()))
            return ids

        return ids_of

    def choosing(confidence: Tensor, candidates: Tensor, counts: Sequence[int]) -> Tensor:
        chosen = least(confidence, candidates, counts)
        found.events.append(Choice(confidence.float().cpu(), chosen.cpu()))
        return chosen

    GeneratorDraws.uniform, GeneratorDraws.chooser, steps.least_confident = numbers, watching, choosing
    try:
        yield found
    finally:
        GeneratorDraws.uniform, GeneratorDraws.chooser, steps.least_confident = uniform, chooser, least


def compare(ours: Sequence[Draw | Choice], theirs: Sequence[Draw | Choice]) -> Compared:
    """Of two runs with the same random numbers, up to the first difference."""
    found = Compared()
    for place, (a, b) in enumerate(zip(ours, theirs)):
        if type(a) is not type(b):
            return found.differs(f"event {place} is of another kind")
        (draws if isinstance(a, Draw) else choices)(a, b, found, place)
        if found.verdict != SAME:
            return found
    return found if len(ours) == len(theirs) else found.differs(f"one run has {len(ours)} events, one {len(theirs)}")


def draws(a: Draw, b: Draw, found: Compared, place: int) -> None:
    if a.logits.shape != b.logits.shape or not torch.equal(a.uniform, b.uniform):
        found.differs(f"event {place} draws for other cells")
        return
    error, near = apart(a.logits, b.logits)
    found.logits_error = max(found.logits_error, error)
    if error > NEAR:
        found.differs(f"logits of event {place} differ by {error:.2g} of the largest")
        return
    found.draws += a.ids.numel()
    differ = a.ids != b.ids
    if differ.any():
        gaps = border_gaps(a.logits[differ], a.uniform[differ], a.ids[differ], b.ids[differ])
        settle(found, int(differ.sum()), float(gaps.max()), near, f"draws of event {place}")


def choices(a: Choice, b: Choice, found: Compared, place: int) -> None:
    if a.confidence.shape != b.confidence.shape:
        found.differs(f"event {place} chooses among other cells")
        return
    error, near = apart(a.confidence, b.confidence)
    if error > NEAR:
        found.differs(f"confidences of event {place} differ by {error:.2g} of the largest")
        return
    found.choices += a.chosen.numel()
    differ = a.chosen != b.chosen
    if differ.any():
        rows = zip(a.confidence, a.chosen & ~b.chosen, b.chosen & ~a.chosen)
        gaps = [place_gap(values, left, came) for values, left, came in rows if (left | came).any()]
        settle(found, int(differ.sum()), max(gaps), near, f"choices of event {place}")


def settle(found: Compared, count: int, gap: float, near: float, what: str) -> None:
    """near: what rounding accounts for: a border moves by no more than the logits, in natural units, and each of two
    confidences by their difference."""
    found.differing, found.gap, found.verdict = count, gap, TIES
    if not gap <= 2 * near + torch.finfo(torch.float32).eps:
        found.differs(f"{what} differ by {gap:.2g}, and rounding by {near:.2g}")


def apart(a: Tensor, b: Tensor) -> tuple[float, float]:
    """Largest difference of the finite values over the largest of them, and the difference itself; infinite where one
    is finite and the other is not."""
    if not torch.equal(a.isfinite(), b.isfinite()):
        return float("inf"), float("inf")
    a, b = (values[a.isfinite()] for values in (a, b))
    if not a.numel():
        return 0.0, 0.0
    gap = float((a - b).abs().max())
    return gap / max(float(a.abs().max()), 1e-30), gap


def border_gaps(logits: Tensor, uniform: Tensor, ids: Tensor, others: Tensor) -> Tensor:
    """[R] how far each uniform lies from the stretch of the other id, in the cumulative distribution of `logits`."""
    cumulative = logits.softmax(-1).double().cumsum(-1)
    cumulative = cumulative / cumulative[:, -1:]
    before = torch.cat([torch.zeros_like(cumulative[:, :1]), cumulative], dim=1)
    start, end = (before.gather(1, index[:, None])[:, 0] for index in (others, others + 1))
    return torch.where(others > ids, start - uniform, uniform - end).clamp_min(0)


def place_gap(confidence: Tensor, left: Tensor, came: Tensor) -> float:
    """How far two cells that changed places were apart, in the confidences [N] of the one run."""
    if not left.any() or not came.any():
        return float("inf")
    return float(confidence[came].max() - confidence[left].min())
