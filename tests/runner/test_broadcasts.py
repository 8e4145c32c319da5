"""What cg-use-everywhere sends to inputs that nothing is linked to."""

import pytest

from run_workflow import to_api
from support.fake_nodes import change, make, node, show, workflow

MUTED = 2
EVERYWHERE = "Anything Everywhere"


def sender(number, link, kind=EVERYWHERE, more=(), **held):
    return node(number, kind, held.pop("values", ()), [("anything", "THING", link), *more], **held)


def sent(extra=None, nodes=None, **held):
    """Make (1) -> what sends everywhere (2); Change (3) -> Show (4), of which nothing feeds the Change."""
    made = nodes or [sender(2, 1, **held)]
    graph = workflow(
        [make(1), *made, change(3, None), show(4, 3)], [(1, 1, 0, 2, 0, "THING"), (3, 3, 0, 4, 0, "THING")]
    )
    return graph if extra is None else graph | {"extra": extra}


def saved(**more):
    entry = {
        "downstream": 3,
        "downstream_slot": 0,
        "upstream": "1",
        "upstream_slot": 0,
        "controller": 2,
        "type": "THING",
    }
    return {"ue_links": [entry | more]}


def fed(graph, info):
    return to_api(graph, info)["3"]["inputs"].get("thing")


def test_links_that_the_file_keeps(info, caplog):
    assert fed(sent(saved()), info) == ["1", 0]
    assert fed(sent(saved(), nodes=[change(2, 1)]), info) == ["1", 0]  # any node can be told to send
    assert not caplog.messages


def test_links_that_the_browser_made_for_a_time_are_made_again(info):
    graph = sent(saved() | {"links_added_by_ue": [77]})
    graph["nodes"][2]["inputs"][0]["link"] = 77
    assert fed(graph, info) == ["1", 0]
    graph["extra"]["ue_links"] = []
    assert fed(graph, info) is None


def test_what_is_linked_stays_as_it_is(info):
    graph = sent(saved())
    graph["nodes"] += [make(5)]
    graph["nodes"][2]["inputs"][0]["link"] = 5
    graph["links"] += [[5, 5, 0, 3, 0, "THING"]]
    assert fed(graph, info) == ["5", 0]


ODD = [
    {"downstream": 99},
    {"downstream_slot": 9},
    {"downstream_slot": -1},
    {"upstream": "99"},
    {"upstream": None},
    {"upstream_slot": "x"},
    {"upstream_slot": True},
    {"type": "OTHER"},
    {"downstream": [3]},
]


@pytest.mark.parametrize("more", ODD, ids=str)
def test_entries_that_fit_nothing_are_passed_over(more, info):
    assert fed(sent(saved(**more)), info) is None


@pytest.mark.parametrize(
    "extra", [{"ue_links": [None, 3, []]}, {"ue_links": [], "links_added_by_ue": [[], None]}], ids=str
)
def test_lists_of_odd_entries(extra, info):
    assert fed(sent(extra), info) is None


def test_the_plain_rule_of_older_files(info, caplog):
    assert fed(sent(), info) == ["1", 0]
    assert fed(sent(kind="Anything Everywhere3"), info) == ["1", 0]
    assert fed(sent(kind="Anything Everywhere?", values=[".*", ".*"]), info) == ["1", 0]
    assert not caplog.messages


def test_of_two_senders_none_counts(info):
    nodes = [sender(2, 1), make(5), sender(6, 6)]
    graph = sent(nodes=nodes)
    graph["links"] += [[6, 5, 0, 6, 0, "THING"]]
    assert fed(graph, info) is None


def test_a_muted_sender_sends_nothing(info):
    assert fed(sent(mode=MUTED), info) is None


def test_prompts_go_by_the_names_of_inputs(info):
    own = [("positive", "THING", None), ("negative", "THING", None), ("other", "THING", None)]
    both = sender(2, 1, "Prompts Everywhere", [("-ve", "THING", 2)])
    graph = workflow(
        [make(1), make(5), both, node(3, "Change", [7, "fixed", 12], own, ("THING",)), show(4, 3)],
        [(1, 1, 0, 2, 0, "THING"), (2, 5, 0, 2, 1, "THING"), (3, 3, 0, 4, 0, "THING")],
    )
    found = to_api(graph, info)["3"]["inputs"]
    assert (found["positive"], found["negative"], "other" in found) == (["1", 0], ["5", 0], False)


@pytest.mark.parametrize(
    "held",
    [
        {"kind": "Anything Everywhere?", "values": ["Sampler", ".*"]},
        {"properties": {"group_restricted": True}},
        {"properties": {"ue_properties": {"input_regex": "^pos"}}},
        {"kind": "Seed Everywhere", "values": [3, "fixed"]},
    ],
    ids=str,
)
def test_other_rules_are_told(held, info, caplog):
    assert fed(sent(**held), info) is None
    (told,) = caplog.messages
    why = "sends to other nodes in the browser, by a rule that is not followed here: save the file there once more."
    assert told == f"Node 2 ({held.get('kind', EVERYWHERE)}) {why}"


def test_inside_a_subgraph(info):
    """From its input to a node, and from a node to its output."""
    inside = {
        "id": "s",
        "name": "S",
        "nodes": [change(3, None)],
        "links": [],
        "inputs": [{"name": "a", "type": "THING"}],
    }
    ways = saved(upstream="-10")["ue_links"] + saved(upstream="3", downstream=-20)["ue_links"]
    graph = workflow(
        [make(1), node(2, "s", [], [("a", "THING", 1)], ("THING",)), show(4, 2)],
        [(1, 1, 0, 2, 0, "THING"), (2, 2, 0, 4, 0, "THING")],
        definitions={"subgraphs": [inside | {"extra": {"ue_links": ways}}]},
    )
    prompt = to_api(graph, info)
    assert prompt["2:3"]["inputs"]["thing"] == ["1", 0] and prompt["4"]["inputs"]["thing"] == ["2:3", 0]
