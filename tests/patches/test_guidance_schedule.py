"""Guidance over the run: the shape that falls as the share of masked tokens does, and single steps."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mgt_core import GuidanceSchedule
from mgt_core.patches.guidance_schedule import GUIDANCE_SHAPES
from support.runs import PIPE, steps_of

few = settings(max_examples=60, deadline=None, derandomize=True, database=None)


@few
@given(st.integers(2, 200), st.floats(0, 30), st.floats(0, 30))
def test_mask_is_the_cosine_of_the_share_that_is_done(total, cfg, outside):
    values = [GuidanceSchedule(shape="mask", outside=outside).guidance(cfg, k, total) for k in range(total)]
    wanted = [outside + (cfg - outside) * math.cos(math.pi / 2 * k / (total - 1)) for k in range(total)]
    assert values == pytest.approx(wanted, abs=1e-12) and values[-1] == outside


@pytest.mark.parametrize("shape", GUIDANCE_SHAPES)
def test_a_single_step(shape):
    """It has masked tokens alone, so mask has all of the guidance; the others are at their end."""
    wanted = {"falling": 1.0}.get(shape, 9.0)
    assert GuidanceSchedule(shape=shape).guidance(9.0, 0, 1) == wanted
    assert GuidanceSchedule(0.4, 0.6, shape).guidance(9.0, 2, 4) == wanted


def test_the_last_step_looks_at_the_prompt_alone():
    pipe = replace(PIPE, model=PIPE.model.with_patch(GuidanceSchedule(shape="mask")))
    assert steps_of(pipe=pipe, sampler="maskgit")[1][-1].passes == 2 * 5 - 1
