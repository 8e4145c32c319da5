"""run_workflow.py --server, against a fake server on the loopback."""

import builtins
import json

import pytest

import run_workflow
from runner import server as client_module
from runner.server import Client, ServerError, is_loopback
from support.fake_nodes import chain, change, fake_library, node, workflow
from support.fake_server import PROMPT_ID, FakeServer, serving

FILE = {"filename": "pic_00001_.png", "subfolder": "sub", "type": "output"}
PREVIEW = {"filename": "x.png", "subfolder": "", "type": "temp"}


@pytest.fixture
def fake():
    with serving(FakeServer(fake_library([]).object_info)) as server:
        yield server


@pytest.fixture
def command(fake, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(client_module, "POLL_SECONDS", 0.02)

    def run(*arguments, graph=None, url=None):
        file = tmp_path / "workflow.json"
        file.write_text(json.dumps(graph or chain(change(2, 1, title="Slowly"))))
        options = ["--server", url or fake.url, "--output", str(tmp_path / "out")]
        return run_workflow.main([str(file), *options, *arguments]), *capsys.readouterr()

    return run


def without_websocket_client(monkeypatch):
    real = builtins.__import__

    def imports(name, *rest):
        if name == "websocket":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", imports)


def failed(kind, **data):
    return {"outputs": {}, "status": {"status_str": "error", "messages": [["execution_start", {}], [kind, data]]}}


def test_a_run_queues_waits_and_downloads(command, fake, tmp_path):
    fake.entry["outputs"] = {"3": {"images": [FILE, FILE], "text": ["said"]}, "4": {"images": [PREVIEW]}}
    fake.files = {"pic_00001_.png": b"picture", "x.png": b"preview"}
    code, out, err = command("--set", "2.steps=20")
    saved, preview = tmp_path / "out" / "sub" / "pic_00001_.png", tmp_path / "out" / "temp" / "x.png"
    assert (code, out, err) == (0, f"Saved {saved}\nSaved {preview}\n", "")
    assert (saved.read_bytes(), preview.read_bytes()) == (b"picture", b"preview")
    assert fake.viewed == [FILE, PREVIEW]
    ((path, body),) = fake.posted
    assert path == "/prompt" and body["client_id"]
    assert body["prompt"]["2"]["inputs"] == {"thing": ["1", 0], "seed": 7, "steps": 20}
    assert body["extra_data"]["extra_pnginfo"]["workflow"]["nodes"][1]["widgets_values"] == [7, "randomize", 20]


def test_sounds_come_down_as_pictures_do(command, fake, tmp_path):
    """Of Save Audio, Preview Audio, and the reports of nodes beside them, by the names that hosts give them."""
    sound = {"filename": "ComfyUI_00001_.flac", "subfolder": "audio", "type": "output"}
    preview = {"filename": "_temp_abcde_00001_.flac", "subfolder": "", "type": "temp"}
    fake.entry["outputs"] = {"3": {"audio": [sound], "text": ["said"]}, "4": {"audio": [preview], "images": [FILE]}}
    fake.files = {"ComfyUI_00001_.flac": b"fLaC", "_temp_abcde_00001_.flac": b"x", "pic_00001_.png": b"picture"}
    (tmp_path / "out" / "audio").mkdir(parents=True)
    (tmp_path / "out" / "audio" / "ComfyUI_00001_.flac").write_bytes(b"mine")
    code, out, err = command()
    names = ("audio/ComfyUI_00001_ (2).flac", "temp/_temp_abcde_00001_.flac", "sub/pic_00001_.png")
    assert (code, err) == (0, "") and out == "".join(f"Saved {tmp_path / 'out' / name}\n" for name in names)
    assert [(tmp_path / "out" / name).read_bytes() for name in names] == [b"fLaC", b"x", b"picture"]
    assert (tmp_path / "out" / "audio" / "ComfyUI_00001_.flac").read_bytes() == b"mine"


def test_an_api_prompt_is_sent_as_it_is(command, fake):
    prompt = run_workflow.to_api(chain(change(2, 1)), fake.object_info)
    assert command(graph=prompt)[0] == 0
    ((_, body),) = fake.posted
    assert body["prompt"] == prompt and body["extra_data"] == {}


def test_a_workflow_is_filled_in_before_it_is_sent(command, fake):
    """By what the server declares, with the names that it lists."""
    required = {"text": ("STRING", {"dynamicPrompts": True}), "model": (["sub/tiny"],), "seed": ("INT", {})}
    fake.object_info["Say"] = {"input": {"required": required}, "output": [], "output_node": True}
    fake.object_info["SaveImage"] = {
        "input": {"required": {"filename_prefix": ("STRING", {})}},
        "output": [],
        "output_node": True,
    }
    saved = [node(1, "Say", ["{a|a} // b", r"sub\tiny", 7, "fixed"]), node(2, "SaveImage", ["%Say.seed%_%year%"])]
    assert command(graph=workflow(saved))[0] == 0
    ((_, body),) = fake.posted
    assert body["prompt"]["1"]["inputs"] == {"text": "a ", "model": "sub/tiny", "seed": 7}
    assert body["prompt"]["2"]["inputs"] == {"filename_prefix": "7_%year%"}
    assert body["extra_data"]["extra_pnginfo"]["workflow"]["nodes"][0]["widgets_values"][0] == "{a|a} // b"


def test_a_node_that_the_server_lacks_is_told_with_its_pack(command, fake):
    missing = node(2, "Blur", [], [("thing", "THING", 1)], ("THING",), properties={"cnr_id": "blurs", "ver": "2.0"})
    code, _, err = command(graph=chain(missing))
    assert code == 1 and "Node ID '#2'; it is of the pack blurs (2.0), so install that on the server" in err
    assert fake.posted == []


def test_steps_show_as_a_bar(command, fake):
    pytest.importorskip("websocket")
    steps = [
        {"type": "progress", "data": {"value": i, "max": 3, "node": "2", "prompt_id": PROMPT_ID}} for i in (1, 2, 3)
    ]
    other = {"type": "progress", "data": {"value": 9, "max": 9, "node": "2", "prompt_id": "another"}}
    fake.messages = [{"type": "status", "data": {}}, *steps[:2], b"\0\0\0\1JPEG", other, steps[2]]
    code, _, err = command()
    assert code == 0
    assert "Slowly" in err and "3/3" in err and "9/9" not in err


def test_without_a_websocket(command, fake):
    fake.websocket, fake.checks = False, 3
    assert command()[0] == 0


def test_without_the_package(command, fake, monkeypatch):
    without_websocket_client(monkeypatch)
    fake.messages = [{"type": "progress", "data": {"value": 1, "max": 3, "node": "2"}}]
    assert command()[::2] == (0, "")


def test_nothing_is_overwritten(command, fake, tmp_path):
    fake.entry["outputs"] = {"3": {"images": [FILE]}}
    fake.files = {"pic_00001_.png": b"new"}
    (tmp_path / "out" / "sub").mkdir(parents=True)
    (tmp_path / "out" / "sub" / "pic_00001_.png").write_bytes(b"old")
    _, out, _ = command()
    assert out == f"Saved {tmp_path / 'out' / 'sub' / 'pic_00001_ (2).png'}\n"
    assert (tmp_path / "out" / "sub" / "pic_00001_.png").read_bytes() == b"old"


@pytest.mark.parametrize(
    "name, folder", [("../../x.png", ""), ("x.png", "../.."), ("x.png", "/tmp"), ("..\\x.png", "")]
)
def test_downloads_stay_in_the_output_folder(name, folder, command, fake, tmp_path):
    fake.entry["outputs"] = {"3": {"images": [{"filename": name, "subfolder": folder, "type": "output"}]}}
    fake.files = {name: b"data"}
    assert command()[0] == 0
    (found,) = (p for p in tmp_path.rglob("*") if p.is_file() and p.name != "workflow.json")
    assert found.is_relative_to(tmp_path / "out") and found.name == "x.png"


def test_node_errors_are_sentences(command, fake):
    error = {"type": "value_smaller_than_min", "message": "Value 0 smaller than min of 1", "details": "steps"}
    errors = {"2": {"errors": [error], "class_type": "Change", "dependent_outputs": ["3"]}}
    overall = {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation", "details": ""}
    fake.answer = (400, {"error": overall, "node_errors": errors})
    code, _, err = command()
    assert code == 1
    assert err.splitlines()[1:] == ['Node 2 "Slowly" (Change): Value 0 smaller than min of 1: steps.']


def test_a_partly_accepted_prompt_is_cancelled(command, fake):
    error = {"message": "Value not in list", "details": "colour: 'blue' not in ['red']"}
    errors = {"1": {"errors": [error], "class_type": "Make", "dependent_outputs": ["9"]}}
    fake.answer = (200, {"prompt_id": PROMPT_ID, "node_errors": errors})
    code, _, err = command()
    assert code == 1 and "Value not in list" in err
    assert fake.posted[1:] == [("/queue", {"delete": [PROMPT_ID]}), ("/interrupt", {"prompt_id": PROMPT_ID})]


def test_a_refusal_without_nodes(command, fake):
    fake.answer = (400, {"error": {"message": "Prompt has no outputs", "details": ""}, "node_errors": {}})
    assert command()[2].splitlines()[1:] == ["Prompt has no outputs."]


def test_bad_links_are_found_before_anything_is_sent(command, fake):
    graph = chain(change(2, 1))
    graph["links"][1][2] = 5
    code, _, err = command(graph=graph)
    assert (code, fake.posted) == (1, [])
    assert "thing is linked to slot 5 of node 2 (Change), which has 1 output." in err


@pytest.mark.parametrize(
    "entry, sentence",
    [
        (
            failed("execution_error", node_id="2", node_type="Change", exception_message="the fuse was lit\n"),
            'Node 2 "Slowly" (Change): the fuse was lit.',
        ),
        (
            failed("execution_interrupted", node_id="2", node_type="Change"),
            'Node 2 "Slowly" (Change): The run was cancelled on the server.',
        ),
        (failed("other"), "The run failed on the server, which does not say why."),
    ],
)
def test_a_failed_run(entry, sentence, command, fake):
    fake.entry = entry
    code, out, err = command()
    assert (code, out, err) == (1, "", sentence + "\n")


def test_a_prompt_that_vanishes(command, fake):
    fake.forgets = True
    code, _, err = command()
    assert (code, err) == (1, "The server no longer knows the prompt: it was restarted, or the prompt was deleted.\n")


def test_cancelling_here_cancels_there(command, fake, monkeypatch):
    monkeypatch.setattr(Client, "_is_queued", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    code, _, err = command()
    assert (code, err) == (130, "Cancelled.\n")
    assert [path for path, _ in fake.posted] == ["/prompt", "/queue", "/interrupt"]


def test_nobody_answers(command, fake):
    code, _, err = command(url="127.0.0.1:9")
    assert code == 1 and err.startswith("No ComfyUI server answers at http://127.0.0.1:9 (")


def test_somebody_else_answers(command, fake):
    code, _, err = command(url=f"{fake.url}/elsewhere")
    assert (code, err) == (1, f"{fake.url}/elsewhere/object_info answers 404 Not Found.\n")


def test_no_address():
    with pytest.raises(ServerError, match="--server takes a http or https address, not 'ftp://x'"):
        Client("ftp://x")


@pytest.mark.parametrize(
    "url, own", [("http://127.0.0.1:1", 1), ("http://localhost", 1), ("http://[::1]:2", 1), ("http://a.b", 0)]
)
def test_loopback(url, own):
    assert is_loopback(url) == bool(own)
