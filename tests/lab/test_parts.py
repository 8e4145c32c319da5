"""Every part of the registries with every truth: it runs, or is refused by a sentence."""

import pytest
import torch

import mgt_core
from mgt_core import MODIFIERS, ORDERS, PATCHES, SAMPLERS, SCHEDULES
from mgt_core.backbones.branch import fresh_branch
from mgt_core.lab.backbone import all_masked, lab_model, labelled
from mgt_core.lab.codewords import Codewords
from mgt_core.lab.errors import Smoothed, spoiled
from mgt_core.lab.potts import Potts
from mgt_core.lab.quadtree import Quadtree
from support.families import ACTING
from support.lab import LARGE, run, sampled

every_truth = pytest.mark.parametrize("name", LARGE)


def steps_of(name):
    return {"batch": 8, "steps": 4, "cfg": 2.0, "positive": LARGE[name].classes - 1}


@every_truth
@pytest.mark.parametrize("sampler", [*SAMPLERS])
def test_samplers(name, sampler):
    if sampler == "one_step":
        with pytest.raises(mgt_core.MGTError, match="noise on the embeddings does not work with the LabBackbone"):
            run(LARGE[name], sampler=sampler, **steps_of(name))
        sampler = mgt_core.OneStep(noise=0.0)
    after = sampled(LARGE[name], sampler=sampler, **steps_of(name))
    assert not after.masked.any() and after.tokens.max() < LARGE[name].codes and after.confidence.isfinite().all()


@every_truth
@pytest.mark.parametrize("schedule", [*SCHEDULES])
def test_schedules(name, schedule):
    seen = []
    sampled(LARGE[name], schedule=schedule, callback=seen.append, **steps_of(name))
    counts = SCHEDULES.get(schedule)().counts(4, LARGE[name].cells)
    assert [int(step.result.masked[0].sum()) for step in seen] == counts


@every_truth
@pytest.mark.parametrize("order", [*ORDERS])
def test_orders(name, order):
    assert not sampled(LARGE[name], sampler=mgt_core.FixedOrder(order), **steps_of(name)).masked.any()


@every_truth
@pytest.mark.parametrize("part", [*MODIFIERS, *PATCHES])
def test_modifiers_and_patches(name, part):
    kind = (MODIFIERS if part in MODIFIERS else PATCHES).get(part)
    if part == "compile" and name != "potts":
        pytest.skip("it compiles for seconds, and knows nothing of truths")

    def attached(model):
        return model.with_part(kind(**ACTING.get(part, lambda model: {})(model)))

    if getattr(kind, "needs", ""):
        with pytest.raises(mgt_core.MGTError, match=f"{kind.title} does not work with the LabBackbone architecture"):
            run(LARGE[name], patched=attached, **steps_of(name))
        return
    assert not sampled(LARGE[name], patched=attached, **steps_of(name)).masked.any()


@every_truth
def test_fresh_branches_forget_half(name):
    """What a model of the library is given when no branch was trained."""
    model = mgt_core.lab.backbone.lab_model(LARGE[name])
    branch = fresh_branch(model.network)
    assert branch.blank_share == 0.5 and model.with_self_guidance(branch).patch("self_guidance") is not None


def test_a_predictor_as_a_model():
    for predictor in (Potts(), spoiled(Quadtree(side=4), [Smoothed(0.1)]), Codewords(grid=(3, 5))):
        model = lab_model(predictor)
        state = all_masked(model.network.predictor, 2)
        out = mgt_core.sample(model, state, labelled(0), steps=3)
        assert out.tokens.shape == (2, *model.network.trained_grid) and not out.masked.any()
        # As the library hands out logits: of the masked grid, those of the predictor.
        logits = model.logits(state.tokens, labelled(-1), 0)
        own = model.network.predictor.logits(state.tokens.flatten(1), torch.tensor([-1, -1]))
        torch.testing.assert_close(logits.flatten(1, 2), own)


def test_a_label_that_is_none_of_its_classes_is_refused():
    with pytest.raises(mgt_core.MGTError, match="the label 1; accepted are 0 to 0"):
        run(LARGE["potts"], 2, positive=1)
