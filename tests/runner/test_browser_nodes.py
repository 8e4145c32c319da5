"""Nodes of other packs that exist in the browser alone, and nodes whose class nobody knows."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from run_workflow import prepare, to_api
from runner.convert import SHOWN_WARNINGS
from runner.files import Document
from runner.problems import WorkflowError
from support.fake_nodes import change, fake_library, make, node, show, workflow
from support.trials import is_sentence

MUTED, BYPASSED = 2, 4


def set_node(number, name, link, kind="SetNode", **more):
    return node(number, kind, [name], [("THING", "THING", link)], ("*",), **more)


def get_node(number, name, kind="GetNode", **more):
    return node(number, kind, [name], outputs=("THING",), **more)


def pair(setter=None, getter=None, nodes=(), links=()):
    """Make (1) -> Set (2), Get (3) -> Show (4)."""
    setter, getter = setter or set_node(2, "a", 1), getter or get_node(3, "a")
    ends = [(1, 1, 0, 2, 0, "THING"), (2, 3, 0, 4, 0, "THING"), *links]
    return workflow([make(1), setter, getter, show(4, 2), *nodes], ends)


def inside(*nodes, links=(), kind="s"):
    return {"id": kind, "name": kind, "nodes": list(nodes), "links": [list(link) for link in links]}


def in_subgraph(subgraph, nodes, links=()):
    return workflow(nodes, links, definitions={"subgraphs": [subgraph]})


def through(kind, count=1, **more):
    """Make (1) -> a node of the browser (2) -> Show (4)."""
    middle = node(2, kind, [], [("", "*", 1)], ("*",) * count, **more)
    return workflow([make(1), middle, show(4, 2)], [(1, 1, 0, 2, 0, "*"), (2, 2, 0, 4, 0, "THING")])


FED = {
    "KJNodes' pair": pair(),
    "Easy Use's pair": pair(set_node(2, "a", 1, "easy setNode"), get_node(3, "a", "easy getNode")),
    "a pair of a pack that nobody has heard of": pair(set_node(2, "a", 1, "XY Set"), get_node(3, "a", "XY Get")),
    "a name with a verb in it": pair(set_node(2, "a", 1, "WidgetSetter"), get_node(3, "a", "WidgetGetter")),
    "values by name": pair({**set_node(2, "", 1), "widgets_values": {"Constant": "a"}}),
    "the name in the properties": pair(set_node(2, "", 1, properties={"previousName": "a"})),
    "the name in the titles": pair(set_node(2, None, 1, title="Set_a"), get_node(3, None, title="Get_a")),
    "a Set that is muted, which the browser does not look at": pair(set_node(2, "a", 1, mode=MUTED)),
    "a Set that is bypassed": pair(set_node(2, "a", 1, mode=BYPASSED)),
    "a Set that passes on what it sets": workflow(
        [make(1), set_node(2, "a", 1), show(4, 2)], [(1, 1, 0, 2, 0, "THING"), (2, 2, 0, 4, 0, "THING")]
    ),
    "a Set fed by another Get": pair(
        set_node(2, "a", 5), nodes=[set_node(6, "b", 1), get_node(7, "b")], links=[(5, 7, 0, 2, 0, "THING")]
    )
    | {"links": [[1, 1, 0, 6, 0, "T"], [5, 7, 0, 2, 0, "T"], [2, 3, 0, 4, 0, "T"]]},
    "a Set without a Get": pair(nodes=[set_node(9, "unused", None)]),
    "a Set in the graph around a Get": in_subgraph(
        inside(get_node(3, "a"), show(4, 2), links=[(2, 3, 0, 4, 0, "THING")]),
        [make(1), set_node(2, "a", 1), node(5, "s")],
        [(1, 1, 0, 2, 0, "THING")],
    ),
    "the only Set, in a subgraph": in_subgraph(
        inside(make(1), set_node(2, "a", 1), links=[(1, 1, 0, 2, 0, "THING")]),
        [node(5, "s"), get_node(3, "a"), show(4, 2)],
        [(2, 3, 0, 4, 0, "THING")],
    ),
    "rgthree's reroute": through("Reroute (rgthree)"),
    "a collector": through("Node Collector (rgthree)"),
    "a reroute of any pack": through("SomePack.RerouteNode"),
    "a server's reroute that does nothing": through("ReroutePrimitive|pysssss"),
    "a switch that has one choice": through("Any Switch (rgthree)"),
}


@pytest.mark.parametrize("graph", FED.values(), ids=FED)
def test_what_feeds_an_input_by_way_of_the_browser(graph, info, caplog):
    untouched = copy.deepcopy(graph)
    prompt = to_api(graph, info)
    ends = {entry["class_type"]: key for key, entry in prompt.items()}
    assert set(ends) == {"Make", "Show"} and len(prompt) == 2
    assert prompt[ends["Show"]]["inputs"] == {"thing": [ends["Make"], 0]}
    assert graph == untouched and not caplog.messages


UNFED = {
    "a Get that is muted": pair(getter=get_node(3, "a", mode=MUTED)),
    "a Get that is bypassed": pair(getter=get_node(3, "a", mode=BYPASSED)),
    "a Set of nothing": pair(set_node(2, "a", None)),
    "a muted reroute": through("Reroute", mode=MUTED),
    "an output of a switch of groups": workflow(
        [node(2, "Fast Groups Muter (rgthree)", outputs=("*",)), show(4, 2)], [(2, 2, 0, 4, 0, "*")]
    ),
}


@pytest.mark.parametrize("graph", UNFED.values(), ids=UNFED)
def test_what_the_browser_leaves_unfed(graph, info):
    assert to_api(graph, info)["4"]["inputs"] == {}


def test_the_nearest_set_counts(info):
    """One of the same name in the graph around does not; each use of a subgraph has its own."""
    own = inside(change(8, 1), set_node(2, "a", 2), get_node(3, "a"), show(4, 3))
    own["links"] = [[1, -10, 0, 8, 0, "T"], [2, 8, 0, 2, 0, "T"], [3, 3, 0, 4, 0, "T"]]
    uses = [node(i, "s", [], [("thing", "THING", i)]) for i in (10, 11)]
    ends = [(1, 1, 0, 5, 0, "T"), (10, 1, 0, 10, 0, "T"), (11, 1, 0, 11, 0, "T")]
    prompt = to_api(in_subgraph(own, [make(1), set_node(5, "a", 1), *uses], ends), info)
    assert prompt["10:4"]["inputs"] == {"thing": ["10:8", 0]} and prompt["11:4"]["inputs"] == {"thing": ["11:8", 0]}


def test_of_two_sets_of_a_name_the_first_is_used_and_told(info, caplog):
    graph = pair(nodes=[make(7), set_node(8, "a", 9)], links=[(9, 7, 0, 8, 0, "THING")])
    assert to_api(graph, info)["4"]["inputs"] == {"thing": ["1", 0]}
    assert caplog.messages == ["2 Set nodes have the name 'a', of which Node 2 (SetNode) is used."]


def test_a_primitive_by_way_of_the_browser(info):
    steps = ("steps", "INT", 9, "steps")
    value = node(6, "Seed Everywhere", [42, "fixed"], outputs=("INT",))
    graph = workflow(
        [make(1), value, node(5, "Reroute", [], [("", "*", 8)], ("INT",)), change(2, 1, inputs=[steps]), show(4, 2)],
        [(1, 1, 0, 2, 0, "T"), (2, 2, 0, 4, 0, "T"), (8, 6, 0, 5, 0, "INT"), (9, 5, 0, 2, 1, "INT")],
    )
    assert to_api(graph, info)["2"]["inputs"] == {"thing": ["1", 0], "seed": 7, "steps": 42}


def test_a_switch_takes_the_first_input_that_is_fed(info):
    choices = [("any_01", "THING", 5), ("any_02", "THING", None), ("any_03", "THING", 6)]
    switch = node(2, "Any Switch (rgthree)", [], choices, ("*",))
    ends = [(5, 7, 0, 2, 0, "T"), (6, 1, 0, 2, 2, "T"), (2, 2, 0, 4, 0, "T")]
    graph = workflow([make(1), make(7, mode=MUTED), switch, show(4, 2)], ends)
    assert to_api(graph, info)["4"]["inputs"] == {"thing": ["1", 0]}


def test_switches_in_a_circle(info):
    kind = "Any Switch (rgthree)"
    nodes = [node(2, kind, [], [("a", "*", 3)], ("*",)), node(3, kind, [], [("a", "*", 2)], ("*",)), show(4, 4)]
    with pytest.raises(WorkflowError, match="more than 32 switches lie behind one another, or in a circle"):
        to_api(workflow(nodes, [(2, 2, 0, 3, 0, "*"), (3, 3, 0, 2, 0, "*"), (4, 2, 0, 4, 0, "*")]), info)


REFUSED = {
    "no Set of the name": (
        pair(getter=get_node(3, "b")),
        "Node 3 (GetNode) gets from nowhere: no Set node has its name 'b'; those that are set are a.",
    ),
    "no Set at all": (
        workflow([get_node(3, "b"), show(4, 2)], [(2, 3, 0, 4, 0, "T")]),
        "Node 3 (GetNode) gets from nowhere: no Set node has its name 'b'; those that are set are none.",
    ),
    "several, all of them in subgraphs": (
        in_subgraph(
            inside(make(1), set_node(2, "a", 1), links=[(1, 1, 0, 2, 0, "T")]),
            [node(5, "s"), node(6, "s"), get_node(3, "a"), show(4, 2)],
            [(2, 3, 0, 4, 0, "T")],
        ),
        "Node 3 (GetNode) gets from nowhere: several Set nodes of subgraphs have its name 'a'; "
        "those that are set are a.",
    ),
    "a circle": (
        workflow([set_node(2, "a", 1), get_node(3, "a"), show(4, 2)], [(1, 3, 0, 2, 0, "T"), (2, 3, 0, 4, 0, "T")]),
        "Dependency cycle detected: output 0 of Node 3 (GetNode) feeds itself.",
    ),
    "a pair that is none": (
        workflow([node(3, "GetThing", ["a"], outputs=("THING",)), show(4, 2)], [(2, 3, 0, 4, 0, "T")]),
        "Cannot execute because node GetThing does not exist: Node ID '#3'; it is one of ComfyUI's own that runs on "
        "a server alone, or of another pack, so use --server URL of one that has it.",
    ),
}


@pytest.mark.parametrize("graph, sentence", REFUSED.values(), ids=REFUSED)
def test_links_by_name_that_lead_nowhere(graph, sentence, info):
    with pytest.raises(WorkflowError) as refusal:
        to_api(graph, info)
    assert str(refusal.value) == sentence


FOR_PEOPLE = ["Fast Groups Bypasser (rgthree)", "Label (rgthree)", "Note Plus (mtb)", "Sticky Note", "easy bookmark"]


@pytest.mark.parametrize("kind", FOR_PEOPLE)
def test_what_is_there_for_people_is_left_out_without_a_word(kind, info, caplog):
    graph = pair(nodes=[node(9, kind, ["hi"], outputs=("*",))])
    assert set(to_api(graph, info)) == {"1", "4"} and not caplog.messages


def saver(number, link, kind="FancySaver", **more):
    return node(number, kind, [], [("thing", "THING", link)], **more)


def test_ends_of_unknown_class_are_left_out_while_another_end_is_there(info, caplog):
    graph = pair(nodes=[node(8, "FancyLoader", outputs=("THING",)), saver(9, 5), saver(10, 6)])
    graph["links"] += [[5, 8, 0, 9, 0, "THING"], [6, 1, 0, 10, 0, "THING"]]
    assert set(to_api(graph, info)) == {"1", "4"}
    why = "is left out, and what it would make or do is not made: there is no node of its class here."
    kinds = [(8, "FancyLoader"), (9, "FancySaver"), (10, "FancySaver")]
    assert caplog.messages == [f"Node {number} ({kind}) {why}" for number, kind in kinds]


def test_what_is_known_and_fed_by_what_is_left_out_loses_the_link(info):
    graph = pair(nodes=[node(8, "FancyLoader", outputs=("THING",)), change(9, 5)])
    graph["links"] += [[5, 8, 0, 9, 0, "THING"]]
    prompt, _ = prepare(Document(ui=graph), [], info)
    assert prompt["9"]["inputs"] == {"seed": 7, "steps": 12}


def test_nodes_of_unknown_class_that_are_needed_are_named_and_no_others(info):
    needed = node(8, "FancyLoader", outputs=("THING",))
    graph = workflow([needed, show(4, 5), saver(9, 5)], [(5, 8, 0, 4, 0, "T")])
    graph["nodes"][2]["inputs"][0]["link"] = None
    with pytest.raises(WorkflowError) as refusal:
        to_api(graph, info)
    (problem,) = refusal.value.problems
    assert str(problem).startswith(
        "Cannot execute because node FancyLoader does not exist: Node ID '#8'; it is one of "
    )


def test_ends_of_unknown_class_are_refused_where_there_is_no_other(info):
    with pytest.raises(WorkflowError, match="node FancySaver does not exist"):
        to_api(workflow([make(1), saver(9, 5)], [(5, 1, 0, 9, 0, "T")]), info)


def test_many_that_are_left_out_are_counted(info, caplog):
    to_api(pair(nodes=[saver(i, None) for i in range(100, 200)]), info)
    assert len(caplog.messages) == SHOWN_WARNINGS + 1 and all(map(is_sentence, caplog.messages))
    assert caplog.messages[-1] == "So are 80 more nodes."


def test_a_class_that_the_server_has_is_run_there(info):
    assert set(to_api(through("SetNode"), {**info, "SetNode": info["Change"]})) == {"1", "2", "4"}


WAYS = {
    "reroute": lambda i, link: ([node(i, "Reroute", [], [("", "*", link)], ("*",))], []),
    "rgthree": lambda i, link: ([node(i, "Reroute (rgthree)", [], [("", "*", link)], ("*",))], []),
    "names": lambda i, link: ([set_node(i + 1000, f"n{i}", link), get_node(i, f"n{i}")], [(link, i + 1000)]),
    "bypassed": lambda i, link: ([change(i, link, mode=BYPASSED)], []),
    "switch": lambda i, link: ([node(i, "Any Switch (rgthree)", [], [("any_01", "*", link)], ("*",))], []),
}


@given(st.lists(st.sampled_from(sorted(WAYS)), max_size=20))
def test_no_way_through_the_browser_changes_a_prompt(ways):
    info = fake_library([]).object_info
    nodes, links, origin = [make(1), show(4, 100)], [], 1
    for i, way in enumerate(ways, 200):
        more, ends = WAYS[way](i, i)
        nodes += more
        links.append((i, origin, 0, ends[0][1] if ends else i, 0, "THING"))
        origin = i
    links.append((100, origin, 0, 4, 0, "THING"))
    straight = to_api(workflow([make(1), show(4, 1)], [(1, 1, 0, 4, 0, "THING")]), info)
    assert to_api(workflow(nodes, links), info) == straight
