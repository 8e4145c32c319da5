"""Plots of schedules."""

import pytest

import mgt_core
from mgt_core import CustomCurve
from mgt_core.views.plots import schedule_label


@pytest.mark.parametrize(
    ("schedule", "label"),
    [
        (mgt_core.SCHEDULES.get("cosine")(), "cosine"),
        (mgt_core.SCHEDULES.get("pow")(), "pow"),
        (mgt_core.SCHEDULES.get("pow")(3.5), "pow (exponent 3.5)"),
        (mgt_core.SCHEDULES.get("sigmoid")(tau=0.5, end=2.0), "sigmoid (end 2.0, tau 0.5)"),
        (mgt_core.SCHEDULES.get("exponential")(), "exponential"),
        (CustomCurve(((0, 1), (0.25, 0.5), (1, 0))), "custom (points 0 1, 0.25 0.5, 1 0)"),
    ],
)
def test_schedule_labels(schedule, label):
    assert schedule_label(schedule) == label
