"""Mask schedules: every registered family, and the float32 counts that published traces depend on."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mgt_core

FAMILIES = mgt_core.list_schedules()
few = settings(max_examples=60, deadline=None, derandomize=True, database=None)
families = st.sampled_from(FAMILIES)


def schedule(name: str) -> mgt_core.MaskSchedule:
    return mgt_core.SCHEDULES.get(name)()


@pytest.mark.parametrize("name", FAMILIES)
def test_ratio_falls_from_one_to_zero(name):
    family = schedule(name)
    ratios = family.ratio(torch.linspace(0, 1, 201))
    assert ratios.dtype == torch.float32
    assert ratios[0] == 1 and ratios[-1] == 0
    assert float(family.ratio(0)) == 1 and float(family.ratio(1.0)) == 0
    assert bool((ratios.diff() <= 0).all()) and bool((ratios[1:-1] < 1).any())


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("progress", [-0.01, 1.01, float("nan"), float("inf")])
def test_progress_outside_the_run_is_refused(name, progress):
    with pytest.raises(mgt_core.MGTError, match="progress is"):
        schedule(name).ratio(progress)


@few
@given(name=families, total=st.integers(1, 5000), data=st.data())
def test_every_step_reveals_at_least_one(name, total, data):
    steps = data.draw(st.integers(1, min(total, 200)))
    counts = schedule(name).counts(steps, total)
    assert len(counts) == steps and counts[-1] == 0
    assert all(after < before for before, after in zip([total, *counts], counts, strict=False))


@few
@given(name=families, total=st.integers(1, 20), more=st.integers(1, 30))
def test_more_steps_than_tokens_keep_one_for_the_end(name, total, more):
    steps = total + more
    counts = schedule(name).counts(steps, total)
    assert len(counts) == steps and counts[-1] == 0
    assert min(counts[:-1]) == 1
    assert all(after <= before for before, after in zip([total, *counts], counts, strict=False))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_nothing_masked_stays_so(name, steps):
    assert schedule(name).counts(steps, 0) == [0] * steps


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("total", [1, 2, 4096])
def test_one_step_reveals_everything(name, total):
    assert schedule(name).counts(1, total) == [0]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("steps", [0, -3])
def test_a_run_has_steps(name, steps):
    with pytest.raises(mgt_core.MGTError, match="steps is"):
        schedule(name).counts(steps, 16)


def test_counts_use_float32():
    """cos(pi / 3) is 0.49999997 in float32: 11 of 24 tokens, not 12."""
    assert schedule("cosine").counts(6, 24)[3] == 11
    assert schedule("cosine").counts(3, 64)[1] == 31 and schedule("cosine").counts(3, 256)[1] == 127


@pytest.mark.parametrize(
    "name, steps, total, expected",
    [
        ("linear", 4, 16, [12, 8, 4, 0]),
        ("cosine", 4, 16, [14, 11, 6, 0]),
        ("linear", 5, 3, [2, 1, 1, 1, 0]),
        ("cosine", 8, 8, [7, 6, 5, 4, 3, 2, 1, 0]),
        ("linear", 3, 3, [2, 1, 0]),  # the published samplers give 1, 1, 0
    ],
)
def test_counts_by_hand(name, steps, total, expected):
    assert schedule(name).counts(steps, total) == expected
