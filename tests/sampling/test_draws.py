"""Categorical draws."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mgt_core.sampling import draws
from mgt_core.sampling.draws import ROWS, cpu_generator, inverse_cdf, rows_held
from mgt_core.sampling.step import least_confident


def test_draws_follow_the_distribution():
    """Chi-square over 40,000 draws from a table with impossible entries."""
    p = torch.tensor([0.0, 0.4, 0.05, 0.0, 0.3, 0.15, 0.1, 0.0])
    count = 40_000
    uniform = torch.rand(count, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ids = inverse_cdf(p.log().expand(count, -1), uniform)
    seen = torch.bincount(ids, minlength=8)
    possible = p > 0
    assert int(seen[~possible].sum()) == 0
    expected = p[possible] * count
    chi_square = float(((seen[possible] - expected) ** 2 / expected).sum())
    assert chi_square < 18.5  # 4 degrees of freedom: one in a thousand


@pytest.mark.parametrize(
    "logits",
    [
        [-math.inf, -math.inf, 0.0, 1.0, -math.inf],
        [0.0, -math.inf, 0.0, -200.0, -math.inf],
        [-math.inf, -math.inf, -math.inf, -math.inf, 5.0],
        [5.0, -math.inf, -math.inf, -math.inf, -math.inf],
    ],
)
def test_extreme_uniforms_draw_possible_codes(logits):
    row = torch.tensor(logits)
    edges = torch.tensor([0.0, 5e-324, 1e-17, 0.5, 1 - 1e-9, 1 - 2**-53], dtype=torch.float64)
    ids = inverse_cdf(row.expand(len(edges), -1), edges)
    likely = (row.softmax(-1) > 0).nonzero()[:, 0]
    assert bool(torch.isin(ids, likely).all())
    assert int(ids[0]) == int(likely[0]) and int(ids[-1]) == int(likely[-1])


def test_draws_over_a_full_codebook():
    """Cumulative sums in float64: every code of a flat table of 8192 has its own share of [0, 1)."""
    codes = torch.arange(0, 8192, 32)
    ids = inverse_cdf(torch.zeros(len(codes), 8192), (codes + 0.5).double() / 8192)
    assert torch.equal(ids, codes)


def gumbel_max(logits: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Draws as published codes make them: argmax of l - log(-log u), in whatever precision u is."""
    return (logits.to(uniform) - (-uniform.log()).log()).argmax(-1)


def test_rare_codes_are_drawn_as_often_as_they_should():
    """Gumbel-max in float32 does not: a uniform below 1 is at most 1 - 2**-24 there, a Gumbel of it at most 16.64, and
    codes much rarer than that are never drawn, as at a lower temperature (arXiv 2409.02908). Here the
    share of [0, 1) that draws a code is its probability, however rare it is."""
    likely, rare = torch.zeros(64), 64
    row = torch.cat([likely, torch.tensor([-20.0]), likely])
    p = row.double().softmax(-1)
    below, own = float(p[:rare].sum()), float(p[rare])  # own: 1.6e-11
    edges = torch.tensor([below + share * own for share in (-0.01, 0.01, 0.99, 1.01)], dtype=torch.float64)
    assert inverse_cdf(row.expand(4, -1), edges).tolist() == [rare - 1, rare, rare, rare + 1]
    # The most that the rare code can get, where every likely one gets as little as it does once in 10**89 draws.
    for kind, drawn in ((torch.float32, False), (torch.float64, True)):
        uniform = torch.full((129,), 0.2, dtype=kind)
        uniform[rare] = torch.ones((), dtype=kind).nextafter(torch.zeros((), dtype=kind))
        assert (int(gumbel_max(row, uniform)) == rare) is drawn


def test_draws_are_at_temperature_1():
    """Told by the mean logit of what is drawn from a distribution with a long tail, to less than a hundredth."""
    row = -1.2 * torch.arange(1, 1025).log()
    count = 100_000
    uniform = torch.rand(count, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    drawn = row[inverse_cdf(row.expand(count, -1), uniform)].double()
    energy = row.double()

    def mean(temperature: float) -> float:
        return float((energy * (energy / temperature).softmax(-1)).sum())

    error = float(drawn.std()) / count**0.5
    assert abs(float(drawn.mean()) - mean(1.0)) < 4 * error
    assert mean(0.99) - mean(1.0) > 4 * error and mean(1.0) - mean(1.01) > 4 * error


def test_rows_are_drawn_independently():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, ROWS + 7, 5, generator=generator)
    uniform = torch.rand(2, ROWS + 7, dtype=torch.float64, generator=generator)
    whole = inverse_cdf(logits, uniform)
    assert whole.shape == uniform.shape
    for i, j in ((0, 0), (0, ROWS), (1, 3), (1, ROWS + 6)):
        assert int(whole[i, j]) == int(inverse_cdf(logits[i, j], uniform[i, j]))


def test_a_gpu_holds_as_many_rows_as_memory_allows(monkeypatch):
    """Every part of them costs kernels; on a CPU few rows stay in its caches."""
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert rows_held(8192, cpu, conditions=2) == ROWS
    assert rows_held(8192, gpu, conditions=2) >= 64 * 64  # those of a picture of 1024 pixels a side
    assert rows_held(10**9, gpu, conditions=2) == ROWS
    monkeypatch.setattr(draws, "GPU_BYTES", 10 * 4 * 8192 * 5000)
    assert rows_held(8192, gpu, conditions=10 - draws.DRAWING) == 5000


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.integers(1, 9), st.integers(0, 2**31))
def test_the_least_confident_are_those_of_the_lowest_rank(images, cells, seed):
    """Ties go to the first cell, infinite ones too."""
    generator = torch.Generator().manual_seed(seed)
    levels = torch.tensor([-1.0, 0.0, 0.5, math.inf])
    confidence = levels[torch.randint(4, (images, cells), generator=generator)]
    candidates = torch.rand(images, cells, generator=generator) < 0.7
    counts = torch.randint(cells + 1, (images,), generator=generator)
    rank = confidence.masked_fill(~candidates, math.inf).argsort(dim=1, stable=True).argsort(dim=1)
    assert torch.equal(least_confident(confidence, candidates, counts.tolist()), rank < counts[:, None])


def test_all_64_bits_of_a_seed_count():
    """Those below 2**32 draw as torch's own seeding has them, and no two others begin alike."""
    ordinary = torch.rand(4, generator=torch.Generator().manual_seed(5))
    assert torch.equal(torch.rand(4, generator=cpu_generator(5)), ordinary)
    wide = [5, 5 + 2**32, 5 + 2**33, 5 * 2**32, 5 + 2**63, 2**32, 2**64 - 1]
    drawn = {tuple(torch.rand(4, generator=cpu_generator(seed)).tolist()) for seed in wide}
    assert len(drawn) == len(wide)
    assert cpu_generator(2**40).initial_seed() == 2**40


def test_wide_seeds_are_keys_of_two_words():
    """As the generator's authors seed with several words (mt19937ar.out), which numpy does too; a float32 of torch is
    the low 24 bits of a word."""
    published = np.random.RandomState([0x123, 0x234, 0x345, 0x456]).randint(2**32, size=2, dtype=np.uint32)
    assert published.tolist() == [1067595299, 955945823]
    words = np.random.RandomState([7, 9]).randint(2**32, size=5, dtype=np.uint32)
    drawn = torch.rand(5, generator=cpu_generator(7 + 9 * 2**32))
    assert drawn.tolist() == [int(word) % 2**24 / 2**24 for word in words]
