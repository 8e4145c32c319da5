"""Schedules as nodes, drawn curves and their plots."""

import sys

import pytest
import torch

import mgt_core
from mgt_core import CustomCurve
from mgt_core.views.plots import schedule_plot
from support.node_runs import NODES, run

# Schedules


@pytest.mark.parametrize("name", mgt_core.list_schedules())
def test_schedule_parameters_reach_their_family_only(name):
    if name == "custom":
        assert name not in NODES["MGTMaskSchedule"].INPUT_TYPES()["required"]["schedule"][0]
        return
    family = mgt_core.SCHEDULES.get(name)
    own = {"pow": {"exponent": 3.0}, "sigmoid": {"start": -1.0, "end": 5.0, "tau": 0.5}}.get(name, {})
    widgets = {"exponent": 3.0, "sigmoid_start": -1.0, "sigmoid_end": 5.0, "sigmoid_tau": 0.5}
    assert run("MGTMaskSchedule", schedule=name)[0] == family()
    assert run("MGTMaskSchedule", schedule=name, **widgets)[0] == family(**own)


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("0 1\n1 0", ((0, 1), (1, 0))),
        ("0,1\n 0.5 , 0.25 \n\n1, 0\n", ((0, 1), (0.5, 0.25), (1, 0))),
        ("0\t1\r\n5e-1 .5\r\n1 0", ((0, 1), (0.5, 0.5), (1, 0))),
    ],
)
def test_custom_curve(text, points):
    assert run("MGTCustomCurve", points=text)[0] == CustomCurve(points)


def test_custom_curve_default_is_the_librarys():
    assert run("MGTCustomCurve")[0] == CustomCurve()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 1\n0.5 x\n1 0", "line 2 of points is '0.5 x'"),
        ("0 1 2\n1 0", "line 1 of points"),
        ("0 1\n\n0,5 0,5\n1 0", "line 3 of points is '0,5 0,5'"),
        ("", "must go from"),
        ("0 1", "must go from"),
        ("0 1\n0.9 0", "must go from"),
        ("0 1\n0.5 0.5\n0.4 0.2\n1 0", "out of order"),
        ("0 1\n0.5 0.2\n0.6 0.3\n1 0", "out of order"),
        ("0 1\nnan 0.3\n1 0", "out of order"),
    ],
)
def test_bad_curves_get_one_sentence(text, words):
    with pytest.raises(mgt_core.MGTError, match=words) as error:
        run("MGTCustomCurve", points=text)
    assert "\n" not in str(error.value)


# Plots


def test_plot_schedule(monkeypatch):
    pytest.importorskip("matplotlib")
    drawn = {}

    def spy(schedules, steps, tokens):
        drawn.update(names=list(schedules), steps=steps, tokens=tokens)
        return schedule_plot(schedules, steps, tokens)

    monkeypatch.setattr("mgt_core.views.plots.schedule_plot", spy)
    cosine, power = run("MGTMaskSchedule")[0], run("MGTMaskSchedule", schedule="pow", exponent=4.0)[0]
    wired = {"schedule_1": cosine, "schedule_2": power, "schedule_4": cosine}
    plot = run("MGTPlotSchedule", **wired, steps=5, token_count=64)[0]
    assert drawn == {"names": ["cosine", "pow (exponent 4.0)", "cosine #4"], "steps": 5, "tokens": 64}
    assert plot.shape == (1, 400, 1000, 3) and plot.dtype == torch.float32
    assert 0 <= plot.min() < plot.max() <= 1
    assert run("MGTPlotSchedule", schedule_1=cosine)[0].shape == plot.shape


def test_plots_without_matplotlib_say_what_is_missing(monkeypatch):
    for name in ("matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(mgt_core.MGTError, match="pip install matplotlib"):
        run("MGTPlotSchedule", schedule_1=run("MGTMaskSchedule")[0])
