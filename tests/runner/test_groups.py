"""Old group nodes: written out to nodes named `group:place`, with the values, inputs and outputs that a group shows."""

import copy

import pytest

from run_workflow import prepare, to_api
from runner import groups
from runner.files import Document
from runner.problems import WorkflowError
from support.fake_nodes import change, make, node, show, workflow

MUTED, BYPASSED = 2, 4


def inputs(prompt):
    return {key: entry["inputs"] for key, entry in prompt.items()}


def inner(made):
    """A node as definitions of groups hold it: its place is its number."""
    return {key: value for key, value in made.items() if key != "id"}


def group(*nodes, links=(), external=(), **more):
    held = {"nodes": [inner(made) for made in nodes], "links": [list(link) for link in links]}
    return {**held, "external": [list(entry) for entry in external], **more}


def use(number, values=(), entries=(), name="workflow>G", outputs=("THING",), **more):
    return node(number, name, list(values), entries, outputs, **more)


def grouped(defined, instance, nodes=(), links=(), **more):
    """Make (1) -> a group (2) -> Show (3)."""
    ends = [(1, 1, 0, 2, 0, "THING"), (2, 2, 0, 3, 0, "THING"), *links]
    extra = {"groupNodes": {"G": defined, **more}}
    return workflow([make(1), instance, show(3, 2), *nodes], ends, extra=extra)


def primitive(value, kind="INT", **more):
    return node(0, "PrimitiveNode", [value, "fixed"], outputs=(kind,), **more)


def reroute():
    return node(0, "Reroute", [], [("", "*", None)], ("*",))


TWO = group(
    change(0, None, widgets=[1, "fixed", 2]), change(1, None, widgets=[3, "fixed", 4]), links=[(0, 0, 1, 0, 5, "THING")]
)
THING = [("thing", "THING", 1)]
STEPS = ("steps", "INT", None, "steps")


def changed(thing, seed, steps, **more):
    return {"thing": thing, "seed": seed, "steps": steps, **more}


def expected(first, second, end):
    return {"2:0": first, "2:1": second, "3": {"thing": end}}


BOTH = expected(changed(["1", 0], 11, 12), changed(["2:0", 0], 13, 14), ["2:1", 0])
CASES = {
    "values in the order of the widgets inside": (
        grouped(TWO, use(2, [11, "randomize", 12, 13, "fixed", 14], THING)),
        BOTH,
    ),
    "the separator of the oldest front ends": (
        grouped(TWO, use(2, [11, "fixed", 12, 13, "fixed", 14], THING, "workflow/G")),
        BOTH,
    ),
    "inputs for widgets between, as newer front ends have them": (
        grouped(TWO, use(2, [11, "fixed", 12, 13, "fixed", 14], [STEPS, ("thing", "THING", 1)])),
        BOTH,
    ),
    "no values": (
        grouped(TWO, use(2, [], THING)),
        expected(changed(["1", 0], 1, 2), changed(["2:0", 0], 3, 4), ["2:1", 0]),
    ),
    "an output that is used inside and outside": (
        grouped({**TWO, "external": [[0, 0, "THING"]]}, use(2, [], THING, outputs=("THING", "THING"))),
        expected(changed(["1", 0], 1, 2), changed(["2:0", 0], 3, 4), ["2:0", 0]),
    ),
    "an external output whose node is written out": (
        grouped({**TWO, "external": [[{"type": "Change", "index": 0}, 0, "THING"]]}, use(2, [], THING)),
        expected(changed(["1", 0], 1, 2), changed(["2:0", 0], 3, 4), ["2:0", 0]),
    ),
    "renamed and hidden inputs and outputs": (
        grouped(
            {
                **TWO,
                "external": [[0, 0, "THING"]],
                "config": {
                    "0": {
                        "input": {"thing": {"name": "mine"}, "other": {"visible": False}},
                        "output": {"0": {"visible": False}},
                    },
                },
            },
            use(2, [], [("forced", "INT", None), ("mine", "THING", 1)]),
        ),
        expected(changed(["1", 0], 1, 2), changed(["2:0", 0], 3, 4), ["2:1", 0]),
    ),
    "a widget that became an input, fed from outside": (
        grouped(
            group(change(0, None, inputs=[STEPS], widgets=[1, "fixed", 2])),
            use(2, [5, "fixed", 6], [*THING, ("steps", "INT", 9, "steps")]),
            [primitive(7) | {"id": 9}],
            [(9, 9, 0, 2, 1, "INT")],
        ),
        {"2:0": changed(["1", 0], 5, 7), "3": {"thing": ["2:0", 0]}},
    ),
    "the same, fed by nothing": (
        grouped(
            group(change(0, None, inputs=[STEPS], widgets=[1, "fixed", 2])),
            use(2, [5, "fixed", 6], [*THING, ("steps", "INT", None, "steps")]),
        ),
        {"2:0": changed(["1", 0], 5, 6), "3": {"thing": ["2:0", 0]}},
    ),
    "a primitive inside, whose value the group shows": (
        grouped(
            group(primitive(7), change(1, None, inputs=[STEPS]), links=[(0, 0, 1, 1, 4, "INT")]),
            use(2, [33, "fixed", 8, "fixed"], THING),
        ),
        {"2:1": changed(["1", 0], 8, 33), "3": {"thing": ["2:1", 0]}},
    ),
    "reroutes inside, one of them an input": (
        grouped(
            group(
                reroute(),
                change(1, None),
                reroute(),
                change(3, None),
                links=[(0, 0, 1, 0, 4, "T"), (1, 0, 2, 0, 5, "T"), (2, 0, 3, 0, 6, "T")],
            ),
            use(2, [], [("THING", "THING", 1)]),
        ),
        {"2:1": changed(["1", 0], 7, 12), "2:3": changed(["2:1", 0], 7, 12), "3": {"thing": ["2:3", 0]}},
    ),
    "nodes inside that are muted or bypassed": (
        grouped(
            group(
                change(0, None, mode=BYPASSED),
                change(1, None, mode=MUTED),
                change(2, None),
                links=[(0, 0, 2, 0, 5, "T"), (1, 0, 2, 1, 5, "T")],
            )
            | {},
            use(2, [], THING),
        ),
        {"2:2": changed(["1", 0], 7, 12), "3": {"thing": ["2:2", 0]}},
    ),
    "notes inside": (
        grouped(group(node(0, "Note", ["hi"]), change(1, None)), use(2, [], THING)),
        {"2:1": changed(["1", 0], 7, 12), "3": {"thing": ["2:1", 0]}},
    ),
    "a muted group": (grouped(TWO, use(2, [], THING, mode=MUTED)), {"3": {}}),
    "a bypassed group": (grouped(TWO, use(2, [], THING, mode=BYPASSED)), {"3": {"thing": ["1", 0]}}),
    "a group in a group": (
        grouped(
            group(
                change(0, None),
                use(1, [1, "fixed", 2, 3, "fixed", 4], [("thing", "THING", None)], "workflow>Two"),
                links=[(0, 0, 1, 0, 5, "T")],
            ),
            use(2, [21, "fixed", 22, 11, "fixed", 12, 13, "fixed", 14], THING),
            Two=TWO,
        ),
        {
            "2:0": changed(["1", 0], 21, 22),
            "2:1:0": changed(["2:0", 0], 11, 12),
            "2:1:1": changed(["2:1:0", 0], 13, 14),
            "3": {"thing": ["2:1:1", 0]},
        },
    ),
}
CASES["nodes inside that are muted or bypassed"][0]["extra"]["groupNodes"]["G"]["nodes"][2]["inputs"].append(
    {"name": "other", "type": "THING", "link": None}
)


@pytest.mark.parametrize("graph, wanted", CASES.values(), ids=CASES)
def test_what_a_group_stands_for(graph, wanted, info):
    untouched = copy.deepcopy(graph)
    prompt = inputs(to_api(graph, info))
    assert {key: value for key, value in prompt.items() if key not in ("1", "9")} == wanted
    assert graph == untouched


def test_two_uses_of_a_group_have_values_of_their_own(info):
    graph = grouped(
        TWO, use(2, [11, "fixed", 12, 13, "fixed", 14], THING), [use(4, [21, "fixed"], [("thing", "THING", 4)])]
    )
    graph["links"].append([4, 1, 0, 4, 0, "THING"])
    prompt = inputs(to_api(graph, info))
    assert prompt["2:0"] == changed(["1", 0], 11, 12) and prompt["4:0"] == changed(["1", 0], 21, 2)


def test_a_group_in_a_subgraph(info):
    subgraph = {"id": "s", "name": "S", "nodes": [make(1), use(2, [5], THING), show(3, 2)]}
    subgraph["links"] = [[1, 1, 0, 2, 0, "T"], [2, 2, 0, 3, 0, "T"]]
    graph = workflow([node(8, "s")], definitions={"subgraphs": [subgraph]}, extra={"groupNodes": {"G": TWO}})
    assert inputs(to_api(graph, info))["8:2:0"] == changed(["8:1", 0], 5, 2)


def test_settings_of_widgets_that_a_group_shows(info):
    graph = grouped(TWO, use(2, [11, "fixed", 12, 13, "fixed", 14], THING))
    prompt, ran = prepare(Document(ui=graph), ["2:0.steps=55", "2:1.seed=56"], info)
    assert prompt["2:0"]["inputs"] == changed(["1", 0], 11, 55) and prompt["2:1"]["inputs"]["seed"] == 56
    assert ran["nodes"][1]["widgets_values"] == [11, "fixed", 55, 56, "fixed", 14]
    assert graph["nodes"][1]["widgets_values"] == [11, "fixed", 12, 13, "fixed", 14]


def test_a_setting_of_a_primitive_in_a_group(info):
    defined = group(primitive(7), change(1, None, inputs=[STEPS]), links=[(0, 0, 1, 1, 4, "INT")])
    prompt, _ = prepare(Document(ui=grouped(defined, use(2, [33], THING))), ["2:0.value=44"], info)
    assert prompt["2:1"]["inputs"]["steps"] == 44


BAD = {
    "no definition": (
        workflow([use(2)], extra={"groupNodes": {"H": TWO}}),
        "Cannot execute because node workflow>G does not exist: Node ID '#2'; it is a group of nodes that the file "
        "does not hold, so save it once more in the browser that has it.",
    ),
    "no lists": (
        grouped({"nodes": 3}, use(2)),
        "Bad workflow: group node G is not defined by lists of nodes and links.",
    ),
    "no object": (grouped([], use(2)), "Bad workflow: group node G is not defined by lists of nodes and links."),
    "a node that is none": (grouped(TWO | {"nodes": [7]}, use(2)), "Bad workflow: a node has no id or no type: 7."),
    "a circle": (grouped(group(use(0)), use(2)), "Bad workflow: group node G contains itself."),
    "an input that is not there": (
        grouped(group(make(0), show(1, None), links=[(0, 0, 1, 9, 4, "T")]), use(2)),
        "Bad workflow: a link in a group node leads to input 9 of node 1.",
    ),
    "a class that is not there": (
        grouped(group(node(0, "Fancy", [], [("thing", "THING", None)], ("THING",))), use(2, [], THING)),
        "Cannot execute because node Fancy does not exist: Node ID '#2:0'; it is one of ComfyUI's own that runs on a "
        "server alone, or of another pack, so use --server URL of one that has it.",
    ),
}


@pytest.mark.parametrize("graph, sentence", BAD.values(), ids=BAD)
def test_refusals(graph, sentence, info):
    with pytest.raises(WorkflowError) as refusal:
        to_api(graph, info)
    assert str(refusal.value) == sentence


def test_groups_have_limits(info, monkeypatch):
    deep = {f"g{i}": group(use(0, name=f"workflow>g{i + 1}")) for i in range(40)}
    with pytest.raises(WorkflowError, match="more than 32 group nodes in each other"):
        to_api(workflow([use(2, name="workflow>g0")], extra={"groupNodes": deep}), info)
    monkeypatch.setattr(groups, "MOST_NODES", 1)
    with pytest.raises(WorkflowError, match="group nodes hold more than 1 nodes or"):
        to_api(grouped(TWO, use(2)), info)


ODD = [
    {"config": []},
    {"config": {"0": [], "1": {"input": 3, "output": {"0": None}}}},
    {"external": {"a": 1}},
    {"external": [[None], [{}, {}], [0, "x"], []]},
    {"links": [None, [], [0, 0], [True, 0, 1, 0], [-1, 0, 0, 0], [0, 0, 99, 0], "abc", [0, 0.5, 1, 0]]},
]


@pytest.mark.parametrize("more", ODD, ids=str)
def test_what_is_odd_in_a_definition_is_passed_over(more, info):
    assert {"2:0", "2:1"} <= to_api(grouped(TWO | more, use(2, [], THING)), info).keys()
