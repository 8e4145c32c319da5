"""Sampler nodes make the library's objects; MGT Sample counts what they cost."""

import pytest

import mgt_core
from mgt_core import (
    KLASS,
    FirstHitting,
    FixedOrder,
    MaskedZSampling,
    MaskGIT,
    MomentSampler,
    Momentum,
    OneStep,
    PathPlanning,
    Spans,
    ZSampling,
)
from support.golden import bundles, pipeline
from support.node_runs import graph_of, made_by_nodes, run
from support.pack import load_pack

PIPE = pipeline(bundles()[0])
TEMPERATURE = {"temperature_start": 3.0, "temperature_end": 1.0, "temperature_shape": "late"}
SAMPLERS = {
    "MGTSamplerMaskGIT": (MaskGIT, {}),
    "MGTSamplerMaskedZ": (MaskedZSampling, {"inversion_cfg": 1.0, "candidates": 0.5, "start": 0.1, "end": 0.9}),
    "MGTSamplerZ": (ZSampling, {"start": 0.1, "end": 0.9}),
    "MGTSamplerKLASS": (KLASS, {"confidence": 0.8, "kl": 0.1, "history": 3, "cap": 0.5}),
    "MGTSamplerMomentum": (Momentum, {"momentum": 0.3, "rule": "trapezoidal"}),
    "MGTSamplerMoment": (MomentSampler, {"sharpening": 0.5, "exploration": 0.25, "order": "random"}),
    "MGTSamplerPathPlanning": (PathPlanning, {"eta": 0.5, "planner": PIPE.model}),
}
OTHER_SAMPLERS = {
    "MGTSamplerHalton": (
        {"order": "random", "counts": "schedule", "roll": True}
        | {"sharpness_start": 1.5, "sharpness_end": 2.0, "sharpness_power": 2.0, "warmup": 3},
        FixedOrder("random", True, "schedule", (1.5, 2.0), 2.0, 3),
    ),
    "MGTSamplerOneStep": ({"masked": 0.5, "noise": 0.2}, OneStep(0.5, 0.2)),
    "MGTSamplerFirstHitting": ({"tokens": 3}, FirstHitting(3)),
    "MGTSamplerMAGNeT": (
        {"span_length": 5, "arrangement": "overlapping", "scoring": "product", "temperature": 1.5}
        | {"annealed": False, "top_p": 0.5, "greedy": True},
        Spans(5, "overlapping", "product", 1.5, False, 0.5, True),
    ),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_sampler_node_makes_the_sampler(name):
    sampler, settings = SAMPLERS[name]
    assert run(name)[0] == sampler()  # which leaves the temperature to the model
    expected = sampler((3.0, 1.0), temperature_shape="late", **settings)
    assert run(name, **TEMPERATURE, **settings)[0] == expected


@pytest.mark.parametrize("name", OTHER_SAMPLERS)
def test_sampler_node_without_a_temperature(name):
    settings, expected = OTHER_SAMPLERS[name]
    assert run(name)[0] == type(expected)()
    assert run(name, **settings)[0] == expected


def test_experimental_says_so():
    assert load_pack().NODE_CLASS_MAPPINGS["MGTSamplerMomentum"].EXPERIMENTAL


@pytest.mark.parametrize(
    ("name", "added"),
    [
        ("MGTSamplerMaskGIT", {"known_confidence", "draw_temperature"}),
        ("MGTSamplerOneStep", {"softmax_temperature"}),
        ("MGTSamplerMomentum", {"rule"}),
        ("MGTDifferentialSampling", {"rule"}),
        ("MGTLoadModel", {"text_encoder", "codec", "base"}),
    ],
)
def test_prompts_saved_before_an_input_came_are_valid(name, added):
    """In API format they lack it, and ComfyUI refuses a prompt that lacks a required one."""
    declared = load_pack().NODE_CLASS_MAPPINGS[name].INPUT_TYPES()
    assert added <= declared["optional"].keys() and not added & declared["required"].keys()


def test_every_registered_sampler_has_a_node():
    assert made_by_nodes("MGT_SAMPLER") == {mgt_core.SAMPLERS.get(n) for n in mgt_core.SAMPLERS}


@pytest.fixture(scope="module")
def graph():
    return graph_of(PIPE)


@pytest.fixture(scope="module")
def filled(graph):
    return run("MGTSample", **graph)[0]


@pytest.mark.parametrize(
    ("name", "calls", "passes"),
    [
        ("MGTSamplerMaskGIT", 3, 6),
        ("MGTSamplerMomentum", 3, 6),
        ("MGTSamplerZ", 5, 10),
        ("MGTSamplerMaskedZ", 7, 12),
        ("MGTSamplerPathPlanning", 3, 6),
    ],
)
def test_sample_counts_its_cost(graph, name, calls, passes):
    tokens, *counted = run("MGTSample", **{**graph, "sampler": run(name)[0]})
    assert counted == [calls, passes]
    assert not tokens.masked.any()


def test_nothing_to_fill_costs_nothing(graph, filled):
    assert run("MGTSample", **{**graph, "tokens": filled})[1] == 0
