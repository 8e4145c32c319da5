"""The ready-made subgraphs of the pack, and workflows that use one."""

from __future__ import annotations

import copy
import json
from pathlib import Path

from .pack import ROOT

BLUEPRINTS = sorted((ROOT / "subgraphs").glob("*.json"))


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def in_use(path: Path, picture: str, steps: int = 2) -> dict:
    """A workflow (UI format) of the subgraph and a Save Image, with a Load Image of `picture` where it takes one."""
    graph = copy.deepcopy(read(path))
    (node,) = graph["nodes"]
    widgets = [slot["name"] for slot in node["inputs"] if "widget" in slot]
    node["widgets_values"][widgets.index("steps")] = steps
    node["outputs"][0]["links"] = [1]
    graph["links"] = [[1, node["id"], 0, 100, 0, "IMAGE"]]
    slot = {"name": "images", "type": "IMAGE", "link": 1}
    graph["nodes"].append(made(100, "SaveImage", [slot], [], ["subgraph"]))
    if node["inputs"][0]["type"] == "IMAGE":
        node["inputs"][0]["link"] = 2
        graph["links"].append([2, 101, 0, node["id"], 0, "IMAGE"])
        outputs = [{"name": "IMAGE", "type": "IMAGE", "links": [2]}, {"name": "MASK", "type": "MASK", "links": []}]
        graph["nodes"].append(made(101, "LoadImage", [], outputs, [picture, "image"]))
    graph["last_node_id"], graph["last_link_id"] = 101, 2
    return graph


def made(number: int, kind: str, inputs: list, outputs: list, values: list) -> dict:
    place = {"pos": [500 if inputs else -500, 0], "size": [300, 300], "flags": {}, "order": 0, "mode": 0}
    return {"id": number, "type": kind, **place, "inputs": inputs, "outputs": outputs, "properties": {}} | {
        "widgets_values": values
    }
