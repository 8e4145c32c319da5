"""What the runner makes of groups and subgraphs is what the front end queues."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from run_workflow import to_api
from support.comfy_host import Json, Server
from support.fake_nodes import node, workflow
from support.front_end import CLASSIC, Page, links_and_values, open_front_end
from support.host_version import newer_only

QUEUED = "async () => (await app.graphToPrompt()).output"
SIDES = [(side, "INT", None, side) for side in ("width", "height", "batch_size", "color")]
USE = "11111111-2222-4333-8444-555555555555"


@pytest.fixture(scope="module")
def opened(server: Server, browser) -> Iterator[Page]:
    opened = open_front_end(server, browser, CLASSIC)
    yield opened
    opened.page.context.close()


def placed(graph: Json) -> Json:
    """With what the front end cannot do without: places of nodes, and what their outputs lead to."""
    for held in [graph, *graph.get("definitions", {}).get("subgraphs", [])]:
        for number, each in enumerate(held["nodes"]):
            each |= {"pos": [300 * number, 0], "size": [200, 100], "flags": {}, "order": number}
            for slot, output in enumerate(each["outputs"]):
                output["links"] = [link[0] for link in ends(held) if link[1:3] == [each["id"], slot]]
    return graph


def ends(graph: Json) -> list[list]:
    return [list(link.values()) if isinstance(link, dict) else link for link in graph["links"]]


def queued(opened: Page, graph: Json) -> Json:
    opened.load(graph, "conversion")
    opened.page.wait_for_timeout(1000)
    return opened.page.evaluate(QUEUED)


def empty(number: int, sides: list = SIDES, **more) -> Json:
    return node(number, "EmptyImage", [512, 300, 2, 0], sides, ("IMAGE",), **more)


def preview(number: int, link: int) -> Json:
    return node(number, "PreviewImage", [], [("images", "IMAGE", link)])


def subgraph(proxies: list, values: list) -> Json:
    """A use of a subgraph that shows width and height, which feed the first of two nodes inside."""
    slots = [("width", "INT"), ("height", "INT")]
    links = [[1, -10, 0, 1, 0, "INT"], [2, -10, 1, 1, 1, "INT"], [3, 1, 0, 2, 0, "IMAGE"], [4, 2, 0, -20, 0, "IMAGE"]]
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    blend = [("image1", "IMAGE", 3), ("image2", "IMAGE", None), ("blend_factor", "FLOAT", None, "blend_factor")]
    inside = {
        "id": USE,
        "name": "Sides",
        "version": 1,
        "revision": 0,
        "config": {},
        "state": {"lastGroupId": 0, "lastNodeId": 9, "lastLinkId": 9, "lastRerouteId": 0},
        "inputNode": {"id": -10, "bounding": [0, 0, 99, 99]},
        "outputNode": {"id": -20, "bounding": [900, 0, 99, 99]},
        "inputs": [
            {"id": USE[:-1] + str(i), "name": name, "type": kind, "linkIds": [i + 1]}
            for i, (name, kind) in enumerate(slots)
        ],
        "outputs": [{"id": USE[:-1] + "9", "name": "IMAGE", "type": "IMAGE", "linkIds": [4]}],
        "widgets": [],
        "groups": [],
        "nodes": [
            empty(1, [("width", "INT", 1, "width"), ("height", "INT", 2, "height"), *SIDES[2:]]),
            node(2, "ImageBlend", [0.5, "normal"], blend, ("IMAGE",)),
        ],
        "links": [dict(zip(keys, link, strict=True)) for link in links],
    }
    properties = {"proxyWidgets": proxies} if proxies else {}
    use = node(7, USE, values, SIDES[:2], ("IMAGE",), properties=properties)
    ways = [(9, 7, 0, 9, 0, "IMAGE")]
    return placed(workflow([use, preview(9, 9)], ways, groups=[], definitions={"subgraphs": [inside]}))


@pytest.mark.parametrize("values", [[111, 222], [111], [111, 222, 333]], ids=str)
def test_values_of_a_use(values: list, opened: Page, server: Server) -> None:
    graph = subgraph([], values)
    assert links_and_values(to_api(graph, server.object_info())) == links_and_values(queued(opened, graph))


LISTED = {
    "inputs by name": ([["-1", "width"], ["2", "blend_factor"], ["-1", "height"]], [111, 0.75, 222]),
    "inputs by what they feed": ([["2", "blend_factor"], ["1", "height"], ["1", "width"]], [0.75, 222, 111]),
    "with a hole": ([["-1", "width"], ["2", "blend_factor"], ["-1", "height"]], [111, None, 222]),
}


@pytest.mark.parametrize("proxies, values", LISTED.values(), ids=LISTED)
def test_widgets_that_a_use_lists(proxies: list, values: list, opened: Page, server: Server) -> None:
    newer_only(server, "list of widgets that a subgraph shows")
    graph = subgraph(proxies, values)
    assert links_and_values(to_api(graph, server.object_info())) == links_and_values(queued(opened, graph))


def group_of(*nodes: Json, links: list) -> Json:
    held = [{key: value for key, value in each.items() if key != "id"} | {"pos": [0, 0], "flags": {}} for each in nodes]
    return {"nodes": held, "links": links, "external": [[len(nodes) - 1, 0, "IMAGE"]]}


def test_a_group(opened: Page, server: Server) -> None:
    """Its nodes have names of their own in newer front ends, which make a subgraph of it; their values are the same."""
    blend = [("image1", "IMAGE", None), ("image2", "IMAGE", None)]
    defined = group_of(
        empty(0, []),
        empty(1, [SIDES[1]]),
        node(2, "ImageBlend", [0.5, "normal"], blend, ("IMAGE",)),
        links=[[0, 0, 2, 0, 5, "IMAGE"]],
    )
    shown = [("image2", "IMAGE", 2), ("EmptyImage height", "INT", None, "EmptyImage height")]
    values = [11, 12, 3, 4, 21, 2, 5, 0.25, "multiply", 22]
    use = node(1, "workflow>G", values, shown, ("IMAGE", "IMAGE"))
    graph = workflow([use, preview(2, 3), empty(3)], [(2, 3, 0, 1, 0, "IMAGE"), (3, 1, 1, 2, 0, "IMAGE")], groups=[])
    graph = placed(graph | {"extra": {"groupNodes": {"G": defined}}, "last_node_id": 99, "last_link_id": 99})
    here, there = to_api(graph, server.object_info()), queued(opened, graph)
    assert inside(here) == inside(there) and len(inside(here)) == 3
    assert [link for each in inside(here) for link in each[2]] == ["image1", "image2"]


def inside(prompt: Json) -> list[tuple]:
    """Class, values and linked inputs of what is inside something, in order."""
    held = sorted((key for key in prompt if ":" in key), key=lambda key: int(key.rsplit(":")[-1]))
    inputs = [(prompt[key]["class_type"], prompt[key]["inputs"]) for key in held]
    return [
        (
            kind,
            {k: v for k, v in each.items() if not isinstance(v, list)},
            [k for k in each if isinstance(each[k], list)],
        )
        for kind, each in inputs
    ]
