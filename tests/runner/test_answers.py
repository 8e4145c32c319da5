"""Descriptions of nodes as a server gives them: what is shaped as ComfyUI's is kept, and nothing else."""

import json
import logging

import pytest

from runner import specs
from runner.answers import MOST_NODES, checked_object_info, read_answer
from support.hostile_server import NODES


def node(**parts):
    return {**NODES["Make"], **parts}


def typed(*spec):
    return node(input={"required": {"a": list(spec)}}, input_order={"required": ["a"]})


def test_what_the_runner_reads_is_kept():
    kept = checked_object_info({**NODES, "Make": node(category="x", input={**NODES["Make"]["input"], "hidden": [5]})})
    for name, described in NODES.items():
        assert specs.inputs(kept[name]) == specs.inputs(described)
        assert list(specs.widget_slots(kept[name])) == list(specs.widget_slots(described))
        assert {key: kept[name].get(key) for key in ("output", "output_node")} == {
            key: described.get(key) for key in ("output", "output_node")
        }
    assert kept["Make"]["display_name"] == "Make"


@pytest.mark.parametrize(
    "entry",
    [
        node(input=None, input_order=None, output=None, display_name=None),
        {},
        node(input={"required": None, "optional": {}}),
        node(input={"required": {"a": "IMAGE"}}),
        typed(["a", 1, None]),
        typed("COMBO", {"options": ["a"]}),
        typed("COMBO"),
        typed("INT", None),
        typed("INT", {}, "more"),
        node(output=["IMAGE", ["a", "b"]]),
    ],
)
def test_odd_but_good(entry):
    kept = checked_object_info({"A": entry})["A"]
    assert all(
        specs.kind(spec) and specs.default(spec) in (None, 0, 4, "", "a") for spec in specs.inputs(kept).values()
    )


@pytest.mark.parametrize(
    "entry",
    [
        None,
        5,
        [],
        "node",
        node(input=[1]),
        node(input={"required": ["a"]}),
        node(input={"required": {"a": None}}),
        typed(),
        typed(5),
        typed({}),
        typed("INT", 5),
        typed("COMBO", {"options": "abc"}),
        node(input_order=["a"]),
        node(input_order={"required": "text"}),
        node(input_order={"required": [["text"]]}),
        node(output="IMAGE"),
        node(output=[5]),
    ],
)
def test_malformed_nodes_are_left_out_which_is_said(entry, caplog):
    with caplog.at_level(logging.WARNING):
        assert checked_object_info({**NODES, "Odd": entry}).keys() == NODES.keys()
    assert caplog.messages == ["The server does not describe these nodes as ComfyUI does; they do not count: Odd"]


def test_too_many_nodes_are_no_description():
    with pytest.raises(ValueError, match="more than 100000 nodes"):
        checked_object_info(dict.fromkeys(map(str, range(MOST_NODES + 1))))


def test_numbers_that_json_does_not_know_are_taken():
    """ComfyUI writes limits that nodes declare as infinite."""
    assert (
        read_answer(json.dumps(typed("FLOAT", {"max": float("inf")})).encode())["input"]["required"]["a"][1]["max"] > 0
    )
