"""The ready-made subgraphs: sound as newer hosts read them, and run by the runner where a workflow uses one."""

import json
import subprocess
import sys

import pytest
from PIL import Image

from runner.host_nodes import NODES as STANDING_IN
from support.blueprints import BLUEPRINTS, in_use, read
from support.node_runs import NODES, inputs
from support.pack import ROOT

PROMOTED = {"model", "prompt", "negative_prompt", "width", "height", "steps", "cfg", "seed"}


def test_both_are_there():
    assert [path.stem for path in BLUEPRINTS] == ["MGT Image to Image", "MGT Text to Image"]


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
class TestBlueprint:
    def test_is_one_node_of_one_subgraph_that_says_what_it_is(self, path):
        graph = read(path)
        (node,), (subgraph,) = graph["nodes"], graph["definitions"]["subgraphs"]
        assert node["type"] == subgraph["id"] and node["title"] == subgraph["name"] == path.stem
        assert subgraph["description"].endswith(".") and subgraph["category"] == "MGT"
        assert graph["extra"]["BlueprintDescription"] == subgraph["description"]
        assert graph["extra"]["BlueprintSearchAliases"]
        widgets = [slot["name"] for slot in node["inputs"] if "widget" in slot]
        assert set(widgets) - {"strength"} == PROMOTED
        assert len(node["widgets_values"]) == len(widgets)
        assert [slot["name"] for slot in node["outputs"]] == ["image", "tokens"]

    def test_slots_links_and_values_fit_each_other(self, path):
        graph = read(path)
        (node,), (subgraph,) = graph["nodes"], graph["definitions"]["subgraphs"]
        for side in ("inputs", "outputs"):
            assert [(s["name"], s["type"]) for s in node[side]] == [(s["name"], s["type"]) for s in subgraph[side]]
        nodes = {each["id"]: each for each in subgraph["nodes"]}
        starts, ends = {-10: subgraph["inputs"]}, {-20: subgraph["outputs"]}
        for number, each in nodes.items():
            starts[number], ends[number] = each["outputs"], each["inputs"]
        for link in subgraph["links"]:
            start, end = (starts[link["origin_id"]], ends[link["target_id"]])
            start, end = start[link["origin_slot"]], end[link["target_slot"]]
            assert start["type"] == end["type"] == link["type"]
            assert link["id"] in (start["linkIds"] if link["origin_id"] == -10 else start["links"])
            assert link["id"] in end["linkIds"] if link["target_id"] == -20 else link["id"] == end["link"]
        assert sum(slot["link"] is not None for each in nodes.values() for slot in each["inputs"]) + 2 == len(
            subgraph["links"]
        )

    def test_nodes_are_as_their_classes_declare_them(self, path):
        (subgraph,) = read(path)["definitions"]["subgraphs"]
        for node in subgraph["nodes"]:
            assert node["type"] in NODES.keys() | STANDING_IN.keys()
            if node["type"] not in NODES:
                continue
            cls = NODES[node["type"]]
            kinds = {k: "COMBO" if isinstance(kind, list) else kind for k, (kind, _) in inputs(cls).items()}
            assert {slot["name"]: slot["type"] for slot in node["inputs"]} == kinds
            assert [slot["type"] for slot in node["outputs"]] == list(cls.RETURN_TYPES)
            seeds = sum("control_after_generate" in options for _, options in inputs(cls).values())
            assert len(node["widgets_values"]) == sum("widget" in slot for slot in node["inputs"]) + seeds

    def test_no_node_covers_another(self, path):
        (subgraph,) = read(path)["definitions"]["subgraphs"]
        boxes = [(*node["pos"], *node["size"]) for node in subgraph["nodes"]]
        boxes = [(x, y - 30, width, height + 90) for x, y, width, height in boxes]  # title, and what Nodes 2.0 adds
        for place, a in enumerate(boxes):
            for b in boxes[:place]:
                assert not all(a[i] < b[i] + b[i + 2] and b[i] < a[i] + a[i + 2] for i in (0, 1)), (a, b)

    def test_the_runner_runs_a_workflow_that_uses_it(self, path, tmp_path):
        (tmp_path / "workflow.json").write_text(json.dumps(in_use(path, "given.png")))
        Image.new("RGB", (96, 80), "orange").save(tmp_path / "given.png")
        out = tmp_path / "out"
        command = [sys.executable, str(ROOT / "run_workflow.py"), str(tmp_path / "workflow.json"), "--output", str(out)]
        subprocess.run([*command, "--input", str(tmp_path), "--quiet"], check=True, cwd=tmp_path)
        (picture,) = out.rglob("*.png")
        with Image.open(picture) as image:
            assert image.size == (128, 128)
            assert len(image.convert("RGB").getcolors(1 << 24)) > 10
