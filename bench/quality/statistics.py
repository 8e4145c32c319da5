"""How sure a figure is: intervals, tests between two runs, and a correction for many tests."""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from recipe.judge.scores import wilson

GRID = 20001  # points of the integral behind Student's distribution


def student_p(t: float, freedom: float) -> float:
    """Two-sided p of Student's t. With t = sqrt(freedom) tan(a) the density is cos(a)^(freedom - 1)."""
    if math.isinf(t):
        return 0.0

    def area(start: float) -> float:
        height = np.cos(np.linspace(start, math.pi / 2, GRID)).clip(0) ** (freedom - 1)
        return float(height.sum() - (height[0] + height[-1]) / 2) * (math.pi / 2 - start)

    return min(1.0, area(math.atan(abs(t) / math.sqrt(freedom))) / area(0.0))


@functools.cache
def student_quantile(freedom: float, p: float = 0.05) -> float:
    """The t that two-sided p belongs to."""
    low, high = 0.0, 1e4
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if student_p(middle, freedom) > p else (low, middle)
    return low


@dataclass(frozen=True)
class Mean:
    """A mean of `count` independent values, with their standard deviation."""

    value: float
    deviation: float
    count: int

    @classmethod
    def of(cls, values: np.ndarray) -> "Mean":
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
        return cls(float(np.mean(values)), deviation, len(values))

    @classmethod
    def read(cls, held: Mapping) -> "Mean":
        return cls(held["value"], held["deviation"], held["count"])

    @property
    def error(self) -> float:
        return self.deviation / math.sqrt(self.count)

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, by Student's t; the whole line for a single value."""
        if self.count < 2:
            return -math.inf, math.inf
        reach = student_quantile(self.count - 1) * self.error
        return self.value - reach, self.value + reach


def two_way_interval(values: np.ndarray, draws: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """95 % of the mean of values [A, B] that share their rows' and their columns' chances: a bootstrap that draws
    rows and columns anew, independently."""
    rng = np.random.default_rng(seed)
    rows, columns = (rng.integers(size, size=(draws, size)) for size in values.shape)
    means = np.array([values[np.ix_(row, column)].mean() for row, column in zip(rows, columns, strict=True)])
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def sign_p(wins: int, losses: int) -> float:
    """Two-sided p of the exact sign test, ties left out; on prompts that only one of two runs got right it is
    McNemar's exact test."""
    total, fewer = wins + losses, min(wins, losses)
    return min(1.0, 2 * sum(math.comb(total, k) for k in range(fewer + 1)) / 2**total)


def win_rate(ours: np.ndarray, theirs: np.ndarray) -> dict:
    """Share of prompts on which ours is smaller, ties counted half, with a 95 % Wilson interval."""
    wins, losses, count = int((ours < theirs).sum()), int((ours > theirs).sum()), len(ours)
    points = wins + (count - wins - losses) / 2
    low, high = wilson(points, count)
    return {
        "share": round(points / count, 4),
        "interval95": [round(low, 4), round(high, 4)],
        "wins": wins,
        "losses": losses,
        "of": count,
        "p": sign_p(wins, losses),
    }


def holm(ps: Mapping[str, float]) -> dict[str, float]:
    """p of several tests, raised so that one of them falls below 0.05 by chance in 5 % of all benches (Holm 1979)."""
    raised, worst = {}, 0.0
    for place, name in enumerate(sorted(ps, key=ps.__getitem__)):
        worst = max(worst, min(1.0, ps[name] * (len(ps) - place)))
        raised[name] = worst
    return {name: raised[name] for name in ps}


def fisher_p(hits: int, total: int, other_hits: int, other_total: int) -> float:
    """Two-sided p of Fisher's exact test that two shares are of one kind."""
    both, everything = hits + other_hits, total + other_total

    def ways(k: int) -> int:
        return math.comb(total, k) * math.comb(other_total, both - k)

    seen = ways(hits)
    possible = range(max(0, both - other_total), min(both, total) + 1)
    return sum(way for k in possible if (way := ways(k)) <= seen) / math.comb(everything, both)


def welch_p(first: Mean, second: Mean) -> float:
    """Two-sided p of Welch's test that two means are of one kind."""
    squares = first.error**2, second.error**2
    if not sum(squares) > 0:  # no spread, or too few values to know
        return 1.0 if first.value == second.value or math.isnan(sum(squares)) else 0.0
    freedom = sum(squares) ** 2 / (squares[0] ** 2 / (first.count - 1) + squares[1] ** 2 / (second.count - 1))
    return student_p((first.value - second.value) / math.sqrt(sum(squares)), freedom)
