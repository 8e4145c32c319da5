"""Nodes that are not there: the sentence says what helps."""

import pytest

from run_workflow import to_api, validate
from runner.problems import LONGEST, WorkflowError
from runner.unknown import Unknown, problems
from support.fake_nodes import chain, node, workflow
from support.prompts import made

PACK = {"cnr_id": "comfyui-kjnodes", "ver": "1.0.5", "Node name for S&R": "Blur"}
LINKED = [("thing", "THING", 1)]


CASES = {
    "core by its file": (
        ("Odd", {"cnr_id": "comfy-core", "ver": "0.9.1"}),
        "it is one of ComfyUI's own, which runs on a server alone, so use --server URL",
        "it is one of ComfyUI's own, and the file is of its version 0.9.1, so update the server's ComfyUI",
    ),
    "core by its name": (
        ("KSampler", None),
        "it is one of ComfyUI's own, which runs on a server alone, so use --server URL",
        "it is one of ComfyUI's own, so update the server's ComfyUI",
    ),
    "core that joins sounds": (
        ("AudioConcat", None),
        "it is one of ComfyUI's own, which runs on a server alone, so use --server URL",
        "it is one of ComfyUI's own, so update the server's ComfyUI",
    ),
    "a pack": (
        ("Blur", PACK),
        "it is of the pack comfyui-kjnodes, which runs on a server alone, so use --server URL of one that has the pack",
        "it is of the pack comfyui-kjnodes (1.0.5), so install that on the server",
    ),
    "a pack by its repository": (
        ("Blur", {"aux_id": "someone/pack", "ver": "0123456789" * 4}),
        "it is of the pack someone/pack, which runs on a server alone, so use --server URL of one that has the pack",
        "it is of the pack someone/pack (0123456), so install that on the server",
    ),
    "this pack": (
        ("MGTNew", {"ver": "9.9"}),
        "this pack has no such node, and the file is of its version 9.9",
        "it is of this pack, so install the pack on the server, or update it there",
    ),
    "nobody's": (
        ("Blur", {"cnr_id": 7, "ver": None}),
        "it is one of ComfyUI's own that runs on a server alone, or of another pack, so use --server URL of one that "
        "has it",
        "it is of a pack that the server lacks and the file does not name, so install that there",
    ),
    "a slip": (
        ("Chnge", []),
        "the nearest name of a node that does is Change; otherwise it is one of ComfyUI's own that runs on a server "
        "alone, or of another pack, so use --server URL of one that has it",
        "the nearest name of a node that does is Change; otherwise it is of a pack that the server lacks and the file "
        "does not name, so install that there",
    ),
}


@pytest.mark.parametrize("found, here, there", CASES.values(), ids=CASES)
def test_what_helps(found, here, there, info):
    kind, properties = found
    graph = chain(node(2, kind, [], LINKED, ("THING",), properties=properties))
    for server, wanted in ((False, here), (True, there)):
        with pytest.raises(WorkflowError) as refusal:
            to_api(graph, info, server=server)
        assert str(refusal.value) == f"Cannot execute because node {kind} does not exist: Node ID '#2'; {wanted}."


@pytest.mark.parametrize(
    "kind, what", [("workflow>Mine", "a group of nodes"), ("7c3e4f6a-3f0e-4b8e-9a53-0c4f3f6f2f11", "a subgraph")]
)
@pytest.mark.parametrize("server", [False, True])
def test_what_the_file_lacks_is_told_as_that(kind, what, server, info):
    with pytest.raises(
        WorkflowError,
        match=f"it is {what} that the file does not hold, so save it once more in the browser that has it",
    ):
        to_api(chain(node(2, kind, [], LINKED, ("THING",))), info, server=server)


def test_nodes_of_one_class_are_told_together(info):
    graph = workflow([node(number, "Blur", properties=PACK) for number in range(1, 9)])
    with pytest.raises(WorkflowError) as refusal:
        to_api(graph, info)
    (problem,) = refusal.value.problems
    assert str(problem).startswith(
        "Cannot execute because node Blur does not exist: Node IDs '#1', '#2', '#3', '#4', '#5' and 3 more; it is of"
    )


def test_a_prompt_in_api_format_says_the_same(info):
    prompt = {**made(), "7": {"class_type": "VAEDecode", "inputs": {}}}
    here, there = (validate(prompt, info, values=values) for values in (True, False))
    assert "so use --server URL" in str(here[0]) and "update the server's ComfyUI" in str(there[0])


def test_names_of_any_length_make_one_sentence(info):
    nodes = [Unknown("1" * 5000, "\x1b[31m\n" * 5000, {"cnr_id": "x" * 5000, "ver": "y" * 5000})]
    (problem,) = problems(nodes, info, server=True)
    assert len(str(problem)) <= LONGEST and str(problem).isprintable() and "install that on the server" in str(problem)
