"""How the steps of a run are divided among the stages of a model."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mgt_core
from mgt_core import MGTError, StageSteps
from mgt_core.presets import attachment_from
from mgt_core.sampling.stages import stage_steps
from support.golden import OWN, bundles, pipeline
from support.golden_magnet import after_projection
from support.trials import is_sentence

few = settings(max_examples=60, deadline=None, derandomize=True, database=None)
MODEL = after_projection(OWN / "audio" / "magnet")


def run(model, steps):
    """The state at the end, and which book each step was of."""
    width = model.network.condition_widths["hidden"]
    words, none = (mgt_core.Condition(hidden=value * torch.ones(1, 3, width)) for value in (1, 0))
    state, books = mgt_core.empty_state(1, (4, 12), model.mask_id, model.codebook_size), []

    def tell(step):
        books.append(int((step.tokens != step.result.tokens).any(2)[0].int().argmax()))

    return mgt_core.sample(model, state, words, none, steps=steps, seed=3, callback=tell), books


def test_by_default_it_divides_as_the_published_networks_do():
    plain, books = run(MODEL, 10)
    changed, others = run(MODEL.with_patch(StageSteps()), 10)
    assert torch.equal(plain.tokens, changed.tokens) and books == others == [0] * 4 + [1] * 2 + [2] * 2 + [3] * 2


def test_each_stage_takes_its_share():
    out, books = run(MODEL.with_patch(StageSteps((1, 1, 1, 3))), 6)
    assert books == [0, 1, 2, 3, 3, 3] and not out.masked.any()
    assert not torch.equal(out.tokens, run(MODEL, 6)[0].tokens)


@few
@given(st.lists(st.integers(1, 100), min_size=4, max_size=4), st.integers(4, 400))
def test_all_steps_are_taken_and_each_stage_has_one(shares, steps):
    model = MODEL.with_patch(StageSteps(shares))
    divided = stage_steps(model, steps)
    assert sum(divided) == steps and min(divided) >= 1 and len(divided) == 4
    assert stage_steps(model, sum(shares)) == shares


def test_it_can_be_written_in_a_file():
    held = json.loads('{"shares": [60, 10, 10, 10]}')
    assert attachment_from("stage_steps", held) == StageSteps((60, 10, 10, 10))
    assert StageSteps(np.array([60, 10, 10, 10])) == StageSteps([60, 10, 10, 10])


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        (20, "stage steps are 20; expected whole numbers, one a stage"),
        ((), "stage steps are (); expected whole numbers, one a stage"),
        ("20, 10", "stage steps are '20, 10'; expected whole numbers, one a stage"),
        ((20, 0, 1, 1), "steps of a stage is 0; accepted are whole numbers from 1 to 100000"),
        ((20, 1.5, 1, 1), "steps of a stage is 1.5; accepted are whole numbers from 1 to 100000"),
    ],
)
def test_bad_shares_are_told(shares, words):
    with pytest.raises(MGTError) as told:
        StageSteps(shares)
    assert str(told.value) == words


def test_another_number_of_stages_is_told():
    with pytest.raises(MGTError) as told:
        MODEL.with_patch(StageSteps((20, 10)))
    assert str(told.value) == "the stage steps are 20, 10; this model has 4 stages, and takes a number for each"
    assert is_sentence(str(told.value))


def test_a_model_of_pictures_has_no_stages():
    with pytest.raises(MGTError) as told:
        pipeline(bundles()[0]).model.with_patch(StageSteps())
    assert str(told.value) == (
        "the division of steps among stages does not work with the meissonic architecture: it fills its grid at once, "
        "in no stages; it works with magnet"
    )
