"""The temperature of the draw itself, beside that of the confidence."""

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mgt_core
from mgt_core import MaskGIT, MGTError
from mgt_core.recommended import checked_settings
from mgt_core.sampling.draws import GeneratorDraws, cpu_generator
from mgt_core.sampling.run import Plan, Run
from mgt_core.sampling.step import at_temperature
from mgt_core.types import Step
from support.device import equal
from support.runs import NEGATIVE, PIPE, POSITIVE, empty


def drawn(**settings):
    return mgt_core.sample(PIPE.model, empty(), POSITIVE, NEGATIVE, sampler=MaskGIT((1.0, 0.0), **settings), steps=4)


def test_one_draws_as_ever():
    assert equal(drawn(draw_temperature=1.0).tokens, drawn().tokens)
    assert not torch.equal(drawn(draw_temperature=0.3).tokens, drawn().tokens)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.floats(0.05, 20.0))
def test_ids_are_those_of_the_sharpened_distribution(seed, temperature):
    """As numpy sums it in float64: the first id whose share of p^(1/t), with those before it, is above the number."""
    logits = torch.randn(1, 5, 7, generator=torch.Generator().manual_seed(seed)) * 3
    step = Step(0, 1, torch.zeros(1, 1, 5), positions=torch.arange(5)[None], masked=torch.ones(1, 5, dtype=torch.bool))
    ours = at_temperature(GeneratorDraws([cpu_generator(seed)], 5).categorical, temperature)(logits, step)
    numbers = torch.rand(5, generator=cpu_generator(seed), dtype=torch.float64).numpy()
    power = numpy.exp((logits[0] - logits[0].amax(-1, keepdim=True)).double().numpy() / temperature)
    shares = (power / power.sum(-1, keepdims=True)).cumsum(-1)
    near = numpy.abs(shares - numbers[:, None]).min(-1) < 1e-5  # float32 may fall to either side
    wanted = (shares <= numbers[:, None]).sum(-1)
    assert (numpy.equal(ours[0].numpy(), wanted) | near).all()


def test_at_zero_the_likeliest_is_drawn():
    logits = torch.randn(2, 3, 5)
    for cold in (0, 1e-38):  # by which logits cannot be divided
        assert equal(at_temperature(lambda *_: pytest.fail("nothing is drawn"), cold)(logits, None), logits.argmax(-1))


@torch.inference_mode()
def test_the_confidence_is_that_of_the_plain_logits():
    conditions = [PIPE.model.complete(each, 1, (4, 4), "given") for each in (POSITIVE, NEGATIVE)]
    state = mgt_core.empty_tokens(PIPE, 4 * PIPE.codec.scale, 4 * PIPE.codec.scale)
    plan = Plan(mgt_core.SCHEDULES.get("cosine")(), 4, 2.0, [0], [0.0] * 4, draw_temperatures=[0.25] * 4)
    run = Run(PIPE.model, state, *conditions, plan)
    found = run.draw(0)
    logits = run.evaluate(run.tokens, 0, 2.0, [16]).rows()
    wanted = logits.log_softmax(-1).gather(-1, found.tokens[..., None])[..., 0]
    torch.testing.assert_close(found.log_probability, wanted, atol=1e-5, rtol=0)


def test_same_follows_the_temperature_of_the_confidence():
    sampler = MaskGIT((2.0, 0.0), temperature_shape="linear", draw_temperature="same")
    assert sampler.draw_temperatures(5) == sampler.temperatures(5) == [2.0, 1.5, 1.0, 0.5, 0.0]
    assert MaskGIT().draw_temperatures(2) == mgt_core.FixedOrder().draw_temperatures(2) == [1.0, 1.0]


def test_a_model_may_recommend_it():
    own = {
        "temperature": (3.0, 1.0),
        "temperature_shape": "linear",
        "draw_temperature": "same",
        "known_confidence": 1.0,
    }
    assert MaskGIT().fitted(own).draw_temperatures(3) == [3.0, 2.0, 1.0]
    assert MaskGIT(draw_temperature=0.5).fitted(own).draw_temperatures(2) == [0.5, 0.5]
    assert MaskGIT((0.5, 0.5)).fitted(own).draw_temperatures(2) == [0.5, 0.5]


@pytest.mark.parametrize("value", ["warm", -0.1, float("nan"), [1.0]])
def test_other_values_are_refused(value):
    for call in (lambda: MaskGIT(draw_temperature=value), lambda: checked_settings({"draw_temperature": value})):
        with pytest.raises(MGTError, match="^draw_temperature is "):
            call()
