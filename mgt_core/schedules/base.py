"""Mask schedules gamma(r): the fraction of tokens still masked at progress r.

MaskGIT (arXiv 2202.04200, section 3.3) introduced them; arXiv 2411.10781, section 3.1, compares families.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import MGTError, finite_number
from ..registry import SCHEDULES

DEFAULT_TOKENS = 4096  # a 1024 x 1024 image


class MaskSchedule(ABC):
    """A family member. Subclasses give `formula`; the ends are forced here."""

    @abstractmethod
    def formula(self, progress: Tensor) -> Tensor:
        """The published gamma(r) as it stands, for r in [0, 1]; float32 in, float32 out."""

    def ratio(self, progress: Tensor | float) -> Tensor:
        """Masked fraction at `progress` in [0, 1], decreasing from exactly 1 to exactly 0."""
        r = torch.as_tensor(progress, dtype=torch.float32)
        if not bool(((r >= 0) & (r <= 1)).all()):
            raise MGTError(f"progress is {r.tolist()}; accepted is 0 to 1")
        gamma = self.formula(r).clamp(0, 1)
        gamma = torch.where(r == 0, torch.ones_like(gamma), gamma)
        return torch.where(r == 1, torch.zeros_like(gamma), gamma)

    def for_tokens(self, total: int) -> "MaskSchedule":
        """The same schedule for a run over `total` tokens; most families do not depend on it."""
        return self

    def counts(self, steps: int, total: int) -> list[int]:
        """Tokens still masked after each of `steps` steps, out of `total` masked at the start.

        floor(total * gamma) in float32 (with 24 tokens and r = 4/6 it gives 11, as the published
        samplers do, where float64 gives 12), within what `still_masked` allows. With more steps than
        tokens the late steps redraw the last token.
        """
        left, now = [], total
        for index, target in enumerate(self.targets(steps, total)):
            now = still_masked(target, now, steps - 1 - index)
            left.append(now)
        return left

    def targets(self, steps: int, total: int) -> list[int]:
        """floor(total * gamma((k + 1) / steps)) in float32 for every step k, before any limit."""
        if steps < 1:
            raise MGTError(f"steps is {steps}; accepted is 1 or more")
        progress = torch.arange(1, steps + 1) / steps
        return (total * self.for_tokens(total).ratio(progress)).floor().long().tolist()


def still_masked(target: int, before: int, steps_left: int) -> int:
    """Masked cells after a step that `before` were masked at, with `steps_left` steps to come.

    At least one is revealed and at least one left for every step to come, as far as there are enough;
    the last step leaves none. The published samplers keep at least one in all, so that a steep schedule
    may reveal nothing in some steps; the counts agree wherever theirs reveal something at every step.
    """
    if not before or not steps_left:
        return 0
    return max(min(max(target, steps_left), before - 1), 1)


@SCHEDULES.register("cosine")
@dataclass(frozen=True)
class Cosine(MaskSchedule):
    """cos(pi r / 2)."""

    def formula(self, progress: Tensor) -> Tensor:
        return torch.cos(progress * math.pi / 2)


@SCHEDULES.register("linear")
@dataclass(frozen=True)
class Linear(MaskSchedule):
    """1 - r."""

    def formula(self, progress: Tensor) -> Tensor:
        return 1 - progress


@SCHEDULES.register("square")
@dataclass(frozen=True)
class Square(MaskSchedule):
    """1 - r^2."""

    def formula(self, progress: Tensor) -> Tensor:
        return 1 - progress**2


@SCHEDULES.register("cubic")
@dataclass(frozen=True)
class Cubic(MaskSchedule):
    """1 - r^3."""

    def formula(self, progress: Tensor) -> Tensor:
        return 1 - progress**3


@SCHEDULES.register("root")
@dataclass(frozen=True)
class Root(MaskSchedule):
    """1 - sqrt(r)."""

    def formula(self, progress: Tensor) -> Tensor:
        return 1 - progress.sqrt()


@SCHEDULES.register("pow")
@dataclass(frozen=True)
class Pow(MaskSchedule):
    """1 - r^exponent."""

    exponent: float = 2.0

    def __post_init__(self):
        finite_number("schedule exponent", self.exponent, 0.01, 100)

    def formula(self, progress: Tensor) -> Tensor:
        return 1 - progress**self.exponent


@SCHEDULES.register("arccos")
@dataclass(frozen=True)
class Arccos(MaskSchedule):
    """2 arccos(r) / pi; the count law of the Halton scheduler (arXiv 2503.17076)."""

    def formula(self, progress: Tensor) -> Tensor:
        return torch.acos(progress) / (math.pi / 2)


@dataclass(frozen=True)
class CountedSchedule(MaskSchedule):
    """A family whose formula holds the number of tokens N; a run fills it in when it is None."""

    tokens: int | None = None

    def __post_init__(self):
        if self.tokens is not None:
            finite_number("schedule tokens", self.tokens, 2, 2**31)

    def for_tokens(self, total: int) -> MaskSchedule:
        return self if self.tokens is not None else replace(self, tokens=max(total, 2))


@SCHEDULES.register("exponential")
@dataclass(frozen=True)
class Exponential(CountedSchedule):
    """1 - N^-(1 - r)."""

    def formula(self, progress: Tensor) -> Tensor:
        return 1 - float(self.tokens or DEFAULT_TOKENS) ** (progress - 1)


@SCHEDULES.register("logarithmic")
@dataclass(frozen=True)
class Logarithmic(CountedSchedule):
    """-log2(r) / log2(N), which reaches 1 at r = 1 / N."""

    def formula(self, progress: Tensor) -> Tensor:
        return (-progress.log2() / math.log2(self.tokens or DEFAULT_TOKENS)).clamp(0, 1)


@SCHEDULES.register("sigmoid")
@dataclass(frozen=True)
class Sigmoid(MaskSchedule):
    """A sigmoid from `start` to `end` with width `tau`, scaled to go from 1 to 0."""

    start: float = -3.0
    end: float = 3.0
    tau: float = 1.0

    def __post_init__(self):
        finite_number("schedule start", self.start, -100, 100)
        finite_number("schedule end", self.end, -100, 100)
        finite_number("schedule tau", self.tau, 0.01, 100)
        if self.start >= self.end:
            raise MGTError(f"the sigmoid schedule starts at {self.start} and ends at {self.end}; start must be smaller")
        if not self._drop > 0:
            raise MGTError(
                f"the sigmoid schedule from {self.start} to {self.end} with tau {self.tau} is flat: "
                "bring the ends nearer to 0"
            )

    def _rising(self, x: Tensor) -> Tensor:
        # Mirrored where both ends lie far above 0: there the sigmoid is 1 but for digits that are lost.
        sign = -1.0 if self.start + self.end > 0 else 1.0
        return sign * torch.sigmoid(sign * x.double() / self.tau)

    @property
    def _drop(self) -> float:
        first, last = self._rising(torch.tensor([self.start, self.end])).tolist()
        return last - first

    def formula(self, progress: Tensor) -> Tensor:
        x = progress.double() * (self.end - self.start) + self.start
        return ((self._rising(torch.tensor(self.end)) - self._rising(x)) / self._drop).float()


@SCHEDULES.register("custom")
@dataclass(frozen=True)
class CustomCurve(MaskSchedule):
    """A curve through (progress, masked fraction) points, monotone cubic between them
    (Fritsch and Carlson, SIAM J. Numer. Anal. 17, 1980), so that it never rises.

    points: at least two, progress rising from 0 to 1, fraction falling from 1 to 0.
    """

    points: tuple[tuple[float, float], ...] = ((0.0, 1.0), (0.5, 0.75), (1.0, 0.0))

    def __post_init__(self):
        try:
            points = tuple((float(x), float(y)) for x, y in self.points)
        except (TypeError, ValueError):
            raise MGTError(f"curve points are {self.points!r}; expected pairs of numbers") from None
        object.__setattr__(self, "points", points)
        if len(points) < 2 or points[0] != (0.0, 1.0) or points[-1] != (1.0, 0.0):
            raise MGTError(f"curve points are {points}; they must go from (0, 1) to (1, 0)")
        for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
            if not (x0 < x1 and y0 >= y1):
                raise MGTError(
                    f"curve points ({x0}, {y0}) and ({x1}, {y1}) are out of order: "
                    "progress must rise and the fraction may not"
                )

    def formula(self, progress: Tensor) -> Tensor:
        x, y = (torch.tensor(values, dtype=torch.float64) for values in zip(*self.points, strict=True))
        r = progress.double()
        width, slope = x.diff(), y.diff() / x.diff()
        tangent = monotone_tangents(width, slope)
        i = (torch.searchsorted(x, r.contiguous(), right=True) - 1).clamp(0, len(width) - 1)
        t = (r - x[i]) / width[i]
        value = (
            (2 * t**3 - 3 * t**2 + 1) * y[i]
            + (t**3 - 2 * t**2 + t) * width[i] * tangent[i]
            + (3 * t**2 - 2 * t**3) * y[i + 1]
            + (t**3 - t**2) * width[i] * tangent[i + 1]
        )
        return value.float()


def monotone_tangents(width: Tensor, slope: Tensor) -> Tensor:
    """Derivatives at the points of a monotone cubic: weighted harmonic means of the neighbouring
    slopes, 0 where a side is flat, the first and last slope at the ends."""
    before, after = slope[:-1], slope[1:]
    w0, w1 = 2 * width[1:] + width[:-1], width[1:] + 2 * width[:-1]
    inner = torch.where(before * after > 0, (w0 + w1) / (w0 / before + w1 / after), 0.0)
    return torch.cat([slope[:1], inner, slope[-1:]])


def schedule_from(value: "str | MaskSchedule") -> MaskSchedule:
    """A schedule by its registered name, or a ready one as it is."""
    return value if isinstance(value, MaskSchedule) else SCHEDULES.get(value)()
