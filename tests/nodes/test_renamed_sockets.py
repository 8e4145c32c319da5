"""Sockets that had another name: graphs of before go on running, in this process and on a host."""

import json
import sys

import pytest

from mgt_core.errors import MGTError
from mgt_core.quantization.layers import packed_layers
from run_workflow import prepare, to_api
from runner.files import read_document
from runner.images import Folders
from runner.local import Library, execute
from runner.validate import validate
from support.golden import bundles, pipeline
from support.node_runs import NODES, inputs, run
from support.pack import ALIAS
from support.workflow_files import SAVED, shortened

host = sys.modules[f"{ALIAS}.nodes.host"]
PIPE = pipeline(bundles()[0])
(OLD,) = [path for path in SAVED if path.stem == "quantization"]
CALIBRATION = {"prompts": "a cat", "steps": 2, "states": 1}


def test_one_name_for_the_text_encoder():
    for name, cls in NODES.items():
        sockets = [key for key, (kind, *_) in inputs(cls).items() if kind == "MGT_TEXT"]
        made = [own for kind, own in zip(cls.RETURN_TYPES, cls.RETURN_NAMES, strict=True) if kind == "MGT_TEXT"]
        assert {*sockets, *made} <= {"text_encoder"}, name


def test_a_class_says_what_its_inputs_were_called():
    for name, cls in NODES.items():
        for old, new in getattr(cls, "RENAMED_INPUTS", {}).items():
            assert new in inputs(cls) and old not in inputs(cls), name
            assert new not in cls.INPUT_TYPES()["required"], f"{name}: hosts would refuse prompts that lack it"


def test_what_comes_by_the_old_name():
    small = run("MGTQuantizeParts", text=PIPE.text, codec=PIPE.codec)[0]
    assert packed_layers(small.network)
    other = run("MGTQuantizeParts", text=PIPE.text, text_encoder=small, codec=PIPE.codec, text_format="none")[0]
    assert other is small  # today's name counts where both are there
    assert run("MGTSCQCalibrate", model=PIPE.model, text=PIPE.text, **CALIBRATION)[0].quantization is not None
    with pytest.raises(MGTError, match="text_encoder is a codec; expected the text encoder"):
        run("MGTQuantizeParts", text=PIPE.codec, codec=PIPE.codec)


def test_nothing_is_wired():
    with pytest.raises(MGTError, match="text_encoder is not connected"):
        run("MGTQuantizeParts", codec=PIPE.codec)
    assert run("MGTQuantizeParts", codec=PIPE.codec, text_encoder=None)[0] is None  # of a model of classes


@pytest.fixture
def library(monkeypatch, tmp_path):
    monkeypatch.setattr(host, "PACK", tmp_path)
    monkeypatch.setattr(host, "bundles", lambda: {"demo": str(bundles()[0])})
    return Library.of_pack(Folders((), tmp_path / "output"))


@pytest.mark.parametrize("form", ["workflow", "prompt"])
def test_an_old_file_runs_and_saves(library, tmp_path, form):
    graph = shortened(json.loads(OLD.read_text()))
    for node in graph["nodes"]:
        node["mode"] = 0  # the Save node as well
    content = graph if form == "workflow" else to_api(graph, library.object_info)
    (tmp_path / "old.json").write_text(json.dumps(content))
    document = read_document(tmp_path / "old.json")
    prompt, ui = prepare(document, [], library.object_info, custom=library.custom_check)
    old = {node["class_type"] for node in prompt.values() if isinstance(node["inputs"].get("text"), list)}
    assert old >= {"MGTSCQCalibrate", "MGTQuantizeParts", "MGTSaveModel"}
    assert execute(prompt, library, ui)
    assert (tmp_path / "models" / "mgt" / "demo-w4a8" / "text_encoder").is_dir()


@pytest.mark.parametrize("link", [["9", 0], ["1", 7], ["1"], [], ["1", None]])
def test_an_old_name_that_leads_nowhere(library, link):
    prompt = {
        "1": {"class_type": "MGTLoadModel", "inputs": {"model": "demo", "dtype": "auto", "quantization": "none"}},
        "2": {
            "class_type": "MGTSaveModel",
            "inputs": {"model": ["1", 0], "codec": ["1", 2], "name": "x", "overwrite": False, "text": link},
        },
    }
    assert validate(prompt, library.object_info, custom=library.custom_check) == []
    with pytest.raises(Exception, match="text_encoder is not connected"):
        execute(prompt, library)
