"""Widgets that uses of a subgraph show: their values, in every order in which front ends have kept them."""

import copy
import re

import pytest

from run_workflow import prepare, to_api
from runner.files import Document
from runner.problems import WorkflowError
from support.fake_nodes import change, make, node, show, workflow

WIDGETS = [("seed", "INT", 11, "seed"), ("steps", "INT", 12, "steps")]
LINKS = [[10, -10, 0, 1, 0, "THING"], [11, -10, 1, 1, 1, "INT"], [12, -10, 2, 1, 2, "INT"], [13, 1, 0, 2, 0, "THING"]]
INNER = {
    "id": "s",
    "name": "S",
    "nodes": [change(1, 10, inputs=WIDGETS, widgets=[1, "fixed", 2]), change(2, 13, widgets=[3, "fixed", 4])],
    "links": [*LINKS, [14, 2, 0, -20, 0, "THING"]],
}
SHOWN = [("thing", "THING", 1), ("seed", "INT", None, "seed"), ("steps", "INT", None, "steps")]


def used(values, proxies=None, entries=SHOWN, subgraphs=(INNER,), kind="s", nodes=(), links=(), **properties):
    """Make (1) -> a use of the subgraph (7) -> Show (9)."""
    held = {**properties, **({} if proxies is None else {"proxyWidgets": proxies})}
    instance = node(7, kind, values, entries, ("THING",), properties=held)
    definitions = {"subgraphs": copy.deepcopy(list(subgraphs))}
    ends = [(1, 1, 0, 7, 0, "THING"), (9, 7, 0, 9, 0, "THING"), *links]
    return workflow([make(1), instance, show(9, 9), *nodes], ends, definitions=definitions)


def values_of(graph, info):
    """Seed and steps of every Change, by id."""
    prompt = to_api(graph, info)
    found = {key: entry["inputs"] for key, entry in prompt.items() if entry["class_type"] == "Change"}
    return {key: (values["seed"], values["steps"]) for key, values in found.items()}


AS_INSIDE = ((1, 2), (3, 4))
SEED, STEPS = ["-1", "seed"], ["-1", "steps"]  # inputs of the use itself, as the property lists them
ORDERS = {
    "inputs in their order": ([21, 22], None, ((21, 22), (3, 4))),
    "fewer values than inputs": ([21], None, ((21, 2), (3, 4))),
    "more values than inputs": ([21, 22, 23], None, ((21, 22), (3, 4))),
    "null where nothing was changed": ([None, 22], None, ((1, 22), (3, 4))),
    "no values": ([], None, AS_INSIDE),
    "values by name": ({"steps": 22}, None, ((1, 22), (3, 4))),
    "the property, inputs by name": ([21, 23, 22], [SEED, ["2", "seed"], STEPS], ((21, 22), (23, 4))),
    "inputs by what they feed": ([22, 24, 21], [["1", "steps"], ["2", "steps"], ["1", "seed"]], ((21, 22), (3, 24))),
    "no inputs in it, which come first": ([21, 22], [["2", "seed"]], ((21, 22), (3, 4))),
    "more in an entry": ([21, 22, 23], [SEED, STEPS, ["2", "seed", "2"]], ((21, 22), (23, 4))),
    "null for what was not changed": ([21, None, 22], [SEED, ["2", "seed"], STEPS], ((21, 22), (3, 4))),
    "a preview among what is shown": ([21, 22, None], [SEED, STEPS, ["2", "$$preview"]], ((21, 22), (3, 4))),
    "what is no entry keeps its place": ([21, 5, 22], [SEED, 7, STEPS], ((21, 22), (3, 4))),
    "a property of no shape": ([21, 22], {"a": 1}, ((21, 22), (3, 4))),
}


@pytest.mark.parametrize("values, proxies, wanted", ORDERS.values(), ids=ORDERS)
def test_orders_of_values(values, proxies, wanted, info):
    assert values_of(used(values, proxies), info) == {"7:1": wanted[0], "7:2": wanted[1]}


def test_a_use_that_lacks_an_input(info):
    assert values_of(used([21], entries=SHOWN[:2]), info) == {"7:1": (21, 2), "7:2": (3, 4)}


def outer(*proxies, values=(), use_of="s"):
    """A subgraph whose node 5 is a use of another one."""
    own = [("thing", "THING", 20), ("seed", "INT", 21, "seed"), SHOWN[2]]
    instance = node(
        5, use_of, list(values), own, ("THING",), properties={"proxyWidgets": list(proxies)} if proxies else {}
    )
    links = [[20, -10, 0, 5, 0, "THING"], [21, -10, 1, 5, 1, "INT"], [22, 5, 0, -20, 0, "THING"]]
    return {"id": "o", "name": "O", "nodes": [instance], "links": links}


TWICE = outer(SEED, STEPS, ["2", "steps"], values=[31, 32, 33])
NESTED = {
    "a value of the use inside": ([21], None, outer(values=[31, 32]), ((21, 32), (3, 4))),
    "one that both uses show": ([21, 22], [SEED, ["5", "steps"]], outer(values=[31, 32]), ((21, 22), (3, 4))),
    "of two names an input": ([21, 24], [SEED, ["5", "steps"]], TWICE, ((21, 24), (3, 33))),
    "the one of a node": ([21, 24], [SEED, ["5", "steps", "2"]], TWICE, ((21, 32), (3, 24))),
    "the same as once written": ([21, 24], [SEED, ["5", "2: steps"]], TWICE, ((21, 32), (3, 24))),
    "an input by the node that it feeds": ([21, 24], [SEED, ["5", "steps", "1"]], TWICE, ((21, 24), (3, 33))),
}


@pytest.mark.parametrize("values, proxies, middle, wanted", NESTED.values(), ids=NESTED)
def test_subgraphs_in_each_other(values, proxies, middle, wanted, info):
    graph = used(values, proxies, SHOWN[:2], [INNER, middle], "o")
    assert values_of(graph, info) == {"7:5:1": wanted[0], "7:5:2": wanted[1]}


def test_uses_of_one_subgraph_have_values_of_their_own(info):
    proxies = [["-1", "seed"], ["-1", "steps"], ["2", "seed"]]
    again = node(
        8, "s", [41, 42, 43], [("thing", "THING", 5), *SHOWN[1:]], ("THING",), properties={"proxyWidgets": proxies}
    )
    graph = used([21, 22, 23], proxies, nodes=[again], links=[(5, 1, 0, 8, 0, "THING")])
    assert values_of(graph, info) == {"7:1": (21, 22), "7:2": (23, 4), "8:1": (41, 42), "8:2": (43, 4)}


def test_a_primitive_inside_whose_value_is_shown(info):
    subgraph = copy.deepcopy(INNER)
    subgraph["nodes"].append(node(4, "PrimitiveNode", [9, "fixed"], outputs=("INT",)))
    subgraph["links"][1] = [11, 4, 0, 1, 1, "INT"]
    assert values_of(used([51], [["4", "value"]], [SHOWN[0]], [subgraph]), info)["7:1"] == (51, 2)
    assert values_of(used([], None, [SHOWN[0]], [subgraph]), info)["7:1"] == (9, 2)


def test_a_link_counts_more_than_a_shown_value(info):
    linked = [SHOWN[0], ("seed", "INT", 5, "seed"), SHOWN[2]]
    assert to_api(used([21, 22], entries=linked, links=[(5, 1, 1, 7, 1, "INT")]), info)["7:1"]["inputs"]["seed"] == [
        "1",
        1,
    ]


def test_an_input_that_leads_straight_to_an_output(info):
    straight = {"id": "s", "name": "S", "nodes": [], "links": [[1, -10, 0, -20, 0, "THING"]]}
    assert to_api(used([], None, [SHOWN[0]], [straight]), info)["9"]["inputs"] == {"thing": ["1", 0]}


SHOWS = [["-1", "seed"], ["-1", "steps"], ["2", "seed"]]


def test_settings_go_to_the_use_that_shows_the_widget(info):
    graph = used([21, 22], SHOWS)
    prompt, ran = prepare(Document(ui=graph), ["7:1.seed=61", "7:2.seed=63", "7:2.steps=64"], info)
    assert (prompt["7:1"]["inputs"]["seed"], prompt["7:1"]["inputs"]["steps"]) == (61, 22)
    assert (prompt["7:2"]["inputs"]["seed"], prompt["7:2"]["inputs"]["steps"]) == (63, 64)
    assert ran["nodes"][1]["widgets_values"] == [61, 22, 63] and graph["nodes"][1]["widgets_values"] == [21, 22]


def test_settings_go_to_values_by_name(info):
    prompt, ran = prepare(Document(ui=used({"seed": 21})), ["7:1.steps=62"], info)
    assert prompt["7:1"]["inputs"]["steps"] == 62 and ran["nodes"][1]["widgets_values"] == {"seed": 21, "steps": 62}


def test_a_setting_of_what_is_linked_around_the_subgraph(info):
    linked = [SHOWN[0], ("seed", "INT", 5, "seed"), SHOWN[2]]
    graph = used([21, 22], entries=linked, links=[(5, 1, 1, 7, 1, "INT")])
    with pytest.raises(WorkflowError) as refusal:
        prepare(Document(ui=graph), ["7:1.seed=3"], info)
    assert str(refusal.value) == "--set: seed of Node 7:1 (Change) comes from node 1; set it there."


def test_settings_inside_two_subgraphs_go_to_the_outermost_that_shows_the_widget(info):
    graph = used([21], None, SHOWN[:2], [INNER, outer(values=[31, 32])], "o")
    prompt, ran = prepare(Document(ui=graph), ["7:5:1.seed=61", "7:5:1.steps=62"], info)
    assert (prompt["7:5:1"]["inputs"]["seed"], prompt["7:5:1"]["inputs"]["steps"]) == (61, 62)
    assert ran["nodes"][1]["widgets_values"] == [61]
    linked = [SHOWN[0], ("seed", "INT", 5, "seed")]
    graph = used([21], None, linked, [INNER, outer(values=[31, 32])], "o", links=[(5, 1, 1, 7, 1, "INT")])
    with pytest.raises(WorkflowError, match=re.escape("seed of Node 7:5:1 (Change) comes from node 1; set it there.")):
        prepare(Document(ui=graph), ["7:5:1.seed=3"], info)
