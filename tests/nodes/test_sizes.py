"""Sides that no model takes are refused when a workflow is queued, with the nearest good ones."""

import math
from inspect import signature

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgt_core.pixels import nearest, scaled_to
from support.node_runs import NODES, inputs
from support.trials import is_sentence

JUDGED = {
    "MGTEmptyTokens": ("width", "height"),
    "MGTPadTokens": ("left", "top", "right", "bottom"),
    "MGTEncodeImage": ("tile_size",),
    "MGTDecode": ("tile_size",),
}


def told(node: str, **values):
    return NODES[node].VALIDATE_INPUTS(**values)


@pytest.mark.parametrize("node, names", JUDGED.items())
def test_what_the_widgets_offer_is_taken_and_what_lies_beyond_is_not(node, names):
    """The host leaves the limits to VALIDATE_INPUTS."""
    assert tuple(signature(NODES[node].VALIDATE_INPUTS).parameters) == names
    for name in names:
        _, widget = inputs(NODES[node])[name]
        for value in (widget["default"], widget["min"], widget["max"], widget["min"] + widget["step"], None):
            assert told(node, **{name: value}) is True
        for value in (
            widget["min"] - widget["step"],
            widget["max"] + widget["step"],
            7,
            "x",
            True,
            64.5,
            math.nan,
            10**400,
            math.inf,
        ):
            sentence = told(node, **{name: value})
            assert is_sentence(sentence) and sentence.startswith(f"{name} is {value!r} pixels"), sentence


@pytest.mark.parametrize(
    "node, values, words",
    [
        ("MGTEmptyTokens", {"width": 136, "height": 128}, "width is 136 pixels (nearest: 128 and 144); models take"),
        ("MGTEmptyTokens", {"width": 129, "height": 300}, "height is 300 pixels (nearest: 288 and 304); models"),
        ("MGTEmptyTokens", {"width": 0, "height": 16}, "width is 0 pixels (nearest: 16)"),
        (
            "MGTEmptyTokens",
            {"width": 9000, "height": None},
            "(nearest: 8192); models take multiples of 16 from 16 to 8192",
        ),
        ("MGTPadTokens", {"left": 24, "top": 0, "right": 32, "bottom": 0}, "left is 24 pixels (nearest: 16 and 32)"),
        ("MGTPadTokens", {"left": 8}, "(nearest: 0 and 16)"),
        ("MGTDecode", {"tile_size": 8}, "accepted are 0, for the whole picture at once, and 16 to 8192"),
    ],
)
def test_the_sentence_names_the_nearest(node, values, words):
    assert words in told(node, **values)


@given(st.integers(-100, 20_000), st.sampled_from([1, 2, 8, 16, 32]))
def test_nearest_are_taken_and_lie_on_both_sides(value, unit):
    low, high = unit, 512 * unit
    found = nearest(value, unit, low, high)
    assert 1 <= len(found) <= 2 and all(low <= side <= high and side % unit == 0 for side in found)
    if low <= value <= high:
        assert found[0] <= value <= found[-1] and found[-1] - found[0] in (0, unit)
        assert (len(found) == 1) == (value % unit == 0)
        assert abs(scaled_to((value, value), unit, low, high)[0] - value) <= unit / 2
