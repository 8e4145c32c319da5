"""Momentum: its rules on numbers worked out by hand, and what they leave alone."""

import math

import pytest
import torch

import mgt_core
from mgt_core.samplers.momentum import RULES, Extrapolation
from mgt_core.types import Step
from support.runs import empty, run, steps_of


def logits(*shares: float) -> torch.Tensor:
    """[1, 1, V]"""
    return torch.tensor([[[math.log(share) for share in shares]]])


def step(index: int) -> Step:
    tokens, where = torch.zeros(1, 1, 1, dtype=torch.long), torch.zeros(1, 1, dtype=torch.long)
    return Step(index=index, total=4, tokens=tokens, positions=where, masked=torch.ones(1, 1, dtype=torch.bool))


def after(rule: str, momentum: float, *predictions: torch.Tensor) -> list[list[float]]:
    """What is drawn from at each step, of one cell with these predictions."""
    made = Extrapolation(momentum, RULES[rule])
    return [made(each, step(k)).softmax(-1).flatten().tolist() for k, each in enumerate(predictions)]


def near(values, wanted) -> bool:
    return all(math.isclose(a, b, abs_tol=1e-6) for a, b in zip(values, wanted, strict=True))


FIRST, SECOND, THIRD = logits(0.5, 0.25, 0.25), logits(0.4, 0.2, 0.4), logits(0.6, 0.3, 0.1)


class TestRules:
    def test_logits_move_on_by_a_share_of_what_they_moved(self):
        """Shares to the power: 0.4 (0.4 / 0.5) : 0.2 (0.2 / 0.25) : 0.4 (0.4 / 0.25) = 0.32 : 0.16 : 0.64."""
        first, second = after("logits", 1.0, FIRST, SECOND)
        assert near(first, (0.5, 0.25, 0.25)) and near(second, (0.32 / 1.12, 0.16 / 1.12, 0.64 / 1.12))

    def test_log_probabilities_are_the_same_as_logits(self):
        shifted = after("logits", 0.7, FIRST + 3.0, SECOND - 11.0)
        assert all(near(a, b) for a, b in zip(shifted, after("logits", 0.7, FIRST, SECOND), strict=True))

    def test_probabilities_move_on_by_a_share_of_what_they_moved(self):
        """0.4 + 0.5 (0.4 - 0.5), 0.2 + 0.5 (0.2 - 0.25), 0.4 + 0.5 (0.4 - 0.25)."""
        assert near(after("probabilities", 0.5, FIRST, SECOND)[1], (0.35, 0.175, 0.475))

    def test_negative_probabilities_are_left_out(self):
        """0.6 + 4 (0.2), 0.3 + 4 (0.1), 0.1 + 4 (-0.3) < 0, the rest normalized."""
        assert near(after("probabilities", 4.0, FIRST, SECOND, THIRD)[2], (1.4 / 2.1, 0.7 / 2.1, 0.0))

    @pytest.mark.parametrize("theta", [0.3, 0.5, 0.8])
    def test_trapezoidal_is_the_published_combination(self, theta):
        """a_1 mu_mid - a_2 mu_left, of rates that are proportional to the predictions."""
        a1 = 1 / (2 * theta * (1 - theta))
        a2 = ((1 - theta) ** 2 + theta**2) * a1
        rates = [max(0.0, a1 * mid - a2 * left) for mid, left in zip((0.4, 0.2, 0.4), (0.5, 0.25, 0.25), strict=True)]
        assert near(after("trapezoidal", a2, FIRST, SECOND)[1], [rate / sum(rates) for rate in rates])

    def test_trapezoidal_acts_in_the_second_of_every_two_steps(self):
        found = after("trapezoidal", 1.0, FIRST, SECOND, THIRD, SECOND)
        assert near(found[0], (0.5, 0.25, 0.25)) and near(found[2], (0.6, 0.3, 0.1))
        assert near(found[1], (0.3, 0.15, 0.55))
        assert near(found[3], (0.2 / 1, 0.1 / 1, 0.7 / 1))  # 0.4 - 0.2, 0.2 - 0.1, 0.4 + 0.3

    def test_a_cell_that_was_not_seen_keeps_its_prediction(self):
        made = Extrapolation(1.0, RULES["probabilities"])
        unseen = Step(**{**vars(step(0)), "masked": torch.zeros(1, 1, dtype=torch.bool)})
        made(FIRST, unseen)
        assert torch.equal(made(SECOND, step(1)), SECOND)


@pytest.mark.parametrize("rule", RULES)
class TestRuns:
    def test_without_momentum_it_is_maskgit(self, rule):
        plain = run(empty(batch=2), sampler="maskgit", steps=5, seed=3)
        assert torch.equal(
            run(empty(batch=2), sampler=mgt_core.Momentum(momentum=0.0, rule=rule), steps=5, seed=3).tokens,
            plain.tokens,
        )

    def test_it_changes_what_is_drawn(self, rule):
        plain = run(empty(batch=2), sampler="maskgit", steps=6, seed=3)
        changed = run(empty(batch=2), sampler=mgt_core.Momentum(momentum=4.0, rule=rule), steps=6, seed=3)
        assert not torch.equal(changed.tokens, plain.tokens) and not bool(changed.masked.any())

    def test_an_image_is_the_same_alone(self, rule):
        sampler = mgt_core.Momentum(momentum=2.0, rule=rule)
        both = run(empty(batch=2), sampler=sampler, steps=5, seed=7).tokens
        assert torch.equal(run(empty(), sampler=sampler, steps=5, seed=8).tokens[0], both[1])


def test_what_it_takes():
    with pytest.raises(
        mgt_core.MGTError, match="momentum rule is 'heun'; accepted are logits, probabilities, trapezoidal"
    ):
        mgt_core.Momentum(rule="heun")
    _, seen = steps_of(empty(), sampler=mgt_core.Momentum(rule="trapezoidal"), steps=3)
    assert len(seen) == 3
