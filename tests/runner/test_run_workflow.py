"""run_workflow.py in process: what it refuses and in which words, what it runs, what it saves."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import run_workflow
from runner.files import Document, read_document
from runner.images import Folders, expand_prefix
from runner.local import Library, NodeFailedError, execute
from runner.problems import WorkflowError
from runner.settings import apply_settings
from runner.validate import find_cycle, needed, validate
from support.fake_nodes import chain, change, fake_library, make, node, show, workflow

MAKE = {"amount": 1, "ratio": 0.5, "colour": "red", "text": "cat", "flag": True}


@pytest.fixture
def calls():
    return []


@pytest.fixture
def library(calls, tmp_path):
    return fake_library(calls, Folders((tmp_path / "in",), tmp_path / "out"))


@pytest.fixture
def command(library, monkeypatch, tmp_path, capsys):
    """Runs the command over the fake nodes: command(document, *arguments) -> (exit code, stdout, stderr)."""
    monkeypatch.setattr(Library, "of_pack", classmethod(lambda cls, folders: library))

    def run(document, *arguments):
        file = tmp_path / "workflow.json"
        if isinstance(document, Path):
            file = document
        elif isinstance(document, bytes):
            file.write_bytes(document)
        else:
            file.write_text(json.dumps(document))
        code = run_workflow.main([str(file), "--output", str(tmp_path / "out"), *arguments])
        return code, *capsys.readouterr()

    return run


def api(**nodes):
    """Prompt from n1=("Class", {inputs}), …"""
    return {key[1:]: {"class_type": kind, "inputs": given} for key, (kind, given) in nodes.items()}


def made(**more):
    return api(n1=("Make", {**MAKE, **more}), n3=("Show", {"thing": ["1", 0]}))


def without(name):
    return api(n1=("Make", {k: v for k, v in MAKE.items() if k != name}), n3=("Show", {"thing": ["1", 0]}))


def shown(**inputs):
    return api(n1=("Make", MAKE), n3=("Show", inputs))


LOOP = api(
    n1=("Change", {"thing": ["2", 0], "seed": 0, "steps": 1}),
    n2=("Change", {"thing": ["1", 0], "seed": 0, "steps": 1}),
    n3=("Show", {"thing": ["1", 0]}),
)
FILE_ERRORS = {
    "empty": (b" \n", "Cannot read the workflow: {file} is empty."),
    "not JSON": (
        b'{"nodes": [',
        "Cannot read the workflow: {file} is not JSON (Expecting value: line 1 column 12 (char 11)).",
    ),
    "not text": (b"\xff\xfe\x00", "Cannot read the workflow: {file} is neither JSON text nor a PNG image."),
    "damaged image": (b"\x89PNG\r\n\x1a\nhello", "Cannot read the workflow: {file} is a damaged PNG image"),
    "other JSON": (
        [1, 2],
        "Cannot read the workflow: {file} is neither a saved workflow (with 'nodes' and 'links') "
        "nor a prompt in API format ({{id: {{class_type, inputs}}}}).",
    ),
    "missing": (Path("nowhere.json"), "Cannot read the workflow: nowhere.json: No such file or directory."),
    "folder": (Path("/"), "Cannot read the workflow: / is a folder."),
}
PROMPT_ERRORS = {
    "no node": (workflow([]), "No prompt provided: the workflow holds no nodes."),
    "no output": (api(n1=("Make", MAKE)), "Prompt has no outputs: no node of the workflow saves or shows anything."),
    "no class": (
        {**made(), "7": {"inputs": {}}},
        "Cannot execute because a node is missing the class_type property: Node ID '#7'.",
    ),
    "unknown class": (
        {**made(), "7": {"class_type": "KSampler", "inputs": {}}},
        "Cannot execute because node KSampler does not exist: Node ID '#7'.",
    ),
    "unknown node": (
        chain(node(2, "KSampler", [], [("thing", "THING", 1)], ("THING",))),
        "Cannot execute because node KSampler does not exist: Node ID '#2'.",
    ),
    "no inputs": (
        {**made(), "7": {"class_type": "Make"}},
        "Node 7 (Make): Bad node: inputs is missing, or not an object.",
    ),
    "required widget missing": (without("text"), "Node 1 (Make): Required input is missing: text."),
    "required link missing": (shown(), "Node 3 (Show): Required input is missing: thing."),
    "fed by a muted node": (
        chain(change(2, 1, mode=2), extra={}),
        "Node 3 (Show): Required input is missing: thing.",
    ),
    "link too long": (
        shown(thing=["1", 0, 0]),
        "Node 3 (Show): Bad linked input, must be a length-2 list of [node_id, slot_index]: thing holds ['1', 0, 0].",
    ),
    "slot is no number": (
        shown(thing=["1", "0"]),
        "Node 3 (Show): Bad linked input, must be a length-2 list of [node_id, slot_index]: thing holds ['1', '0'].",
    ),
    "link to nothing": (shown(thing=["9", 0]), "Node 3 (Show): Linked node does not exist: thing is linked to node 9."),
    "slot that is not there": (
        shown(thing=["1", 2]),
        "Node 3 (Show): Linked output does not exist: thing is linked to slot 2 of node 1 (Make), which has 2 outputs.",
    ),
    "negative slot": (
        shown(thing=["1", -1]),
        "Node 3 (Show): Linked output does not exist: "
        "thing is linked to slot -1 of node 1 (Make), which has 2 outputs.",
    ),
    "type mismatch": (
        shown(thing=["1", 1]),
        "Node 3 (Show): Return type mismatch between linked nodes: "
        "thing, received_type(INT) mismatch input_type(THING).",
    ),
    "type mismatch into a widget": (
        api(n1=("Make", MAKE), n2=("Make", {**MAKE, "colour": ["1", 0]}), n3=("Show", {"thing": ["2", 0]})),
        "Node 2 (Make): Return type mismatch between linked nodes: "
        "colour, received_type(THING) mismatch input_type(COMBO).",
    ),
    "value on a socket": (
        shown(thing="cat"),
        "Node 3 (Show): Bad linked input: thing takes a link from a THING output, and holds the value 'cat'.",
    ),
    "too small": (made(amount=-1), "Node 1 (Make): Value -1 smaller than min of 0: amount."),
    "too big": (made(ratio=1.5), "Node 1 (Make): Value 1.5 bigger than max of 1.0: ratio."),
    "not a number": (
        made(amount="few"),
        "Node 1 (Make): Failed to convert an input value to a INT value: "
        "amount, few, invalid literal for int() with base 10: 'few'.",
    ),
    "null": (
        made(amount=None),
        "Node 1 (Make): Failed to convert an input value to a INT value: amount, None, no value is set.",
    ),
    "NaN": (
        made(ratio=float("nan")),
        "Node 1 (Make): Failed to convert an input value to a FLOAT value: ratio, nan, it is not a number.",
    ),
    "infinite": (
        made(amount=float("inf")),
        "Node 1 (Make): Failed to convert an input value to a INT value: "
        "amount, inf, cannot convert float infinity to integer.",
    ),
    "not in the combo": (
        made(colour="blue"),
        "Node 1 (Make): Value not in list: colour: 'blue' not in ['red', 'green'].",
    ),
    "widget of the wrong type in a saved workflow": (
        workflow([make(1, widgets=["few"], title="Start"), show(3, 1)], [(1, 1, 0, 3, 0, "THING")]),
        'Node 1 "Start" (Make): Failed to convert an input value to a INT value: '
        "amount, few, invalid literal for int() with base 10: 'few'.",
    ),
    "cycle": (LOOP, "Dependency cycle detected: 1 -> 2 -> 1."),
    "the node's own check": (
        api(n1=("Checked", {"even": 3})),
        "Node 1 (Checked): Custom validation failed for node: even - 3 is odd.",
    ),
    "image that is not there": (
        api(n1=("LoadImage", {"image": "no.png"}), n2=("PreviewImage", {"images": ["1", 0]})),
        "Node 1 (LoadImage): Custom validation failed for node: image - Invalid image file: no.png",
    ),
    "prefix that leads out": (
        api(n1=("Picture", {"batch": 1}), n2=("SaveImage", {"images": ["1", 0], "filename_prefix": "../../x"})),
        "Node 2 (SaveImage): Custom validation failed for node: filename_prefix - '../../x' leads out of",
    ),
}
SET_ERRORS = {
    "no value": ("1.amount", "--set takes NODE.INPUT=VALUE, not '1.amount'."),
    "no input": ("amount=3", "--set takes NODE.INPUT=VALUE, not 'amount=3'."),
    "no such node": (
        "Start.amount=3",
        "--set: there is no node 'Start' in the workflow, which has "
        'Node 1 "Make a Thing" (Make), Node 2 (Change), Node 3 (Show).',
    ),
    "no such input": (
        "1.size=3",
        "--set: Node 1 \"Make a Thing\" (Make) has no input 'size'; those that can be set are "
        "amount, ratio, colour, text, flag.",
    ),
    "a socket": (
        "3.thing=3",
        "--set: thing of Node 3 (Show) takes a link from a THING output, not a value; those that can be set are none.",
    ),
    "no whole number": (
        "1.amount=2.5",
        "--set: amount of Node 1 \"Make a Thing\" (Make) takes a whole number (INT), not '2.5'.",
    ),
    "no number": (
        "1.ratio=half",
        "--set: ratio of Node 1 \"Make a Thing\" (Make) takes a number (FLOAT), not 'half'.",
    ),
    "no truth": (
        "1.flag=maybe",
        "--set: flag of Node 1 \"Make a Thing\" (Make) takes true or false (BOOLEAN), not 'maybe'.",
    ),
    "not in the combo": (
        "1.colour=blue",
        "--set: colour of Node 1 \"Make a Thing\" (Make) is 'blue', which is not one of red, green.",
    ),
    "out of range": ("1.amount=11", 'Node 1 "Make a Thing" (Make): Value 11 bigger than max of 10: amount.'),
}


@pytest.mark.parametrize("content, sentence", FILE_ERRORS.values(), ids=FILE_ERRORS)
def test_unreadable_files(content, sentence, command, tmp_path):
    code, out, err = command(content)
    lines = err.splitlines()
    assert (code, out) == (1, "")
    assert lines[1].startswith(sentence.format(file=tmp_path / "workflow.json"))
    assert len(lines) == 2


@pytest.mark.parametrize("document, sentence", PROMPT_ERRORS.values(), ids=PROMPT_ERRORS)
def test_bad_workflows(document, sentence, command, calls, tmp_path):
    code, out, err = command(document)
    lines = err.splitlines()
    assert (code, out, calls) == (1, "", [])
    assert lines[1].startswith(sentence)
    assert len(lines) == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("setting, sentence", SET_ERRORS.values(), ids=SET_ERRORS)
def test_bad_settings(setting, sentence, command, calls):
    code, _, err = command(chain(change(2, 1)), "--set", setting)
    assert (code, calls) == (1, [])
    assert err.splitlines()[1:] == [sentence]


def test_everything_wrong_is_told_at_once(library):
    problems = validate(made(amount=-1, colour="blue", ratio="x"), library.object_info)
    assert len(problems) == 3


def test_what_no_output_needs_is_not_judged(library):
    prompt = {**made(), "7": {"class_type": "Make", "inputs": {"amount": -5}}}
    assert validate(prompt, library.object_info) == []


def test_a_server_is_left_to_judge_values(library):
    assert validate(made(colour="blue", amount=-1), library.object_info, values=False) == []
    assert len(validate(shown(thing=["1", 1]), library.object_info, values=False)) == 1


@pytest.mark.parametrize("received, wanted, fits", [("A", "A", 1), ("A", "B", 0), ("A,B", "B", 1), ("A", "*", 1)])
def test_types_that_may_be_linked(received, wanted, fits):
    object_info = {
        "From": {"input": {}, "output": [received]},
        "To": {"input": {"required": {"x": [wanted]}}, "output": [], "output_node": True},
    }
    assert (validate(api(n1=("From", {}), n2=("To", {"x": ["1", 0]})), object_info) == []) == bool(fits)


def test_order_of_a_diamond():
    prompt = api(
        n4=("D", {"a": ["2", 0], "b": ["3", 0]}), n2=("B", {"a": ["1", 0]}), n3=("C", {"a": ["1", 0]}), n1=("A", {})
    )
    assert needed(prompt, ["4"]) == ["1", "2", "3", "4"]
    assert find_cycle(prompt, ["4"]) == []


def test_a_long_chain_does_not_exhaust_the_stack():
    prompt = {str(i): {"class_type": "X", "inputs": {"a": [str(i + 1), 0]}} for i in range(5000)}
    prompt["5000"] = {"class_type": "X", "inputs": {}}
    assert len(needed(prompt, ["0"])) == 5001
    assert find_cycle(prompt, ["0"]) == []


def test_each_node_runs_once_and_only_if_needed(command, calls):
    graph = chain(change(2, 1), extra={})
    graph["nodes"] += [make(8), show(4, 4)]
    graph["links"] += [[4, 2, 0, 4, 0, "THING"]]
    code, _, err = command(graph)
    assert (code, err) == (0, "")
    assert [name for name, _ in calls] == ["Make", "Change", "Show", "Show"]
    assert calls[1][1] == {"thing": "cat", "seed": 7, "steps": 12, "id": "2"}
    assert calls[2] == ("Show", "cat+7")


def test_values_arrive_in_the_declared_type(command, calls):
    command(made(amount="4", ratio=1, text=5))
    (_, given), *_ = calls
    assert given == {**MAKE, "amount": 4, "ratio": 1.0, "text": "5"}


def test_a_list_output_runs_the_next_node_per_item(command, calls):
    command(
        api(
            n1=("Listed", {}),
            n2=("Change", {"thing": ["1", 0], "seed": 1, "steps": 2}),
            n3=("Show", {"thing": ["2", 0]}),
        )
    )
    assert [given for name, given in calls if name == "Show"] == ["a+1", "b+1", "c+1"]


def test_a_failing_node_is_named(command):
    code, out, err = command(chain(change(2, 1, title="Fuse")), "--set", "1.text=explode")
    assert (code, out, err) == (1, "", 'Node 2 "Fuse" (Change): the fuse was lit\n')


def test_a_failing_node_keeps_its_cause(library):
    prompt = run_workflow.to_api(chain(change(2, 1, title="Fuse")), library.object_info)
    prompt["1"]["inputs"]["text"] = "explode"
    with pytest.raises(NodeFailedError) as failure:
        execute(prompt, library)
    assert isinstance(failure.value.__cause__, ValueError)


@pytest.mark.parametrize("name", ["1", "Make a Thing", "Make"])
@pytest.mark.parametrize("form", ["ui", "api"])
def test_setting_by_id_title_or_class(name, form, library):
    graph = chain(change(2, 1))
    if form == "api":
        graph = run_workflow.to_api(graph, library.object_info)
    untouched = copy.deepcopy(graph)
    settings = [
        f"{name}.text=a=b.c",
        f"{name}.amount=5",
        f"{name}.ratio=1e-1",
        f"{name}.flag=yes",
        f"{name}.colour=red",
    ]
    changed = run_workflow.to_api(apply_settings(graph, settings, library.object_info), library.object_info)
    assert changed["1"]["inputs"] == {"text": "a=b.c", "amount": 5, "ratio": 0.1, "flag": True, "colour": "red"}
    assert graph == untouched


def test_setting_past_a_seed_control(library):
    graph = apply_settings(chain(change(2, 1)), ["2.steps=20", "2.seed=99"], library.object_info)
    assert graph["nodes"][1]["widgets_values"] == [99, "randomize", 20]


def test_setting_a_widget_that_the_file_does_not_hold(library):
    graph = apply_settings(chain(change(2, 1, widgets=[])), ["2.steps=20"], library.object_info)
    assert graph["nodes"][1]["widgets_values"] == [0, "fixed", 20]


def test_setting_a_primitive(library):
    primitive = node(5, "PrimitiveNode", [4, "fixed"], outputs=("INT",))
    graph = workflow([primitive])
    assert apply_settings(graph, ["5.value=8"], library.object_info)["nodes"][0]["widgets_values"] == [8, "fixed"]
    with pytest.raises(WorkflowError, match="the one that can be set is value"):
        apply_settings(graph, ["5.steps=8"], library.object_info)


@pytest.mark.parametrize("form", ["ui", "api"])
def test_setting_what_is_linked(form, library):
    graph = chain(change(2, 1, inputs=[("steps", "INT", 9, "steps")]))
    graph["links"].append([9, 1, 1, 2, 1, "INT"])
    if form == "api":
        graph = run_workflow.to_api(graph, library.object_info)
    with pytest.raises(WorkflowError, match=r"steps of Node 2 .* comes from node 1; set it there"):
        apply_settings(graph, ["2.steps=8"], library.object_info)


def test_setting_one_of_two(library):
    with pytest.raises(WorkflowError, match="several nodes are called 'Make', so give one of the ids 1, 4"):
        apply_settings(workflow([make(1, title="A"), make(4, title="B")]), ["Make.amount=1"], library.object_info)


def pictures(prefix="pic", batch=2):
    return workflow(
        [
            node(1, "Picture", [batch], outputs=("IMAGE",)),
            node(2, "SaveImage", [prefix], [("images", "IMAGE", 1)]),
        ],
        [(1, 1, 0, 2, 0, "IMAGE")],
    )


def test_pictures_carry_their_workflow(command, tmp_path, library):
    graph = pictures()
    code, out, _ = command(graph, "--set", "1.batch=1")
    saved = tmp_path / "out" / "pic_00001_.png"
    assert (code, out) == (0, f"Saved {saved}\n")
    with Image.open(saved) as image:
        assert (image.size, image.mode) == ((6, 8), "RGB")
        texts = image.text
    assert json.loads(texts["workflow"]) == apply_settings(graph, ["1.batch=1"], library.object_info)
    assert json.loads(texts["prompt"])["1"]["inputs"] == {"batch": 1}
    assert read_document(saved) == Document(ui=json.loads(texts["workflow"]))


def test_a_picture_can_be_run(command, tmp_path):
    command(pictures(batch=1))
    code, out, _ = command(tmp_path / "out" / "pic_00001_.png")
    assert (code, out) == (0, f"Saved {tmp_path / 'out' / 'pic_00002_.png'}\n")


def test_a_picture_of_a_prompt_can_be_run(command, tmp_path, library):
    prompt = run_workflow.to_api(pictures(batch=1), library.object_info)
    command(prompt)
    saved = tmp_path / "out" / "pic_00001_.png"
    with Image.open(saved) as image:
        assert set(image.text) == {"prompt"}
    assert command(saved)[0] == 0


def test_a_picture_without_a_workflow(command, tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "bare.png")
    code, _, err = command(tmp_path / "bare.png")
    assert code == 1 and err.endswith("bare.png is a PNG image without a workflow in it.\n")


def test_nothing_is_overwritten(command, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "pic_00007_.png").write_bytes(b"mine")
    (out / "picture_00020_.png").write_bytes(b"another's")
    command(pictures())
    assert {p.name for p in out.glob("pic_*")} == {"pic_00007_.png", "pic_00008_.png", "pic_00009_.png"}
    assert (out / "pic_00007_.png").read_bytes() == b"mine"


def test_prefix_with_a_folder_and_the_size(command, tmp_path):
    command(pictures("sub/%width%x%height%", 1))
    assert (tmp_path / "out" / "sub" / "6x8_00001_.png").exists()


def test_prefix_with_a_date():
    year = expand_prefix("%date:yyyy%", 1, 1)
    assert expand_prefix("a_%year%_%unknown%", 1, 1) == f"a_{year}_%unknown%"
    assert len(expand_prefix("%date:yyyy-MM-dd hhmmss%", 1, 1)) == len("2000-01-01 000000")


def test_previews_go_to_a_folder_of_their_own(command, tmp_path):
    command(api(n1=("Picture", {"batch": 1}), n2=("PreviewImage", {"images": ["1", 0]})))
    assert [p.name for p in (tmp_path / "out" / "temp").iterdir()] == ["ComfyUI_temp_00001_.png"]


def test_pictures_come_back_as_they_were_saved(library, tmp_path):
    command_image = np.arange(4 * 5 * 4, dtype=np.uint8).reshape(4, 5, 4) * 3
    (tmp_path / "in").mkdir()
    Image.fromarray(command_image, "RGBA").save(tmp_path / "in" / "a.png")
    image, mask = library.classes["LoadImage"]().load_image("a.png")
    assert (image.shape, mask.shape) == ((1, 4, 5, 3), (1, 4, 5))
    assert torch.equal((image * 255).round().byte()[0], torch.from_numpy(command_image[..., :3].copy()))
    assert torch.allclose(1 - mask[0], torch.from_numpy(command_image[..., 3] / 255).float())
    (red,) = library.classes["LoadImageMask"]().load_mask("a.png [input]", "red")
    assert torch.equal(red, image[..., 0])


def test_no_output_folder_can_be_made(command, tmp_path):
    (tmp_path / "out").write_text("in the way")
    code, _, err = command(pictures())
    assert code == 1 and "Cannot save: output folder" in err


def test_the_command_runs_anywhere(tmp_path):
    """From another folder, with a prompt that needs the pack: refused for its own fault, not for an import."""
    file = tmp_path / "w.json"
    file.write_text(
        json.dumps(api(n1=("MGTDecode", {}), n2=("SaveImage", {"images": ["1", 0], "filename_prefix": "x"})))
    )
    ran = subprocess.run(
        [sys.executable, run_workflow.__file__, str(file)], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 1
    assert "Node 1 (MGTDecode): Required input is missing: tokens." in ran.stderr, ran.stderr
    assert list(tmp_path.iterdir()) == [file]


def test_steps_reach_the_bar(command, library, capsys):
    """The hook of the pack's nodes draws a bar labelled with the node's title."""
    host = sys.modules["mgt_pack.nodes.host"]

    class Slow:
        RETURN_TYPES = ()
        FUNCTION = "run"
        OUTPUT_NODE = True
        INPUT_TYPES = classmethod(lambda cls: {"required": {}, "hidden": {"unique_id": "UNIQUE_ID"}})

        def run(self, unique_id):
            progress = host.Progress(3, unique_id)
            for done in (1, 2, 3):
                progress.update(done, 3)

    library.classes["Slow"] = Slow
    library.object_info["Slow"] = {"input": Slow.INPUT_TYPES(), "output": [], "output_node": True}
    prompt = {"4": {"class_type": "Slow", "inputs": {}, "_meta": {"title": "Slowly"}}}
    _, _, err = command(prompt)
    assert "Slowly" in err and "3/3" in err
    _, _, err = command(prompt, "--quiet")
    assert err == ""
