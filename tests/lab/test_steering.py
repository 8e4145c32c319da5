"""Steering by a reward where the truth can be listed: one cell at a time, best of n has its known law, and particles
come to p(x) exp(lambda r(x))."""

import pytest
import torch

from mgt_core import BestOf, FixedOrder, MaskGIT, Particles
from support.lab import FIELD, HOT, LEVEL, PICTURES, SURE, p_of, run
from support.steering import OfGrids, seen_as_grids

ONES = FIELD.every_grid().sum(1).double()  # of the 512 grids, with many ties
ODD = torch.randn(
    512, generator=torch.Generator().manual_seed(3)
).double()  # says nothing of a picture before it is done
BLIND = {"random": FixedOrder("random"), "confidence, hot": MaskGIT(HOT)}


def steered(sampler, count=PICTURES, **settings):
    return run(FIELD, count, sampler=sampler, patched=seen_as_grids, **settings)


def best_law(truth, table, n):
    """F(r)^n - F(r-)^n, shared out among grids of one reward as the truth is."""
    p = truth.probabilities(0)
    below, at = (torch.stack([p[choose(table, r)].sum() for r in table]) for choose in (torch.lt, torch.eq))
    return ((below + at) ** n - below**n) * p / at


def tilted(truth, table, scale):
    return (truth.probabilities(0).log() + scale * table).softmax(0)


class TestBestOf:
    @pytest.mark.parametrize("table", [ONES, ODD], ids=["ties", "no ties"])
    @pytest.mark.parametrize("n", [2, 5])
    def test_its_law(self, table, n):
        law = best_law(FIELD, table, n)
        assert abs(float(law.sum()) - 1) < 1e-9
        found = steered(BestOf(n, BLIND["random"], OfGrids(FIELD, table)))
        assert p_of(FIELD, found, law) > LEVEL and p_of(FIELD, found) < SURE

    def test_by_the_models_own_sureness_it_is_the_law_of_the_likeliest(self):
        """With an exact model the log-probabilities of a picture's tokens are those of the truth, by the chain rule."""
        law = best_law(FIELD, FIELD.probabilities(0).log().float().double(), 3)
        found = run(FIELD, sampler=BestOf(3, BLIND["random"]))
        assert p_of(FIELD, found, law) > LEVEL and p_of(FIELD, found) < SURE


class TestParticles:
    SCALE, MANY, COUNT = 0.3, 64, 256

    def drawn(self, n, table=ONES, scale=SCALE, **settings):
        inner = settings.pop("inner", BLIND["random"])
        return Particles(n, inner, OfGrids(FIELD, table), weight=scale, pick="drawn", **settings)

    def away(self, tokens, table, law):
        """Of the mean reward from that of the law, in standard errors."""
        mean = (law * table).sum()
        error = ((law * table**2).sum() - mean**2).sqrt() / len(tokens) ** 0.5
        return float((table[FIELD.number_of(tokens)].mean() - mean) / error)

    @pytest.mark.parametrize("order", BLIND)
    def test_without_a_weight_the_truth_stays(self, order):
        """Every second step scored; what is drawn at the end is any of them."""
        assert p_of(FIELD, steered(self.drawn(2, scale=0.0, inner=BLIND[order]))) > LEVEL

    def test_rewards_that_are_all_alike_leave_the_truth_too(self):
        assert p_of(FIELD, steered(self.drawn(2, 0 * ONES, scale=5.0))) > LEVEL

    @pytest.mark.parametrize(
        "settings",
        [
            {"every": 2, "threshold": 0.5},
            {"every": 3, "potential": "max"},
            {"every": 4, "potential": "sum"},
            {"every": 3, "inner": MaskGIT(HOT)},
            {"every": 3, "table": ODD},  # says nothing of a picture before it is done
        ],
        ids=["by effective size", "max", "sum", "confidence, hot", "misleading on the way"],
    )
    def test_many_come_to_the_tilted_truth(self, settings):
        table = settings.get("table", ONES)
        law = tilted(FIELD, table, self.SCALE)
        found = steered(self.drawn(self.MANY, **settings), self.COUNT)
        assert p_of(FIELD, found, law) > LEVEL and abs(self.away(found, table, law)) < 4
        assert table is ODD or self.away(found, table, FIELD.probabilities(0)) > 6

    def test_the_more_the_nearer(self):
        """From the truth, by one that is resampled at every step, to the tilted one."""
        law, more = tilted(FIELD, ONES, self.SCALE), {1: 1024, 2: 1024, 8: 1024, self.MANY: self.COUNT}
        found = {n: steered(self.drawn(n, every=1), count) for n, count in more.items()}
        means = [float(ONES[FIELD.number_of(tokens)].mean()) for tokens in found.values()]
        assert means == sorted(means) and abs(self.away(found[1], ONES, FIELD.probabilities(0))) < 4
        assert self.away(found[2], ONES, law) < -10 and p_of(FIELD, found[2], law) < SURE  # two are too few
        assert abs(self.away(found[self.MANY], ONES, law)) < 4
        assert (
            abs(self.away(found[self.MANY], ONES, tilted(FIELD, ONES, 2 * self.SCALE))) > 6
        )  # and another tilt is told
