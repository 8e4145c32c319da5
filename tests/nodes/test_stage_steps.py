"""MGT Stage Steps reads a number for each code book."""

import pytest

from mgt_core import MGTError, StageSteps
from mgt_core.sampling.stages import stage_steps
from support.golden import OWN, bundles, pipeline
from support.golden_magnet import after_projection
from support.node_runs import NODES, run

MODEL = after_projection(OWN / "audio" / "magnet")
KIND = NODES["MGTStageSteps"]


def test_unchanged_it_divides_as_the_published_networks_do():
    (model,) = run("MGTStageSteps", model=MODEL)
    assert model.patch("stage_steps") == StageSteps() and stage_steps(model, 50) == [20, 10, 10, 10]
    assert MODEL.patches == ()


@pytest.mark.parametrize("text", ["60, 10, 10, 10", " 60 10,10  10\n", "60,10,10,10,"])
def test_numbers_are_read_as_people_write_them(text):
    (model,) = run("MGTStageSteps", model=MODEL, shares=text)
    assert model.stage_shares == (60, 10, 10, 10) and KIND.VALIDATE_INPUTS(shares=text) is True


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "stage steps are (); expected whole numbers, one a stage"),
        ("20, ten", "shares are '20, ten'; expected whole numbers, one a code book, such as 20, 10, 10, 10"),
        ("20, 0, 1, 1", "steps of a stage is 0; accepted are whole numbers from 1 to 100000"),
    ],
)
def test_bad_texts_are_told_before_anything_runs(text, words):
    assert KIND.VALIDATE_INPUTS(shares=text) == words
    with pytest.raises(MGTError) as told:
        run("MGTStageSteps", model=MODEL, shares=text)
    assert str(told.value) == words


def test_another_model_is_told():
    with pytest.raises(MGTError, match="^the stage steps are 20, 10; this model has 4 stages"):
        run("MGTStageSteps", model=MODEL, shares="20, 10")
    with pytest.raises(MGTError, match="it fills its grid at once, in no stages; it works with magnet$"):
        run("MGTStageSteps", model=pipeline(bundles()[0]).model)
