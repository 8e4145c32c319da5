"""Nodes that set a second model beside the one that samples."""

import pytest

import mgt_core
from mgt_core import PathPlanning, Rescoring
from support.golden import bundles, pipeline
from support.node_runs import NODES, graph_of, run

MODEL = pipeline(bundles()[0]).model
SECOND = MODEL.with_modifier(mgt_core.TopKTopP(k=3))


@pytest.fixture(scope="module")
def graph():
    return graph_of(pipeline(bundles()[0]))


def test_rescoring_is_attached_to_a_copy_and_replaced():
    first = run("MGTRescoring", model=MODEL, rescorer=SECOND)[0]
    assert first.patch("rescoring") == Rescoring(SECOND) and MODEL.patches == ()
    again = run("MGTRescoring", model=first, rescorer=MODEL, weight=0.25)[0]
    assert again.patches == (Rescoring(MODEL, 0.25),) and again.network is MODEL.network


def test_a_bypassed_rescoring_hands_the_model_through():
    declared = NODES["MGTRescoring"].INPUT_TYPES()["required"]
    assert list(declared) == ["model", "rescorer", "weight"] and NODES["MGTRescoring"].RETURN_TYPES == ("MGT_MODEL",)


def test_a_planner_need_not_be_wired():
    assert run("MGTSamplerPathPlanning")[0] == PathPlanning()
    assert run("MGTSamplerPathPlanning", planner=SECOND)[0] == PathPlanning(planner=SECOND)


@pytest.mark.parametrize(
    ("name", "inputs", "words"),
    [
        ("MGTRescoring", {"model": MODEL, "rescorer": "demo"}, "rescorer"),
        ("MGTRescoring", {"model": MODEL, "rescorer": SECOND, "weight": 1.5}, "weight is 1.5"),
        ("MGTSamplerPathPlanning", {"planner": 3}, "planner"),
    ],
)
def test_what_is_none_is_told(name, inputs, words):
    with pytest.raises(mgt_core.MGTError, match=words) as told:
        run(name, **inputs)
    assert "\n" not in str(told.value)


def test_sample_counts_both(graph):
    """Three steps; a planner is asked in those between the first and the last."""
    model = run("MGTRescoring", model=graph["model"], rescorer=SECOND)[0]
    assert run("MGTSample", **{**graph, "model": model})[1:] == (6, 12)
    planned = run("MGTSamplerPathPlanning", planner=SECOND)[0]
    assert run("MGTSample", **{**graph, "sampler": planned})[1:] == (4, 7)
