"""How far the pictures of a run are from a truth. Pictures are full grids [B, N] long."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..sampling.draws import cpu_generator
from .codewords import Codewords
from .truth import AT_ONCE, DRAWS, Estimate, Truth

PARTS = 20  # of the pictures, behind the error of what is no mean over them
REPEATS = 200  # samples of the truth behind a null


@dataclass(frozen=True)
class Distance:
    """Of a sample's histogram from the truth. value: as counted. null, null_high: mean and 97.5 % quantile of what
    exact samples of the same size would count; excess: value - null. error: standard error of the value.

    What a histogram counts is on average no less than the distance of what was sampled, and by no more than the null
    above it: that distance lies between excess and value, near value where it is large beside the null.
    """

    value: float
    null: float
    null_high: float
    error: float

    @property
    def excess(self) -> float:
        return self.value - self.null


def histogram(truth: Truth, tokens: Tensor) -> Tensor:
    """How often each grid of a small truth occurs, [V^N] float64."""
    return torch.bincount(truth.number_of(tokens), minlength=truth.states).double()


def half_difference(counts: Tensor, p: Tensor) -> Tensor:
    """Total variation of histograms [..., S] from p [S]."""
    return (counts / counts.sum(-1, keepdim=True) - p).abs().sum(-1) / 2


def divergence(counts: Tensor, p: Tensor) -> Tensor:
    """KL(histogram || p) of [..., S] from p [S], in nats."""
    shares = counts / counts.sum(-1, keepdim=True)
    return (torch.special.xlogy(shares, shares) - torch.special.xlogy(shares, p)).sum(-1)


def distance(truth: Truth, tokens: Tensor, label: int = 0, kind=half_difference, seed: int = 0) -> Distance:
    """kind: half_difference (total variation) or divergence (KL). The error is a jackknife's over parts of the
    sample."""
    return of_outcomes(truth.number_of(tokens), truth.probabilities(label), kind, seed)


def of_outcomes(outcomes: Tensor, p: Tensor, kind=half_difference, seed: int = 0) -> Distance:
    """The same of outcomes [B] long, of whatever kind, that should follow p [S]."""
    counts = torch.bincount(outcomes, minlength=len(p)).double()
    generator = cpu_generator(seed)
    # Counts of an exact sample are Poisson given their sum, which is near enough to the sample's size.
    null = kind(torch.poisson(len(outcomes) * p.expand(REPEATS, -1), generator=generator), p)
    parts = outcomes.chunk(PARTS)
    without = counts - torch.stack([torch.bincount(part, minlength=len(p)).double() for part in parts])
    return Distance(
        value=float(kind(counts, p)),
        null=float(null.mean()),
        null_high=float(null.quantile(0.975)),
        error=jackknife_error(kind(without, p)),
    )


def modes(truth: Codewords, tokens: Tensor) -> Tensor:
    """[B] long: the likeliest word of each grid [B, N] and in how many cells they differ, as one number below
    words * (N + 1). Of what a mixture of words can show this holds nearly all: which words there are, and how well
    formed."""
    words = truth.word_of(tokens)
    return words * (truth.cells + 1) + (tokens != truth.words[words]).sum(1)


def law_of_modes(truth: Codewords, label: int = 0, draws: int = 200_000, seed: int = 0) -> Tensor:
    """[words * (N + 1)] float64: how often exact draws show each of `modes`, of so many that they stand for the truth.
    Total variation from it is `of_outcomes(modes(...), law_of_modes(...))`."""
    exact = exact_sample(truth, label, draws, seed)
    seen = torch.cat([modes(truth, part) for part in exact.split(AT_ONCE)])
    counts = torch.bincount(seen, minlength=len(truth.words) * (truth.cells + 1)).double()
    return counts / counts.sum()


def jackknife_error(without: Tensor) -> float:
    """Standard error of a figure, from its values [n] with each of n parts of the sample left out in turn."""
    return float(((without - without.mean()).square().sum() * (len(without) - 1) / len(without)).sqrt())


def surprise(truth: Truth, tokens: Tensor, labels: Tensor, entropy: Estimate) -> Estimate:
    """Mean of -log p over the pictures minus the truth's entropy, in nats of the whole grid. Below 0 the pictures are
    likelier than those of the truth: decoding, or the model, is too sure. 0 alone does not say that they are right."""
    return Estimate.of(-truth.log_probability(tokens, labels)).minus(entropy)


def agreement(tokens: Tensor, grid: tuple[int, int], distances: range = range(1, 9)) -> Tensor:
    """[B, D] share of the pairs of cells that hold the same code, by their distance in a row or a column; distances
    that the grid does not have are left out."""
    pictures = tokens.unflatten(1, grid)
    found = []
    for far in distances:
        pairs = [pictures[:, far:] == pictures[:, :-far], pictures[:, :, far:] == pictures[:, :, :-far]]
        if sum(pair.shape[1] * pair.shape[2] for pair in pairs):
            found.append(torch.cat([pair.flatten(1) for pair in pairs], 1).double().mean(1))
    return torch.stack(found, 1)


def pair_gaps(tokens: Tensor, exact: Tensor, grid: tuple[int, int]) -> list[Estimate]:
    """What two cells agree too often, by distance 1, 2, ...: the share in the pictures minus that in exact draws."""
    ours, theirs = agreement(tokens, grid), agreement(exact, grid)
    return [Estimate.of(a).minus(Estimate.of(b)) for a, b in zip(ours.T, theirs.T, strict=True)]


def diversity(tokens: Tensor, codes: int) -> Estimate:
    """Share of cells in which two of the pictures differ; the error is a jackknife's."""
    parts = torch.stack([torch.nn.functional.one_hot(part, codes).sum(0) for part in tokens.chunk(PARTS)]).double()
    whole = parts.sum(0)
    return Estimate(float(differing(whole)), jackknife_error(differing(whole - parts)))


def differing(counts: Tensor) -> Tensor:
    """Mean over cells of the chance that two of the pictures differ there. counts: [..., N, V] -> [...]."""
    total = counts.sum(-1)
    same = (counts * (counts - 1)).sum(-1) / (total * (total - 1))
    return 1 - same.mean(-1)


def exact_sample(truth: Truth, label: int = 0, count: int = DRAWS, seed: int = 1) -> Tensor:
    """Exact draws to compare with, [count, N]."""
    return truth.draw(torch.full((count,), label), cpu_generator(seed))
