"""Categorical draws."""

import math

import pytest
import torch

from mgt_core.sampling.draws import ROWS, inverse_cdf


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


def test_rows_are_drawn_independently():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, ROWS + 7, 5, generator=generator)
    uniform = torch.rand(2, ROWS + 7, dtype=torch.float64, generator=generator)
    whole = inverse_cdf(logits, uniform)
    assert whole.shape == uniform.shape
    for i, j in ((0, 0), (0, ROWS), (1, 3), (1, ROWS + 6)):
        assert int(whole[i, j]) == int(inverse_cdf(logits[i, j], uniform[i, j]))
