"""Plots of schedules, and plots as files."""

import numpy as np
import pytest
from PIL import Image

import mgt_core
from mgt_core import CustomCurve
from mgt_core.views.plots import new_figure, schedule_label, write_plot


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


def test_a_webp_has_the_pixels_of_a_png_in_fewer_bytes(tmp_path):
    figure = new_figure((4, 3))
    figure.subplots().plot([0, 1, 4, 9], color="#d55e00")
    files = [tmp_path / "a.webp", tmp_path / "a.png"]
    for file in files:
        write_plot(figure, file)
    shown = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    assert shown[0].shape == (300, 400, 3) and np.array_equal(*shown)
    assert files[0].stat().st_size < files[1].stat().st_size / 2
    write_plot(figure, tmp_path / "partial", kind="webp")
    assert (tmp_path / "partial").read_bytes() == files[0].read_bytes()
