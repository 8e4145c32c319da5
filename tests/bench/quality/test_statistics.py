"""Statistics of the quality bench against known values."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.quality.statistics import (
    Mean,
    fisher_p,
    holm,
    sign_p,
    student_p,
    student_quantile,
    two_way_interval,
    welch_p,
    win_rate,
)


class TestStatistics:
    @pytest.mark.parametrize(
        ("t", "freedom", "p"),
        [(12.706, 1, 0.05), (2.228, 10, 0.05), (2.069, 23, 0.05), (3.768, 23, 0.001), (1.96, 1e5, 0.05), (0, 7, 1.0)],
    )
    def test_student(self, t, freedom, p):
        """Against printed tables."""
        assert student_p(t, freedom) == pytest.approx(p, rel=2e-3)
        assert student_p(-t, freedom) == student_p(t, freedom)
        if t:
            assert student_quantile(freedom, p) == pytest.approx(t, rel=2e-3)

    def test_two_way(self):
        """Rows and columns vary by themselves: of the same values in every column, columns add nothing."""
        rows = np.random.default_rng(1).normal(2.0, 1.0, (200, 1))
        values, reach = np.repeat(rows, 5, axis=1), 1.96 * rows.std() / math.sqrt(200)
        low, high = two_way_interval(values, draws=2000)
        assert low == pytest.approx(rows.mean() - reach, abs=0.03)
        assert high == pytest.approx(rows.mean() + reach, abs=0.03)
        assert two_way_interval(values.T, draws=2000)[0] == pytest.approx(low, abs=0.03)
        assert two_way_interval(np.full((3, 4), 0.5), draws=100) == (0.5, 0.5)

    def test_mean(self):
        mean = Mean.of(np.array([1.0, 2, 3, 4, 5]))
        assert (mean.value, mean.count) == (3, 5) and mean.deviation == pytest.approx(math.sqrt(2.5))
        assert mean.interval == pytest.approx((3 - 2.776 * math.sqrt(0.5), 3 + 2.776 * math.sqrt(0.5)), rel=1e-3)

    @pytest.mark.parametrize(("wins", "losses", "p"), [(9, 1, 22 / 1024), (5, 5, 1.0), (0, 0, 1.0), (6, 0, 2 / 64)])
    def test_sign(self, wins, losses, p):
        assert sign_p(wins, losses) == pytest.approx(p) == sign_p(losses, wins)

    def test_fisher(self):
        """The lady tasting tea, and a table that R's fisher.test gives 0.04545 for."""
        assert fisher_p(3, 4, 1, 4) == pytest.approx(34 / 70)
        assert fisher_p(4, 4, 0, 4) == pytest.approx(2 / 70)
        assert fisher_p(0, 5, 5, 6) == pytest.approx(0.01515, rel=1e-3)

    def test_welch(self):
        """Welch's own example of unequal spreads: t = -2.7078, 26.5 degrees... as computed by hand below."""
        a, b = Mean(20.0, 4.0, 16), Mean(23.0, 2.0, 4)
        t, freedom = -3 / math.sqrt(1 + 1), (1 + 1) ** 2 / (1 / 15 + 1 / 3)
        assert welch_p(a, b) == pytest.approx(student_p(t, freedom)) == pytest.approx(0.0603, abs=5e-3)
        assert welch_p(a, a) == pytest.approx(1)
        assert welch_p(Mean(1, 0, 5), Mean(2, 0, 5)) == 0 and welch_p(Mean(1, 0, 5), Mean(1, 0, 5)) == 1

    def test_holm(self):
        """Holm's steps: times 4, 3, 2, 1 in order of size, never falling."""
        raised = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
        assert raised == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})

    @given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
    def test_win_rate(self, pairs):
        ours, theirs = (np.array(side, float) for side in zip(*pairs))
        one, other = win_rate(ours, theirs), win_rate(theirs, ours)
        assert one["share"] + other["share"] == pytest.approx(1, abs=2e-4) and one["p"] == other["p"]
        assert one["interval95"][0] - 1e-4 <= one["share"] <= one["interval95"][1] + 1e-4
        assert 0 <= one["interval95"][0] + 1e-9 and one["interval95"][1] <= 1
        assert one["wins"] == other["losses"]

    @given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=8))
    def test_holm_only_raises_and_keeps_the_order(self, ps):
        raised = holm(ps)
        assert all(ps[name] <= raised[name] <= 1 for name in ps)
        assert all(raised[a] <= raised[b] for a in ps for b in ps if ps[a] <= ps[b])

    @given(st.integers(0, 12), st.integers(0, 12))
    def test_fisher_is_symmetric(self, a, b):
        assert fisher_p(a, 12, b, 12) == pytest.approx(fisher_p(b, 12, a, 12))
        assert 0 < fisher_p(a, 12, b, 12) <= 1 + 1e-9
