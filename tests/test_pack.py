"""The pack as a whole: what importing it costs, and that everything registered is described."""

import ast
import inspect
import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from runner.host_nodes import NODES as STANDING_IN
from support.node_runs import NODES, inputs
from support.pack import ROOT, load_pack
from support.stand_ins import STAND_INS, TEXT_ENCODERS
from support.workflow_files import WORKFLOWS, name

NAMES = load_pack().NODE_DISPLAY_NAME_MAPPINGS
HOST_NODES = {"SaveImage", "PreviewImage", "LoadImage", "LoadImageMask", "SaveAudio", "PreviewAudio"}
HOST_NODES |= {"Note", "MarkdownNote", *STANDING_IN}
# Names in widgets that are there once something was downloaded.
PUBLISHED = {"model": STAND_INS, "base": STAND_INS, "text_encoder": STAND_INS | TEXT_ENCODERS, "tokenizer": STAND_INS}
WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN"}
# Top-level modules of ComfyUI.
HOST_MODULES = {"comfy", "comfy_api", "comfy_execution", "comfy_extras", "execution", "folder_paths"}
HOST_MODULES |= {"latent_preview", "node_helpers", "nodes", "server"}
OWN_FOLDERS = ("mgt_core", "nodes")

IMPORT_PACK = """
import importlib.util, sys, time
import torch
started = time.process_time()
spec = importlib.util.spec_from_file_location("any name", sys.argv[1] + "/__init__.py",
                                              submodule_search_locations=[sys.argv[1]])
pack = importlib.util.module_from_spec(spec)
sys.modules["any name"] = pack
spec.loader.exec_module(pack)
print(time.process_time() - started)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_import_is_quick_and_light(tmp_path):
    """Under 0.5 s beyond torch once Python has compiled it (processor time, since the machine may be busy), and no
    heavy library."""
    compiled = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    seconds = []
    for _ in range(4):
        run = subprocess.run(
            [sys.executable, "-c", IMPORT_PACK, str(ROOT)],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT.parent,
            env=compiled,
        )
        took, modules = run.stdout.splitlines()
        seconds.append(float(took))
        assert not {"transformers", "diffusers", "mgt_core", "comfy", "folder_paths"} & set(modules.split())
    assert min(seconds) < 0.5


def test_top_module_holds_only_what_comfyui_reads(pack):
    assert set(pack.__all__) == {"NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "WEB_DIRECTORY"}
    assert pack.NODE_CLASS_MAPPINGS.keys() == pack.NODE_DISPLAY_NAME_MAPPINGS.keys()
    assert (ROOT / pack.WEB_DIRECTORY).is_dir()


def test_library_is_one_module_under_both_names(pack):
    import mgt_core

    assert sys.modules[f"{pack.__name__}.mgt_core"] is mgt_core
    assert sys.modules[f"{pack.__name__}.mgt_core.types"] is sys.modules["mgt_core.types"]
    assert mgt_core.__spec__.name == "mgt_core"


def test_a_node_cannot_be_registered_twice(pack):
    types = sys.modules[f"{pack.__name__}.nodes.types"]
    with pytest.raises(ValueError, match="MGTDecode is registered twice"):
        types.node("Again")(type("MGTDecode", (), {}))


@pytest.mark.parametrize("name", NODES)
class TestNode:
    def test_is_described(self, name):
        cls = NODES[name]
        assert name.startswith("MGT")
        assert "MGT" in NAMES[name]
        assert cls.CATEGORY.split("/")[0] == "MGT"
        assert cls.DESCRIPTION.endswith(".")
        assert cls.SEARCH_ALIASES

    def test_function_takes_the_inputs(self, name):
        cls = NODES[name]
        given = dict.fromkeys((*inputs(cls), *cls.INPUT_TYPES().get("hidden", {})))
        taken = inspect.signature(getattr(cls, cls.FUNCTION)).bind(cls, **given).arguments
        settings = taken.pop("settings", {})  # handed on to the part that the node makes
        assert {"self", *given} == taken.keys() | settings.keys()
        assert not settings or settings.keys() <= {field.name for field in fields(cls.part)}
        if changed := getattr(cls, "IS_CHANGED", None):  # of what depends on files; it is handed all inputs
            inspect.signature(changed).bind(**given)
            assert changed(**given) == changed(**given)

    def test_inputs_have_tooltips_and_sound_defaults(self, name):
        for key, (kind, options) in inputs(NODES[name]).items():
            assert options.get("tooltip", "").strip(), key
            if isinstance(kind, list):
                assert options["default"] in kind, key
            elif kind in ("INT", "FLOAT"):
                assert options["min"] <= options["default"] <= options["max"], key
            elif kind.startswith("MGT_"):
                assert options["forceInput"], key

    def test_outputs_have_names_and_tooltips(self, name):
        cls = NODES[name]
        assert len(cls.RETURN_TYPES) == len(cls.RETURN_NAMES) == len(cls.OUTPUT_TOOLTIPS)
        assert all(cls.OUTPUT_TOOLTIPS)


@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
class TestWorkflow:
    def test_nodes_are_known_and_hold_their_widgets(self, path):
        for node in json.loads(path.read_text())["nodes"]:
            assert node["type"] in NODES.keys() | HOST_NODES
            if node["type"] not in NODES:
                continue
            cls, values = NODES[node["type"]], list(node["widgets_values"])
            assert [o["type"] for o in node["outputs"]] == list(cls.RETURN_TYPES)
            sockets = {i["name"]: i["type"] for i in node["inputs"] if "widget" not in i}
            for key, (kind, options) in inputs(cls).items():
                if not isinstance(kind, list) and kind not in WIDGET_TYPES:
                    assert sockets.pop(key) == kind, f"{node['type']}.{key}"
                    continue
                value = values.pop(0) if values else options["default"]  # of a widget younger than the file
                if isinstance(kind, list):
                    assert value in kind or value in PUBLISHED.get(key, ()), f"{node['type']}.{key}"
                elif kind in ("INT", "FLOAT"):
                    assert options["min"] <= value <= options["max"], f"{node['type']}.{key}"
                if options.get("control_after_generate"):
                    assert values.pop(0) == "fixed"
            assert not values, f"{node['type']} has stray widget values"
            assert not sockets, f"{node['type']} has stray inputs"

    def test_links_agree_on_both_ends(self, path):
        graph = json.loads(path.read_text())
        nodes = {node["id"]: node for node in graph["nodes"]}
        for link, source, slot, target, place, kind in graph["links"]:
            output, entry = nodes[source]["outputs"][slot], nodes[target]["inputs"][place]
            assert link in output["links"]
            assert entry["link"] == link
            assert entry["type"] == kind and output["type"] in kind.split(",")
        wired = {i["link"] for node in graph["nodes"] for i in node["inputs"]}
        assert wired - {None} == {link[0] for link in graph["links"]}
        assert graph["version"] == 0.4

    def test_nodes_do_not_overlap(self, path):
        boxes = [(*n["pos"], *n["size"], n["type"]) for n in json.loads(path.read_text())["nodes"]]
        for i, (x, y, w, h, kind) in enumerate(boxes):
            for x2, y2, w2, h2, other in boxes[i + 1 :]:
                title = 30  # drawn above pos
                apart = x + w <= x2 or x2 + w2 <= x or y + h <= y2 - title or y2 + h2 <= y - title
                assert apart, f"{kind} overlaps {other}"


def imported(path: Path) -> set[str]:
    """Top-level modules that a file imports absolutely, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("folder", OWN_FOLDERS)
def test_nothing_imports_the_host_or_itself_by_name(folder):
    """Host modules are reached in nodes/host.py alone, and imports inside the pack are relative."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        assert not imported(path) & (HOST_MODULES | {"mgt_core"}), path


def test_the_library_does_not_reach_for_nodes_or_the_host():
    for path in sorted((ROOT / "mgt_core").rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        assert "sys.modules" not in source, path
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.level:
                depth = len(path.relative_to(ROOT / "mgt_core").parts)
                assert node.level <= depth, f"{path} imports from outside the library"


def test_two_files_of_the_nodes_know_the_host():
    for path in sorted((ROOT / "nodes").rglob("*.py")):
        if path.name not in ("host.py", "host_graph.py"):
            source = path.read_text(encoding="utf-8")
            assert "sys.modules" not in source, path
            assert "_comfy(" not in source, path
