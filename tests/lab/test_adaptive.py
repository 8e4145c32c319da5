"""Samplers that look at how sure a model is, on truths of which every picture can be tried: a run whose draws are those
of a picture tells the probability with which the sampler makes it."""

from dataclasses import replace

import pytest
import torch

from mgt_core import KLASS, EntropyBounded
from mgt_core.lab.potts import Potts
from support.lab import HOT, LEVEL, SMALL, SURE, bias, marginals, p_of, product, run, sampled

COLD = (0.0, 0.0)
BOUNDS = (0.0, 0.02, 0.3, 1.5, 100.0)
small = pytest.mark.parametrize("name", SMALL)
blind = pytest.mark.parametrize("order", ["entropy", "confidence", "margin"])  # to what was drawn


class Forced:
    """A source of draws that draws what it is told."""

    def __init__(self, grids):
        self.grids = grids

    def __call__(self, generators, cells):
        return self

    def categorical(self, logits, step):
        return self.grids.gather(1, step.positions)

    def gumbel(self, step):
        return torch.zeros(self.grids.shape)


def every_picture(truth, sampler, **settings):
    """log q [V^N] of the pictures of a small truth, and the state that they end with."""
    grids = truth.every_grid()
    state = sampled(truth, len(grids), sampler=replace(sampler, draws=Forced(grids)), **settings)
    assert torch.equal(state.tokens.flatten(1), grids)
    return state.confidence.flatten(1).double().sum(1), state


def excess(truth, log_q):
    """KL(p || q)."""
    p = truth.probabilities(0)
    return float((p * (p.log() - log_q)).sum())


class TestEntropyBounded:
    @small
    @blind
    def test_one_cell_at_a_time_is_the_truth(self, name, order):
        """Picture by picture, and so for the whole law: the order follows the picture, but not the coming draw."""
        truth = SMALL[name]
        log_q, state = every_picture(truth, EntropyBounded(COLD, bound=0.0, order=order))
        torch.testing.assert_close(log_q, truth.probabilities(0).log(), rtol=0, atol=2e-5)
        orders = {tuple(row) for row in state.revealed_at.flatten(1).tolist()}
        assert len(orders) > 1 or name == "codewords"  # all of whose cells are alike

    @small
    @blind
    def test_one_cell_at_a_time_with_noise_in_the_order(self, name, order):
        assert p_of(SMALL[name], run(SMALL[name], sampler=EntropyBounded((1.0, 0.0), bound=0.0, order=order))) > LEVEL

    def test_the_order_of_the_draws_is_not(self):
        truth = SMALL["potts"]
        assert p_of(truth, run(truth, sampler=EntropyBounded(COLD, bound=0.0, order="drawn"))) < SURE

    @small
    @blind
    def test_the_divergence_is_within_the_bounds_of_the_steps(self, name, order):
        """Whatever the bound, q is a law, and KL(p || q) no more than the bound for every step of several cells."""
        truth, p = SMALL[name], SMALL[name].probabilities(0)
        found, calls = [], []
        for bound in BOUNDS:
            log_q, state = every_picture(truth, EntropyBounded(COLD, bound=bound, order=order))
            assert float(log_q.exp().sum()) == pytest.approx(1, abs=1e-5)
            at = state.revealed_at.flatten(1)
            cells = torch.stack([(at == step).sum(1) for step in range(truth.cells)], 1)
            found.append(excess(truth, log_q))
            calls.append(float(p @ (cells > 0).sum(1).double()))
            assert found[-1] <= bound * float(p @ (cells > 1).sum(1).double()) + 1e-5
        assert calls == sorted(calls, reverse=True)
        assert (calls[0], calls[-1]) == (pytest.approx(truth.cells), pytest.approx(1))
        assert found[-1] == max(found) > 0.01 and abs(found[0]) < 1e-5

    def test_cells_that_are_independent_cost_nothing(self):
        truth = Potts(coupling=0.0, bias=bias())
        for bound in BOUNDS:
            assert abs(excess(truth, every_picture(truth, EntropyBounded(COLD, bound=bound))[0])) < 1e-5

    @small
    def test_in_one_step_it_is_the_product_of_the_marginals(self, name):
        truth = SMALL[name]
        log_q, _ = every_picture(truth, EntropyBounded(COLD, bound=0.1), steps=1)
        torch.testing.assert_close(log_q, product(truth, marginals(truth)).log().double(), rtol=0, atol=2e-5)


class TestKLASS:
    @small
    def test_one_cell_at_a_time_in_random_order_is_the_truth(self, name):
        """Where nothing is sure enough; and what is ready is drawn, whatever its probability."""
        assert p_of(SMALL[name], run(SMALL[name], sampler=KLASS(HOT, confidence=1.0))) > LEVEL

    def test_cells_that_are_independent_are_done_as_soon_as_they_can_be_compared(self):
        truth, seen = Potts(coupling=0.0, bias=bias()), []
        sampler = KLASS(HOT, confidence=0.0, kl=1e-3, history=1)
        assert p_of(truth, run(truth, sampler=sampler, callback=seen.append)) > LEVEL
        assert len(seen) == 2

    def test_what_depends_on_each_other_is_revealed_too_soon(self):
        truth = SMALL["potts"]
        assert p_of(truth, run(truth, sampler=KLASS(HOT, confidence=0.0, kl=100.0, history=1))) < SURE
