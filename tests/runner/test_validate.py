"""Workflows that cannot run: told in one sentence each, before anything runs."""

import pytest

from runner.validate import find_cycle, needed, validate
from support.fake_nodes import chain, change, make, node, show, workflow
from support.prompts import MAKE, api, made, shown, without

LOOP = api(
    n1=("Change", {"thing": ["2", 0], "seed": 0, "steps": 1}),
    n2=("Change", {"thing": ["1", 0], "seed": 0, "steps": 1}),
    n3=("Show", {"thing": ["1", 0]}),
)
PROMPT_ERRORS = {
    "no node": (workflow([]), "No prompt provided: the workflow holds no nodes."),
    "no output": (api(n1=("Make", MAKE)), "Prompt has no outputs: no node of the workflow saves or shows anything."),
    "no class": (
        {**made(), "7": {"inputs": {}}},
        "Cannot execute because a node is missing the class_type property: Node ID '#7'.",
    ),
    "unknown class": (
        {**made(), "7": {"class_type": "KSampler", "inputs": {}}},
        "Cannot execute because node KSampler does not exist: Node ID '#7'; it is one of ComfyUI's own, "
        "which runs on a server alone, so use --server URL.",
    ),
    "unknown node": (
        chain(node(2, "KSampler", [], [("thing", "THING", 1)], ("THING",))),
        "Cannot execute because node KSampler does not exist: Node ID '#2'; it is one of ComfyUI's own, "
        "which runs on a server alone, so use --server URL.",
    ),
    "no inputs": (
        {**made(), "7": {"class_type": "Make"}},
        "Node 7 (Make): Bad node: inputs is missing, or not an object.",
    ),
    "required widget missing": (without("text"), "Node 1 (Make): Required input is missing: text."),
    "required link missing": (shown(), "Node 3 (Show): Required input is missing: thing."),
    "fed by a muted node": (
        chain(change(2, 1, mode=2), extra={}),
        "Node 3 (Show): Required input is missing: thing.",
    ),
    "link too long": (
        shown(thing=["1", 0, 0]),
        "Node 3 (Show): Bad linked input, must be a length-2 list of [node_id, slot_index]: thing holds ['1', 0, 0].",
    ),
    "slot is no number": (
        shown(thing=["1", "0"]),
        "Node 3 (Show): Bad linked input, must be a length-2 list of [node_id, slot_index]: thing holds ['1', '0'].",
    ),
    "link to nothing": (shown(thing=["9", 0]), "Node 3 (Show): Linked node does not exist: thing is linked to node 9."),
    "slot that is not there": (
        shown(thing=["1", 2]),
        "Node 3 (Show): Linked output does not exist: thing is linked to slot 2 of node 1 (Make), which has 2 outputs.",
    ),
    "negative slot": (
        shown(thing=["1", -1]),
        "Node 3 (Show): Linked output does not exist: "
        "thing is linked to slot -1 of node 1 (Make), which has 2 outputs.",
    ),
    "type mismatch": (
        shown(thing=["1", 1]),
        "Node 3 (Show): Return type mismatch between linked nodes: "
        "thing, received_type(INT) mismatch input_type(THING).",
    ),
    "type mismatch into a widget": (
        api(n1=("Make", MAKE), n2=("Make", {**MAKE, "colour": ["1", 0]}), n3=("Show", {"thing": ["2", 0]})),
        "Node 2 (Make): Return type mismatch between linked nodes: "
        "colour, received_type(THING) mismatch input_type(COMBO).",
    ),
    "value on a socket": (
        shown(thing="cat"),
        "Node 3 (Show): Bad linked input: thing takes a link from a THING output, and holds the value 'cat'.",
    ),
    "too small": (made(amount=-1), "Node 1 (Make): Value -1 smaller than min of 0: amount."),
    "too big": (made(ratio=1.5), "Node 1 (Make): Value 1.5 bigger than max of 1.0: ratio."),
    "not a number": (
        made(amount="few"),
        "Node 1 (Make): Failed to convert an input value to a INT value: "
        "amount, few, invalid literal for int() with base 10: 'few'.",
    ),
    "null": (
        made(amount=None),
        "Node 1 (Make): Failed to convert an input value to a INT value: amount, None, no value is set.",
    ),
    "NaN": (
        made(ratio=float("nan")),
        "Node 1 (Make): Failed to convert an input value to a FLOAT value: ratio, nan, it is not a number.",
    ),
    "infinite": (
        made(amount=float("inf")),
        "Node 1 (Make): Failed to convert an input value to a INT value: "
        "amount, inf, cannot convert float infinity to integer.",
    ),
    "not in the combo": (
        made(colour="blue"),
        "Node 1 (Make): Value not in list: colour: 'blue' not in ['red', 'green'].",
    ),
    "widget of the wrong type in a saved workflow": (
        workflow([make(1, widgets=["few"], title="Start"), show(3, 1)], [(1, 1, 0, 3, 0, "THING")]),
        'Node 1 "Start" (Make): Failed to convert an input value to a INT value: '
        "amount, few, invalid literal for int() with base 10: 'few'.",
    ),
    "cycle": (LOOP, "Dependency cycle detected: 1 -> 2 -> 1."),
    "the node's own check": (
        api(n1=("Checked", {"even": 3})),
        "Node 1 (Checked): Custom validation failed for node: even - 3 is odd.",
    ),
    "image that is not there": (
        api(n1=("LoadImage", {"image": "no.png"}), n2=("PreviewImage", {"images": ["1", 0]})),
        "Node 1 (LoadImage): Custom validation failed for node: image - Invalid image file: no.png",
    ),
    "prefix that leads out": (
        api(n1=("Picture", {"batch": 1}), n2=("SaveImage", {"images": ["1", 0], "filename_prefix": "../../x"})),
        "Node 2 (SaveImage): Custom validation failed for node: filename_prefix - '../../x' leads out of",
    ),
}


@pytest.mark.parametrize("document, sentence", PROMPT_ERRORS.values(), ids=PROMPT_ERRORS)
def test_bad_workflows(document, sentence, command, calls, tmp_path):
    code, out, err = command(document)
    lines = err.splitlines()
    assert (code, out, calls) == (1, "", [])
    assert lines[1].startswith(sentence)
    assert len(lines) == 2
    assert not (tmp_path / "out").exists()


def test_everything_wrong_is_told_at_once(library):
    problems = validate(made(amount=-1, colour="blue", ratio="x"), library.object_info)
    assert len(problems) == 3


def test_what_no_output_needs_is_not_judged(library):
    prompt = {**made(), "7": {"class_type": "Make", "inputs": {"amount": -5}}}
    assert validate(prompt, library.object_info) == []


def test_a_server_is_left_to_judge_values(library):
    assert validate(made(colour="blue", amount=-1), library.object_info, values=False) == []
    assert len(validate(shown(thing=["1", 1]), library.object_info, values=False)) == 1


@pytest.mark.parametrize("received, wanted, fits", [("A", "A", 1), ("A", "B", 0), ("A,B", "B", 1), ("A", "*", 1)])
def test_types_that_may_be_linked(received, wanted, fits):
    object_info = {
        "From": {"input": {}, "output": [received]},
        "To": {"input": {"required": {"x": [wanted]}}, "output": [], "output_node": True},
    }
    assert (validate(api(n1=("From", {}), n2=("To", {"x": ["1", 0]})), object_info) == []) == bool(fits)


def test_order_of_a_diamond():
    prompt = api(
        n4=("D", {"a": ["2", 0], "b": ["3", 0]}), n2=("B", {"a": ["1", 0]}), n3=("C", {"a": ["1", 0]}), n1=("A", {})
    )
    assert needed(prompt, ["4"]) == ["1", "2", "3", "4"]
    assert find_cycle(prompt, ["4"]) == []


def test_a_long_chain_does_not_exhaust_the_stack():
    prompt = {str(i): {"class_type": "X", "inputs": {"a": [str(i + 1), 0]}} for i in range(5000)}
    prompt["5000"] = {"class_type": "X", "inputs": {}}
    assert len(needed(prompt, ["0"])) == 5001
    assert find_cycle(prompt, ["0"]) == []
