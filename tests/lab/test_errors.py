"""Errors that are put into a truth: each with its size, none where it is 0."""

import pytest
import torch

import mgt_core
from mgt_core.lab.branch import LabBranch
from mgt_core.lab.errors import (
    LogitNoise,
    ModelError,
    Reach,
    Smoothed,
    WeakCondition,
    WrongTarget,
    hashed_normal,
    spoiled,
)
from support.lab import FIELD, LARGE, exact, run, sampled

KINDS = ModelError.__subclasses__()
TREE = LARGE["quadtree"]


def some(truth, known=0.6, batch=16):
    tokens = exact(truth, batch)
    hidden = torch.rand(tokens.shape, generator=torch.Generator().manual_seed(3)) > known
    return tokens.masked_fill(hidden, truth.mask_id), torch.arange(batch) % (truth.classes + 1) - 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LARGE)
def test_neutral_settings_leave_the_truth(kind, name):
    given = some(LARGE[name])
    wrong = spoiled(LARGE[name], [kind(**kind.neutral)])
    assert (wrong.grid, wrong.codes, wrong.classes) == (LARGE[name].grid, LARGE[name].codes, LARGE[name].classes)
    torch.testing.assert_close(
        wrong.logits(*given).log_softmax(-1), LARGE[name].logits(*given).log_softmax(-1), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_acts_and_runs(kind):
    wrong, given = spoiled(TREE, [kind()]), some(TREE)
    assert not torch.allclose(wrong.logits(*given).softmax(-1), TREE.logits(*given).softmax(-1), atol=1e-3)
    assert torch.equal(wrong.logits(*given), wrong.logits(*given))  # a fixed function
    assert not sampled(wrong, 8, steps=4, cfg=2.0).masked.any()


class TestLogitNoise:
    def test_it_is_normal(self):
        values = hashed_normal(torch.arange(200_000)).double()
        for power, moment in ((1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0)):
            assert abs(float((values**power).mean()) - moment) < 0.06
        assert abs(float((values[1:] * values[:-1]).mean())) < 0.01

    def test_its_size_and_what_lasts(self):
        """The share of the variance that two contexts have in common."""
        tokens, labels = some(TREE, batch=64)
        for lasting in (0.0, 0.25, 1.0):
            wrong = spoiled(TREE, [LogitNoise(2.0, lasting)])
            noise = wrong.logits(tokens, labels) - TREE.logits(tokens, labels)
            assert float(noise.std()) == pytest.approx(2.0, rel=0.1)
            shared = (noise[1:] * noise[:-1]).mean() / noise.square().mean()
            assert float(shared) == pytest.approx(lasting, abs=0.05)

    def test_classes_and_contexts_differ(self):
        tokens, _ = some(TREE, batch=2)
        noise = spoiled(TREE, [LogitNoise(1.0)])
        gaps = [noise.logits(tokens, label) - TREE.logits(tokens, label) for label in torch.tensor([[0, 0], [1, 1]])]
        assert not torch.allclose(gaps[0], gaps[1], atol=0.1) and not torch.allclose(gaps[0][0], gaps[0][1], atol=0.1)


class TestReach:
    def test_far_cells_do_not_count(self):
        """A 5 x 7 grid, reach 1: against a truth that is asked with the others masked by hand."""
        truth, (tokens, labels) = LARGE["codewords"], some(LARGE["codewords"])
        found = spoiled(truth, [Reach(1)]).logits(tokens, labels).unflatten(1, (5, 7))
        near = tokens.unflatten(1, (5, 7)).clone()
        outside = torch.ones(5, 7, dtype=torch.bool)
        outside[1:4, 2:5] = False
        masked = near.masked_fill(outside, truth.mask_id).flatten(1)
        torch.testing.assert_close(found[:, 2, 3], truth.logits(masked, labels).unflatten(1, (5, 7))[:, 2, 3])

    def test_cells_of_a_block_see_the_same(self):
        tokens, labels = some(TREE)
        found = spoiled(TREE, [Reach(0, block=4)]).logits(tokens, labels).unflatten(1, (8, 8))
        corner = torch.ones(8, 8, dtype=torch.bool)
        corner[:4, 4:] = False
        own = TREE.logits(tokens.masked_fill(corner.flatten(), TREE.mask_id), labels).unflatten(1, (8, 8))
        torch.testing.assert_close(found[:, :4, 4:], own[:, :4, 4:])


class TestConditions:
    def test_half_heard_is_half_way_to_none(self):
        tokens, labels = some(FIELD)
        free, own = (FIELD.logits(tokens, given) for given in (torch.full_like(labels, -1), labels))
        found = spoiled(FIELD, [WeakCondition(0.5)]).logits(tokens, labels)
        torch.testing.assert_close(found, (free + own) / 2)

    def test_a_wrong_target_leaves_the_classes_right(self):
        tokens, _ = some(FIELD)
        wrong = spoiled(FIELD, [WrongTarget(0.5)])
        for label, factor in ((-1, 0.5), (0, 1.0), (1, 1.0)):
            labels = torch.full((len(tokens),), label)
            torch.testing.assert_close(wrong.logits(tokens, labels), factor * FIELD.logits(tokens, labels))


def test_errors_are_put_on_in_turn():
    given = some(TREE)
    both = spoiled(TREE, [Smoothed(0.2), LogitNoise(1.0)]).logits(*given)
    torch.testing.assert_close(both, LogitNoise(1.0).spoil(spoiled(TREE, [Smoothed(0.2)]), *given))
    assert not torch.allclose(both, spoiled(TREE, [LogitNoise(1.0), Smoothed(0.2)]).logits(*given))


def test_min_p_mends_smoothing():
    """What a smoothed model gives to codes that the truth rules out is cut: pictures are likelier again."""
    wrong = spoiled(TREE, [Smoothed(0.2)])
    labels = torch.zeros(256, dtype=torch.long)
    settings = {"batch": 256, "sampler": "halton", "steps": 16}
    plain = TREE.log_probability(run(wrong, **settings), labels).mean()
    cut = TREE.log_probability(
        run(wrong, patched=lambda model: model.with_modifier(mgt_core.MinP(0.1)), **settings), labels
    ).mean()
    assert cut > plain + 10


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: LogitNoise(-1.0), "logit noise scale is -1.0"),
        (lambda: Smoothed(1.5), "smoothing share is 1.5"),
        (lambda: Reach(-1), "reach in cells is -1"),
        (lambda: Reach(1, block=0), "block of a reach is 0"),
        (lambda: WeakCondition(-0.5), "heed of the condition is -0.5"),
        (lambda: WrongTarget(2.0), "share of a wrong guidance target is 2.0"),
        (lambda: LabBranch(3, blank=2.0), "blank is 2.0"),
        (lambda: spoiled(TREE, ["noise"]), "a model error is 'noise'"),
        (lambda: spoiled(TREE, [Smoothed]), "expected a ModelError"),
    ],
)
def test_refusals(make, words):
    with pytest.raises(mgt_core.MGTError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)
