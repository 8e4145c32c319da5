"""How much of what a caption leaves open is drawn: against the known distribution, and against chance."""

import functools
from collections.abc import Sequence

import numpy as np

DRAWS = 4000
PATTERNS, BLOCK = 100_000, 4000  # of signs: a p of 0.05 is then known to 0.0014
FEWEST, DIFFERENT = 8, 3  # values, and different ones, below which a bootstrap's ends say nothing
EXACT = 12  # up to so many differences every pattern of signs is tried


def variation(counts: np.ndarray, weights: np.ndarray) -> float:
    """Total variation between a sample and a distribution, both over [K]: half the sum of the absolute differences."""
    return float(np.abs(counts / counts.sum() - weights).sum() / 2)


def null(weights: np.ndarray, number: int) -> float:
    """The total variation that `number` draws from the distribution itself have on average."""
    return _null(tuple(np.round(weights, 12).tolist()), number)


@functools.lru_cache(maxsize=4096)
def _null(weights: tuple[float, ...], number: int) -> float:
    truth = np.array(weights) / sum(weights)
    draws = np.random.default_rng(number).multinomial(number, truth, size=DRAWS)
    return float(np.abs(draws / number - truth).sum(1).mean() / 2)


def repeats(counts: np.ndarray) -> float:
    """Share of pairs of draws that are of one kind: an unbiased estimate of the sum of the squared probabilities."""
    number = counts.sum()
    return float((counts * (counts - 1)).sum() / (number * (number - 1)))


def resampled(values: np.ndarray, draws: int = DRAWS, seed: int = 0) -> tuple[float, float] | None:
    """95 % interval of the mean of independent values [N], by a bootstrap over them; None where they are too few or too
    much alike for one."""
    if len(values) < FEWEST or len(np.unique(values.round(9))) < DIFFERENT:
        return None
    chosen = np.random.default_rng(seed).integers(len(values), size=(draws, len(values)))
    low, high = np.quantile(values[chosen].mean(1), (0.025, 0.975))
    return float(low), float(high)


def flip_p(differences: np.ndarray, seed: int = 0) -> float:
    """Two-sided p that the mean of paired differences [N] is as far from 0 by chance alone: Fisher's randomization
    test, which turns their signs; over all patterns where these are few, else over a sample."""
    differences = differences[differences != 0]
    number = len(differences)
    if not number:
        return 1.0
    if number <= EXACT:
        patterns = (np.arange(2**number)[:, None] >> np.arange(number)) & 1
        return reached(patterns, differences) / len(patterns)
    rng = np.random.default_rng(seed)
    blocks = (rng.integers(2, size=(BLOCK, number), dtype=np.int8) for _ in range(PATTERNS // BLOCK))
    return (1 + sum(reached(block, differences) for block in blocks)) / (1 + PATTERNS)


def reached(patterns: np.ndarray, differences: np.ndarray) -> int:
    """How many patterns of signs [P, N] carry the sum as far from 0 as the differences' own is."""
    sums = np.abs((1 - 2 * patterns) @ differences)
    return int((sums >= abs(differences.sum()) - 1e-9).sum())


def clustered(values: np.ndarray, groups: Sequence[int], draws: int = DRAWS, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the mean of values [N] of which those of one group are not independent: a bootstrap that draws
    whole groups."""
    _, place = np.unique(np.asarray(groups), return_inverse=True)
    sums, sizes = np.bincount(place, values), np.bincount(place)
    chosen = np.random.default_rng(seed).integers(len(sums), size=(draws, len(sums)))
    low, high = np.quantile(sums[chosen].sum(1) / sizes[chosen].sum(1), (0.025, 0.975))
    return float(low), float(high)
