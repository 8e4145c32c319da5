"""Runs compared draw by draw: what rounding explains, and what it does not."""

from dataclasses import replace

import pytest
import torch

import mgt_core
from bench.device.ties import NEAR, Choice, Draw, border_gaps, compare, watched
from mgt_core.sampling.draws import inverse_cdf
from support.golden import bundles, pipeline

BORDER = 0.25  # between the first two of four codes that are equally likely


def draw(uniform, shift=0.0, ids=None):
    """One row of four codes; shift: added to the first logit."""
    logits, uniform = torch.tensor([[1.0 + shift, 1, 1, 1]]), torch.tensor([uniform], dtype=torch.float64)
    return Draw(logits, uniform, inverse_cdf(logits, uniform) if ids is None else torch.tensor(ids))


def run(model, pipe):
    positive, negative = pipe.text.encode(["a cat"]), pipe.text.encode([""])
    side = 8 * pipe.codec.scale
    with watched() as found:
        out = mgt_core.sample(
            model, mgt_core.empty_tokens(pipe, side, side), positive, negative, steps=4, cfg=3.0, seed=0
        )
    return found.events, out.tokens


@pytest.fixture(scope="module")
def pipe():
    return pipeline(bundles()[0])


def test_watching_changes_nothing_and_leaves_nothing(pipe):
    events, tokens = run(pipe.model, pipe)
    assert torch.equal(tokens, run(pipe.model, pipe)[1])
    draws = [event for event in events if isinstance(event, Draw)]
    assert len(draws) == 4 and len(events) == 8 and draws[0].ids.numel() == tokens.numel()
    assert torch.equal(inverse_cdf(draws[1].logits, draws[1].uniform), draws[1].ids)
    from mgt_core.sampling import step
    from mgt_core.sampling.draws import GeneratorDraws

    assert step.least_confident.__name__ == "least_confident" and GeneratorDraws.chooser.__name__ == "chooser"


def test_the_same_run_is_the_same(pipe):
    found = compare(run(pipe.model, pipe)[0], run(pipe.model, pipe)[0])
    assert (found.verdict, found.differing, found.logits_error) == ("same", 0, 0.0)
    assert found.draws > 100 and found.choices > 100


def test_other_tokens_of_another_technique_differ(pipe):
    found = compare(run(pipe.model, pipe)[0], run(pipe.model.with_token_merging(0.5), pipe)[0])
    assert found.verdict == "differs" and "logits" in found.reason and found.logits_error > NEAR


def test_rounding_of_the_weights_is_within_the_tolerance(pipe):
    """As another device would round, but more."""
    network, generator = mgt_core.replaced(pipe.model.network, {}, share=False), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in network.parameters():
            value.mul_(1 + 1e-7 * torch.randn(value.shape, generator=generator))
    found = compare(run(pipe.model, pipe)[0], run(replace(pipe.model, network=network), pipe)[0])
    assert found.verdict in ("same", "near ties") and 0 < found.logits_error < NEAR


def test_a_uniform_on_the_border_is_a_near_tie():
    found = compare([draw(BORDER - 1e-7)], [draw(BORDER - 1e-7, shift=-2e-6)])
    assert found.verdict == "near ties" and found.differing == 1
    assert found.gap == pytest.approx(1e-7, rel=0.3)


@pytest.mark.parametrize("other", [1, 2, 3])
def test_another_code_far_from_the_border_is_none(other):
    found = compare([draw(0.1)], [draw(0.1, shift=-2e-6, ids=[other])])
    assert found.verdict == "differs" and "rounding" in found.reason
    assert found.gap == pytest.approx(0.25 * other - 0.1, abs=1e-6)


def test_logits_beyond_the_tolerance_are_none():
    found = compare([draw(BORDER - 1e-7)], [draw(BORDER - 1e-7, shift=-1e-2)])
    assert found.verdict == "differs" and "logits" in found.reason


def test_what_is_not_finite_on_one_side_differs():
    broken = draw(0.1)
    broken.logits[0, 2] = float("nan")
    assert compare([draw(0.1)], [broken]).verdict == "differs"


def test_gaps_to_the_stretch_of_the_other_code():
    logits, uniform = torch.zeros(3, 4), torch.tensor([0.2, 0.3, 0.6], dtype=torch.float64)
    gaps = border_gaps(logits, uniform, torch.tensor([0, 1, 2]), torch.tensor([1, 0, 0]))
    assert gaps.tolist() == pytest.approx([0.05, 0.05, 0.35])


def choice(values, chosen):
    return Choice(torch.tensor([values]), torch.tensor([chosen]))


def test_cells_that_change_places_are_near_ties_where_they_were_as_near():
    ours = choice([0.5, 0.5 + 1e-7, 2.0], [True, False, False])
    near = compare([ours], [choice([0.5 + 2e-7, 0.5, 2.0], [False, True, False])])
    assert near.verdict == "near ties" and near.differing == 2 and near.gap == pytest.approx(1e-7, rel=0.5)
    far = compare([ours], [choice([0.5 + 2e-7, 0.5, 2.0], [False, False, True])])
    assert far.verdict == "differs"


def test_runs_of_different_length_differ():
    assert compare([draw(0.1)], [draw(0.1), draw(0.2)]).verdict == "differs"
