"""UI format -> API format, as the front end's graphToPrompt does it."""

import copy

import pytest

from run_workflow import to_api
from runner import specs
from runner.problems import WorkflowError
from support.fake_nodes import chain, change, make, node, show, workflow

MADE = {"amount": 3, "ratio": 0.25, "colour": "green", "text": "cat", "flag": False}
MUTED, BYPASSED = 2, 4


def inputs(prompt):
    return {key: entry["inputs"] for key, entry in prompt.items()}


def reroute(number, link, **more):
    return node(number, "Reroute", [], [("", "*", link)], ("*",), **more)


def primitive(number, value, kind="INT"):
    return node(number, "PrimitiveNode", [value, "fixed"], outputs=(kind,))


def fed_steps(source, link=9):
    """Show <- Change, whose steps widget is an input fed by `source`."""
    nodes = [make(1), source, change(2, 1, inputs=[("steps", "INT", link, "steps")]), show(3, 2)]
    return nodes, [(1, 1, 0, 2, 0, "THING"), (2, 2, 0, 3, 0, "THING"), (9, source["id"], 0, 2, 1, "INT")]


SUBGRAPH = {
    "id": "a-b-c",
    "name": "Twice",
    "nodes": [
        change(1, 11, inputs=[("steps", "INT", 14, "steps")]),
        change(2, 12, widgets=[5, "fixed", 6]),
    ],
    "links": [
        {"id": 11, "origin_id": -10, "origin_slot": 0, "target_id": 1, "target_slot": 0, "type": "THING"},
        {"id": 14, "origin_id": -10, "origin_slot": 1, "target_id": 1, "target_slot": 1, "type": "INT"},
        {"id": 12, "origin_id": 1, "origin_slot": 0, "target_id": 2, "target_slot": 0, "type": "THING"},
        {"id": 13, "origin_id": 2, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "THING"},
    ],
}


def with_subgraph(steps_link=None, widgets=(), mode=0, more_nodes=(), more_links=()):
    entries = [("thing", "THING", 1), ("steps", "INT", steps_link, "steps")]
    instance = node(2, "a-b-c", list(widgets), entries, ("THING",), mode=mode)
    graph = chain(instance, definitions={"subgraphs": [copy.deepcopy(SUBGRAPH)]})
    graph["nodes"] += more_nodes
    graph["links"] += more_links
    return graph


def changed(thing, seed=7, steps=12):
    return {"thing": thing, "seed": seed, "steps": steps}


CASES = {
    "links and widgets, with the value after a seed skipped": (
        chain(change(2, 1)),
        {"1": MADE, "2": changed(["1", 0]), "3": {"thing": ["2", 0]}},
    ),
    "links as objects": (
        workflow(
            [make(1), show(3, 1)],
        )
        | {"links": [{"id": 1, "origin_id": 1, "origin_slot": 0, "target_id": 3, "target_slot": 0, "type": "THING"}]},
        {"1": MADE, "3": {"thing": ["1", 0]}},
    ),
    "notes are left out": (
        workflow(
            [make(1), show(3, 1), node(8, "Note", ["hi"]), node(9, "MarkdownNote", ["*hi*"])], [(1, 1, 0, 3, 0, "T")]
        ),
        {"1": MADE, "3": {"thing": ["1", 0]}},
    ),
    "missing widget values take their defaults": (
        workflow([make(1, widgets=[2])]),
        {"1": {"amount": 2, "ratio": 0.5, "colour": "red", "text": "", "flag": True}},
    ),
    "widget values by name": (
        workflow([make(1, widgets={"amount": 9, "stray": 1})]),
        {"1": {"amount": 9, "ratio": 0.5, "colour": "red", "text": "", "flag": True}},
    ),
    "more widget values than widgets": (
        workflow([make(1, widgets=[3, 0.25, "green", "cat", False, "?"])]),
        {"1": MADE},
    ),
    "a value that is a list is wrapped": (
        workflow([make(1, widgets=[3, 0.25, "green", ["1", 0], False])]),
        {"1": {**MADE, "text": {"__value__": ["1", 0]}}},
    ),
    "reroutes are looked through": (
        workflow(
            [make(1), reroute(4, 1), reroute(5, 2), show(3, 3)],
            [(1, 1, 0, 4, 0, "*"), (2, 4, 0, 5, 0, "*"), (3, 5, 0, 3, 0, "THING")],
        ),
        {"1": MADE, "3": {"thing": ["1", 0]}},
    ),
    "a reroute from nowhere leaves the input unset": (
        workflow([reroute(4, None), show(3, 3)], [(3, 4, 0, 3, 0, "THING")]),
        {"3": {}},
    ),
    "a widget that became an input takes its link": (
        workflow(*fed_steps(make(5))[:1], links=[*fed_steps(make(5))[1][:2], (9, 5, 1, 2, 1, "INT")]),
        {"1": MADE, "5": MADE, "2": changed(["1", 0], steps=["5", 1]), "3": {"thing": ["2", 0]}},
    ),
    "a primitive's value is copied": (
        workflow(*fed_steps(primitive(5, 42))),
        {"1": MADE, "2": changed(["1", 0], steps=42), "3": {"thing": ["2", 0]}},
    ),
    "a converted widget without a link keeps its value": (
        workflow(fed_steps(primitive(5, 42), link=None)[0], fed_steps(primitive(5, 42))[1]),
        {"1": MADE, "2": changed(["1", 0]), "3": {"thing": ["2", 0]}},
    ),
    "a muted node goes, with the links from it": (
        chain(change(2, 1, mode=MUTED)),
        {"1": MADE, "3": {}},
    ),
    "a bypassed node passes the input of the same type": (
        chain(change(2, 1, mode=BYPASSED)),
        {"1": MADE, "3": {"thing": ["1", 0]}},
    ),
    "a bypassed node without such an input leaves it unset": (
        workflow([make(1, mode=BYPASSED), show(3, 1)], [(1, 1, 0, 3, 0, "THING")]),
        {"3": {}},
    ),
    "bypass prefers the slot of the same number": (
        workflow(
            [
                make(1),
                make(4),
                node(2, "Gone", [], [("a", "THING", 1), ("b", "THING", 4)], ("THING", "THING"), mode=BYPASSED),
                show(3, 2),
            ],
            [(1, 1, 0, 2, 0, "THING"), (4, 4, 0, 2, 1, "THING"), (2, 2, 1, 3, 0, "THING")],
        ),
        {"1": MADE, "4": MADE, "3": {"thing": ["4", 0]}},
    ),
    "bypass through two nodes and a reroute": (
        workflow(
            [make(1), change(2, 1, mode=BYPASSED), reroute(5, 2), change(6, 3, mode=BYPASSED), show(3, 4)],
            [(1, 1, 0, 2, 0, "T"), (2, 2, 0, 5, 0, "*"), (3, 5, 0, 6, 0, "T"), (4, 6, 0, 3, 0, "T")],
        ),
        {"1": MADE, "3": {"thing": ["1", 0]}},
    ),
    "an unknown node that is muted does not matter": (
        workflow([make(1), node(2, "Unheard", mode=MUTED)]),
        {"1": MADE},
    ),
    "the inside of a subgraph": (
        with_subgraph(),
        {"1": MADE, "2:1": changed(["1", 0]), "2:2": changed(["2:1", 0], 5, 6), "3": {"thing": ["2:2", 0]}},
    ),
    "a subgraph's own widget": (
        with_subgraph(widgets=[33]),
        {"1": MADE, "2:1": changed(["1", 0], steps=33), "2:2": changed(["2:1", 0], 5, 6), "3": {"thing": ["2:2", 0]}},
    ),
    "a primitive outside a subgraph": (
        with_subgraph(8, [33], more_nodes=[primitive(5, 44)], more_links=[[8, 5, 0, 2, 1, "INT"]]),
        {"1": MADE, "2:1": changed(["1", 0], steps=44), "2:2": changed(["2:1", 0], 5, 6), "3": {"thing": ["2:2", 0]}},
    ),
    "a muted subgraph": (with_subgraph(mode=MUTED), {"1": MADE, "3": {}}),
    "a bypassed subgraph": (with_subgraph(mode=BYPASSED), {"1": MADE, "3": {"thing": ["1", 0]}}),
}


@pytest.mark.parametrize("graph, expected", CASES.values(), ids=CASES)
def test_conversion(graph, expected, info):
    untouched = copy.deepcopy(graph)
    assert inputs(to_api(graph, info)) == expected
    assert graph == untouched


def test_class_and_title_are_kept(info):
    prompt = to_api(workflow([make(1), make(2, title="Mine")]), info)
    assert prompt["1"]["class_type"] == "Make"
    assert [entry["_meta"]["title"] for entry in prompt.values()] == ["Make a Thing", "Mine"]


def test_api_format_comes_back_as_a_copy(info):
    prompt = {"1": {"class_type": "Make", "inputs": {"amount": 1}}}
    converted = to_api(prompt, info)
    assert converted == prompt and converted["1"] is not prompt["1"]


BAD = {
    "unknown nodes, all named": (
        workflow([node(4, "Nope"), node(5, "VAEDecode")]),
        "Cannot execute because node Nope does not exist: Node ID '#4'; it is one of ComfyUI's own that runs on a "
        "server alone, or of another pack, so use --server URL of one that has it.\n"
        "Cannot execute because node VAEDecode does not exist: Node ID '#5'; it is one of ComfyUI's own, which runs on "
        "a server alone, so use --server URL.",
    ),
    "link that is not there": (
        workflow([show(3, 1, title="End")]),
        'Bad linked input: thing of Node 3 "End" (Show) refers to link 1, which does not exist.',
    ),
    "link from a node that is not there": (
        workflow([show(3, 1)], [(1, 77, 0, 3, 0, "THING")]),
        "Bad linked input: thing of Node 3 (Show) is linked to node 77, which does not exist.",
    ),
    "malformed link": (
        workflow([show(3, 1)], [(1, 77)]),
        "Bad workflow: a link is not of the form [id, from node, from slot, to node, to slot, type]: [1, 77].",
    ),
    "two nodes of one id": (workflow([make(1), make(1)]), "Bad workflow: two nodes have the id 1."),
    "node without a type": (workflow([{"id": 4}]), "Bad workflow: a node has no id or no type: {'id': 4}."),
    "reroutes in a circle": (
        workflow(
            [reroute(4, 1), reroute(5, 2), show(3, 3)], [(1, 5, 0, 4, 0, 0), (2, 4, 0, 5, 0, 0), (3, 5, 0, 3, 0, 0)]
        ),
        "Dependency cycle detected: output 0 of Node 5 (Reroute) feeds itself.",
    ),
    "subgraph in itself": (
        workflow([node(2, "s")], definitions={"subgraphs": [{"id": "s", "name": "Loop", "nodes": [node(1, "s")]}]}),
        "Bad workflow: subgraph Loop contains itself.",
    ),
}


@pytest.mark.parametrize("graph, sentence", BAD.values(), ids=BAD)
def test_refusals(graph, sentence, info):
    with pytest.raises(WorkflowError) as refusal:
        to_api(graph, info)
    assert str(refusal.value) == sentence


@pytest.mark.parametrize(
    "declared, slots",
    [
        ({"required": {"seed": ("INT", {})}}, ["seed", None]),
        ({"required": {"seed": ("INT", {"control_after_generate": False})}}, ["seed"]),
        ({"required": {"n": ("INT", {"control_after_generate": True})}}, ["n", None]),
        ({"required": {"seed": ("INT", {"forceInput": True})}}, []),
        ({"required": {"c": (["a"], {"control_after_generate": True})}}, ["c", None, None]),
        ({"required": {"c": ("COMBO", {"options": ["a"]}), "m": ("MODEL",)}}, ["c"]),
        (
            {"required": {"image": (["a.png"], {"image_upload": True})}, "optional": {"n": ("INT",)}},
            ["image", None, "n"],
        ),
    ],
)
def test_places_of_widget_values(declared, slots):
    assert list(specs.widget_slots({"input": declared})) == slots


OFF = {
    "a muted node": (
        chain(change(2, 1, mode=MUTED)),
        "thing of Node 3 (Show) is not fed, since Node 2 (Change) is muted.",
    ),
    "a muted one behind a reroute": (
        workflow(
            [make(1, mode=MUTED), reroute(5, 1), show(3, 2)], [(1, 1, 0, 5, 0, "THING"), (2, 5, 0, 3, 0, "THING")]
        ),
        "thing of Node 3 (Show) is not fed, since Node 1 (Make) is muted.",
    ),
    "a bypassed one without such an input": (
        workflow([make(1, mode=BYPASSED), show(3, 1)], [(1, 1, 0, 3, 0, "THING")]),
        "thing of Node 3 (Show) is not fed, since Node 1 (Make) is bypassed and takes nothing of that type to pass on.",
    ),
    "a muted subgraph": (
        with_subgraph(mode=MUTED),
        "thing of Node 3 (Show) is not fed, since Node 2 (a-b-c) is muted.",
    ),
    "a muted end": (
        workflow([make(1), show(3, 1, mode=MUTED)], [(1, 1, 0, 3, 0, "THING")]),
        "Node 3 (Show) is muted or bypassed, or lies in what is.",
    ),
}


@pytest.mark.parametrize("graph, told", OFF.values(), ids=OFF)
def test_what_is_switched_off_before_an_end_is_told(graph, told, info, caplog):
    to_api(graph, info)
    assert caplog.messages == [told]


def test_what_is_switched_off_where_no_end_needs_it_is_not_told(info, caplog):
    graph = chain(change(2, 1))
    graph["nodes"] += [make(7, mode=MUTED), change(8, 9), show(9, 10, mode=MUTED)]
    graph["links"] += [[9, 7, 0, 8, 0, "THING"], [10, 8, 0, 9, 0, "THING"]]
    assert set(to_api(graph, info)) == {"1", "2", "3", "8"} and not caplog.messages
