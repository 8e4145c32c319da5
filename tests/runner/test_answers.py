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


ODD = {
    "inputs that are none": (node(input=[1]), {}),
    "no names of inputs": (node(input={"required": ["a"]}), {}),
    "an input of nothing": (node(input={"required": {"a": None}}), {"a": ["*"]}),
    "an input without a type": (typed(), {"a": ["*"]}),
    "a type that is a number": (typed(5), {"a": ["*"]}),
    "a type that is an object": (typed({}), {"a": ["*"]}),
    "options that are none": (typed("INT", 5), {"a": ["INT"]}),
    "a tip in place of options": (typed("INT", "tip"), {"a": ["INT"]}),
    "choices that are none": (typed("COMBO", {"options": "abc"}), {"a": ["COMBO", {"options": []}]}),
    "an order that is none": (node(input_order=["a"]), None),
    "an order that is a text": (node(input_order={"required": "text"}), None),
    "an order of lists": (node(input_order={"required": [["text"]]}), None),
    "outputs that are a text": (node(output="IMAGE"), None),
    "an output that is a number": (node(output=[5]), None),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_declarations_do_not_hide_a_node(kind):
    """Packs have them, and ComfyUI lets them pass."""
    entry, inputs = ODD[kind]
    found = checked_object_info({"A": entry})["A"]
    assert inputs is None or found["input"]["required"] == inputs
    assert all(isinstance(output, (str, list)) for output in found["output"])
    for spec in specs.inputs(found).values():
        assert specs.kind(spec) and specs.default(spec) in (None, 0, 4, "", "a")
    assert "IMAGE" not in str(entry["output"]) or found["output"] == ["IMAGE"]


@pytest.mark.parametrize("entry", [None, 5, [], "node"])
def test_what_describes_no_node_is_left_out_which_is_said(entry, caplog):
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
