"""Measures against sums over all grids and against figures that are known."""

import math

import pytest
import torch

import mgt_core
from mgt_core import FixedOrder
from mgt_core.lab import measures
from mgt_core.lab.backbone import all_masked, given
from mgt_core.lab.exact_kl import log_ratios
from mgt_core.lab.truth import Estimate
from mgt_core.schedules.base import schedule_from
from support import exact_kl
from support.fit import chi_square_tail, fit_p, pooled_p
from support.lab import FIELD, LARGE, SMALL, exact, run, sampled


class TestExactKL:
    @pytest.mark.parametrize("name", SMALL)
    @pytest.mark.parametrize("order, counts, steps", [("halton", "arccos", 3), ("raster", "schedule", 4)])
    def test_a_run_records_what_enumeration_gives(self, name, order, counts, steps):
        truth, sampler = SMALL[name], FixedOrder(order, counts=counts)
        revealed = exact_kl.groups(sampler, schedule_from("cosine"), steps, truth.grid)
        sure = exact_kl.enumerated(truth, truth, revealed)
        before = all_masked(truth, 4096)
        after = sampled(truth, state=before, sampler=sampler, schedule="cosine", steps=steps)
        labels = torch.zeros(4096, dtype=torch.long)
        found = Estimate.of(log_ratios(truth, before, after, labels))
        assert sure.kl > 0.01 and abs(found.value - sure.kl) < 4 * found.error
        ratios = log_ratios(truth, before, after, labels)
        tokens = after.tokens.flatten(1)
        forced = exact_kl.teacher_forced(truth, revealed, tokens, labels) - truth.log_probability(tokens, labels)
        torch.testing.assert_close(ratios, forced, rtol=0, atol=1e-4)
        lost = exact_kl.forgetting(truth, truth, revealed, exact(truth, 8192), torch.zeros(8192, dtype=torch.long))
        assert abs(lost.value - sure.reverse) < 4 * lost.error
        counted = measures.distance(truth, tokens)
        assert counted.excess - 4 * counted.error < sure.total_variation < counted.value + 4 * counted.error

    def test_groups_are_those_of_a_run(self):
        truth = LARGE["quadtree"]
        for sampler in (FixedOrder(), FixedOrder(counts="schedule"), FixedOrder("raster", counts="schedule")):
            seen = sampled(truth, 2, sampler=sampler, schedule="square", steps=7).revealed_at[0].flatten()
            revealed = exact_kl.groups(sampler, schedule_from("square"), 7, truth.grid)
            assert [cells.sort().values.tolist() for cells in revealed] == [
                (seen == step).nonzero()[:, 0].tolist() for step in range(7)
            ]

    def test_of_what_was_given(self):
        """Inpainting one by one has the truth's conditional."""
        truth, labels = FIELD, torch.zeros(64, dtype=torch.long)
        before = given(truth, exact(truth, 64), torch.arange(9) < 4)
        after = sampled(truth, state=before, sampler="halton")
        ratios = log_ratios(truth, before, after, labels)
        torch.testing.assert_close(ratios, torch.zeros(64).double(), rtol=0, atol=1e-4)

    def test_refusal_of_what_was_repainted(self):
        state = given(FIELD, exact(FIELD, 2), strength=0.5)
        with pytest.raises(mgt_core.MGTError, match="the run repainted given tokens"):
            log_ratios(FIELD, state, state, torch.zeros(2, dtype=torch.long))


class TestDistances:
    @pytest.mark.parametrize("kind", [measures.half_difference, measures.divergence])
    def test_exact_draws_are_at_the_null(self, kind):
        found = measures.distance(FIELD, exact(FIELD, 4000), kind=kind)
        assert 0 < found.value < found.null_high * 1.1 and abs(found.excess) < 5 * found.error

    def test_of_one_picture_of_two(self):
        p, counts = torch.tensor([0.5, 0.5]).double(), torch.tensor([10.0, 0.0]).double()
        assert float(measures.half_difference(counts, p)) == 0.5
        assert float(measures.divergence(counts, p)) == pytest.approx(math.log(2))

    def test_wrong_draws_are_beyond_it(self):
        found = measures.distance(FIELD, exact(FIELD, 4000, label=1))
        assert found.value > found.null_high + 10 * found.error


class TestModes:
    TRUTH = LARGE["codewords"]

    def test_by_hand(self):
        tokens = self.TRUTH.words.clone()
        tokens[2, :3] = (tokens[2, :3] + 1) % self.TRUTH.codes
        found = measures.modes(self.TRUTH, tokens)
        assert found.tolist() == [36 * word + 3 * (word == 2) for word in range(6)]

    def test_exact_draws_are_at_the_null_and_others_beyond(self):
        law = measures.law_of_modes(self.TRUTH, draws=50_000)
        found = measures.of_outcomes(measures.modes(self.TRUTH, exact(self.TRUTH, 2000)), law)
        assert abs(found.excess) < 4 * found.error and found.value < 1.2 * found.null_high
        half = exact(self.TRUTH, 2000)
        half[1000:] = self.TRUTH.words[0]  # one word, without a flaw
        assert measures.of_outcomes(measures.modes(self.TRUTH, half), law).value > 0.4


class TestSurprise:
    def test_of_exact_draws_there_is_none(self):
        for name, truth in LARGE.items():
            found = measures.surprise(truth, exact(truth, 2000), torch.zeros(2000).long(), truth.entropy())
            assert abs(found.value) < 4 * found.error, name

    def test_decoding_that_is_too_sure_is_below(self):
        truth = LARGE["quadtree"]
        tokens = run(truth, 100, sampler="halton", patched=lambda model: model.with_modifier(mgt_core.MinP(0.5)))
        found = measures.surprise(truth, tokens, torch.zeros(100).long(), truth.entropy())
        assert found.interval[1] < -10


class TestPairsAndDiversity:
    def test_agreement_by_hand(self):
        tokens = torch.tensor([[0, 0, 1, 0, 1, 1]])  # 0 0 1 / 0 1 1
        assert measures.agreement(tokens, (2, 3)).tolist() == [[4 / 7, 0.0]]

    def test_pairs_of_exact_draws_have_no_gap(self):
        truth = LARGE["quadtree"]
        gaps = measures.pair_gaps(exact(truth, 3000), exact(truth, 3000, seed=1), truth.grid)
        assert len(gaps) == 7 and all(abs(gap.value) < 4 * gap.error for gap in gaps)

    def test_diversity_by_hand(self):
        assert measures.diversity(torch.tensor([[0, 0], [0, 1], [1, 1]]), 2).value == pytest.approx(2 / 3)

    def test_diversity_of_a_field(self):
        """1 - sum of squares of the marginals, averaged."""
        tables = FIELD.logits(torch.full((1, 9), 2), torch.tensor([0]))[0].double().softmax(-1)
        found = measures.diversity(exact(FIELD, 8000), 2)
        assert abs(found.value - float(1 - tables.square().sum(1).mean())) < 4 * found.error < 0.02


class TestFit:
    def test_tail_of_chi_square(self):
        """Tables of the law (Abramowitz and Stegun, 26.8)."""
        assert chi_square_tail(3.841459, 1) == pytest.approx(0.05, rel=1e-5)
        assert chi_square_tail(18.307038, 10) == pytest.approx(0.05, rel=1e-5)

    def test_a_fair_die(self):
        p = torch.full((6,), 1 / 6).double()
        assert fit_p(torch.tensor([16, 18, 16, 14, 12, 12]), p) == pytest.approx(chi_square_tail(2.0, 5))

    def test_rare_outcomes_are_put_together(self):
        p = torch.cat([torch.tensor([0.5, 0.3]), torch.full((1000,), 0.2 / 1000)]).double()
        counts = torch.multinomial(p, 100, replacement=True, generator=torch.Generator().manual_seed(0)).bincount(
            minlength=1002
        )
        assert 1e-3 < fit_p(counts, p) < 1 - 1e-3
        assert fit_p(torch.tensor([100, 0]), torch.tensor([1.0, 0.0]).double()) == 1.0

    def test_pooled(self):
        assert pooled_p([0.03]) == pytest.approx(0.03)
        assert pooled_p([0.05] * 4) < 0.01 < pooled_p([0.5] * 4)


def test_estimates():
    first, second = Estimate.of(torch.tensor([1.0, 3.0])), Estimate(1.0, 0.0)
    assert (first.value, first.error) == (2.0, 1.0) and first.interval == (2 - 1.96, 2 + 1.96)
    assert first.minus(second) == Estimate(1.0, 1.0) and first.over(2) == Estimate(1.0, 0.5)
    assert math.isinf(Estimate.of(torch.tensor([1.0])).error)
