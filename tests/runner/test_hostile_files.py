"""Small files that would make much work: they are converted, or refused in a sentence, before there is much of it."""

import time

import pytest

from run_workflow import to_api
from runner import widgets
from runner.problems import WorkflowError
from support.fake_nodes import fake_library, make, node, show, workflow
from support.trials import is_sentence

SECONDS = 6.0  # of processor time, of which each takes two at the most, and took a minute and more
SAVE = [("images", "IMAGE", None)]
SETS = "set" * 60


@pytest.fixture(scope="module")
def info():
    known = fake_library([]).object_info
    text = ("STRING", {"dynamicPrompts": True})
    save = {"images": ("IMAGE",), "filename_prefix": ("STRING", {"default": "ComfyUI"})}
    return {
        **known,
        "Text": {"input": {"required": {"text": text}}, "output": ["STRING"]},
        "SaveImage": {"input": {"required": save}, "output": [], "output_node": True},
    }


def grouped(**groups):
    """A use of each group."""
    extra = {"groupNodes": groups}
    return workflow([node(place, f"workflow>{name}") for place, name in enumerate(groups)], extra=extra)


def doubled(depth):
    """Groups that hold two of each other."""
    groups = {"0": {"nodes": [{"type": "Make"}], "links": []}}
    for level in range(1, depth):
        groups[f"{level}"] = {"nodes": [{"type": f"workflow>{level - 1}"}] * 2, "links": []}
    return grouped(**groups)


def long_names(count):
    """Of three nodes, whose title stands before the names of what is there more than once."""
    odd = {"type": "Nope", "title": "t" * 100_000, "widgets_values": [1] * count}
    return grouped(G={"nodes": [odd] * 3, "links": []})


def group_of_reroutes(count):
    rows = [{"type": "Reroute", "inputs": [{"name": "", "type": "*"}], "outputs": [{"type": "*"}]}] * count
    return grouped(G={"nodes": [*rows, {"type": "Make"}], "links": [[i, 0, count, 0, 1, "*"] for i in range(count)]})


def group_of_inputs(count):
    odd = {"type": "Nope", "inputs": [{"name": f"i{place}", "type": "*"} for place in range(count)]}
    return grouped(G={"nodes": [odd], "links": []})


def group_of_ends(count):
    ends = [{"type": "Show", "inputs": [{"name": "thing", "type": "THING"}]}] * count
    names = ["thing", "Show thing", *(f"Show {place} thing" for place in range(2, count))]
    use = node(1, "workflow>G", [], [(name, "THING", None) for name in names])
    return workflow([use], extra={"groupNodes": {"G": {"nodes": ends, "links": []}}})


def faces(count, uses):
    """Uses of a subgraph in which a use of another one shows many widgets."""
    shown = {"proxyWidgets": [["1", f"w{place}"] for place in range(count)]}
    subgraphs = [
        {"id": "inner", "nodes": [make(1)], "links": []},
        {"id": "outer", "nodes": [node(1, "inner", properties=shown)], "links": []},
    ]
    return workflow([node(place, "outer") for place in range(uses)], definitions={"subgraphs": subgraphs})


def long_path(count):
    """A widget with the ids of many nodes before its name."""
    use = node(1, "inner", properties={"proxyWidgets": [["1", "1:" * count + "w"]]})
    return workflow([use], definitions={"subgraphs": [{"id": "inner", "nodes": [make(1)], "links": []}]})


def senders(count):
    makers = [make(place) for place in range(count)]
    sending = [node(count + i, "Anything Everywhere", [], [("a", "THING", i)]) for i in range(count)]
    ends = [show(2 * count + place, None) for place in range(count)]
    links = [(place, place, 0, count + place, 0, "THING") for place in range(count)]
    return workflow([*makers, *sending, *ends], links)


def switched(count):
    """Ends of as many types behind a switch, of whose inputs none is fed."""
    inputs = [(f"i{place}", "*", place) for place in range(count)]
    ends = [node(2 + i, "Show", [], [("thing", f"T{i}", count + i)]) for i in range(count)]
    links = [(place, 0, 0, 1, place, "*") for place in range(count)]
    links += [(count + i, 1, 0, 2 + i, 0, "*") for i in range(count)]
    switch = node(1, "Any Switch (rgthree)", [], inputs, ("*",))
    return workflow([make(0, mode=2), switch, *ends], links)


def saves(texts, *nodes):
    ends = [node(place, "SaveImage", [text], SAVE) for place, text in enumerate(texts, len(nodes))]
    return workflow([*nodes, *ends])


def primitive(text, count, **properties):
    """A text that goes to many nodes."""
    ends = [node(1 + i, "Text", [""], [("text", "STRING", i, "text")], ("STRING",)) for i in range(count)]
    nodes = [node(0, "PrimitiveNode", [text], outputs=("STRING",), properties=properties), *ends]
    return workflow(nodes, [(place, 0, 0, 1 + place, 0, "STRING") for place in range(count)])


def wide(count):
    return make(0, inputs=[(f"i{place}", "*", None) for place in range(count)])


LONG = make(0, widgets=[1, 1, "red", "x" * 99_000])
GROUPS = "its group nodes have more than 300,000 inputs and outputs, or names of 32 MB"
NAMES = "its texts hold more than 100,000 names between % and %"
COPIES = "the texts that it copies and fills in have more than 67,108,864 characters"
REFUSED = {
    "groups that double": (doubled(30), GROUPS),
    "long names in groups": (long_names(20_000), GROUPS),
    "a node of many inputs in a group": (group_of_inputs(40_000), "node Nope does not exist"),
    "widgets on the faces of subgraphs": (faces(60_000, 60), "more than 300,000 inputs and widgets on the faces"),
    "names of classes that are verbs": (
        workflow([node(place, SETS, [f"{place}"], [("a", "*", 1)]) for place in range(15_000)]),
        "does not exist",
    ),
    "a switch of many inputs": (switched(15_000), "more than 600,000 looks at slots"),
    "names in texts": (saves(["%a%" * 33_000] * 300), NAMES),
    "names in the text of a primitive": (primitive("%a%" * 33_000, 3000, **{widgets.REPLACES: True}), NAMES),
    "a text that is filled into many": (saves(["%Make.text%"] * 5000, LONG), COPIES),
    "a text that goes to many": (primitive("// a\n" + "x" * 5_000_000, 500), COPIES),
    "a long text in alternatives": (
        workflow([node(1, "Text", ["{" * 49 + "a/" * 5_000_000 + "}" * 49])]),
        "its texts hold more than 67,108,864 characters",
    ),
}  # fmt: skip
CONVERTED = {
    "reroutes in a group": (group_of_reroutes(12_000), 1),
    "ends in a group": (group_of_ends(16_000), 16_000),
    "the ids of many nodes before a name": (long_path(1_000_000), 1),
    "senders of one type": (senders(20_000), 40_000),
    "a node of many inputs that a text names": (saves(["%Make.amount%" * 7000], wide(20_000)), 2),
}


@pytest.mark.parametrize("graph, sentence", REFUSED.values(), ids=REFUSED)
def test_too_much_work_is_refused(graph, sentence, info):
    started = time.process_time()
    with pytest.raises(WorkflowError) as told:
        to_api(graph, info)
    assert time.process_time() - started < SECONDS
    assert sentence in str(told.value) and is_sentence(str(told.value))


@pytest.mark.parametrize("graph, nodes", CONVERTED.values(), ids=CONVERTED)
def test_work_grows_no_faster_than_the_file(graph, nodes, info):
    started = time.process_time()
    assert len(to_api(graph, info)) == nodes
    assert time.process_time() - started < SECONDS
