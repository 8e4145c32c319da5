"""What the layout of workflows rests on; the sizes themselves come from a host (tests/browser)."""

import copy
import json

import pytest

from release.arrange import SPARE, TITLE, arrange
from release.placed import placed
from support.geometry import outside, overlaps
from support.workflow_files import WORKFLOWS, name


def boxes(graph):
    """As a front end that draws every node at its saved size answers."""
    return [
        {"id": n["id"], "name": n["id"], "box": [n["pos"][0], n["pos"][1] - TITLE, n["size"][0], n["size"][1] + TITLE]}
        for n in graph["nodes"]
    ]


@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
def test_any_sizes_leave_every_node_in_its_group_and_uncovered(path):
    text = path.read_text(encoding="utf-8")
    graph = json.loads(text)
    sizes = {node["id"]: (300 + node["id"] % 3 * 10, 100 + node["id"] * 37 % 400) for node in graph["nodes"]}
    arranged = copy.deepcopy(graph)
    arrange(arranged, sizes)
    assert overlaps(boxes(arranged)) == [] and outside(arranged, boxes(arranged)) == []
    assert {node["id"]: tuple(node["size"]) for node in arranged["nodes"]} == sizes
    again = copy.deepcopy(arranged)
    arrange(again, sizes)
    assert again == arranged
    changed = placed(text, arranged)
    assert json.loads(changed) == arranged
    assert len(changed.splitlines()) == len(text.splitlines())


def test_the_saved_layout_leaves_room_under_every_node():
    for path in WORKFLOWS:
        graph = json.loads(path.read_text(encoding="utf-8"))
        taller = boxes(graph)
        for node in taller:
            node["box"][3] += SPARE - 1
        assert overlaps(taller) == [], name(path)


def test_other_changes_than_of_places_are_refused():
    graph = {"nodes": [{"id": 1, "pos": [0, 0], "size": [1, 2]}], "groups": []}
    text = json.dumps(graph)
    graph["nodes"][0]["id"] = 2
    with pytest.raises(ValueError, match="not that of this file"):
        placed(text, graph)
