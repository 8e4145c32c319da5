"""What a host makes of the nodes' declarations: rare widgets, names of before, refusals before a run, changed files."""

from __future__ import annotations

import json
import uuid

import pytest

from run_workflow import to_api
from support.comfy_host import Json, Run, Server, changed, node_id
from support.workflow_files import SAVED, read, workflow

(OLD,) = [path for path in SAVED if path.stem == "quantization"]
RENAMED = ("MGTSCQCalibrate", "MGTQuantizeParts", "MGTSaveModel")


def test_front_ends_are_told_what_is_rare_and_what_is_an_experiment(server: Server) -> None:
    nodes = server.pack_nodes()
    merging = nodes["MGTTokenMerging"]["input"]["required"]
    shown = [name for name, (_, options) in merging.items() if not options.get("advanced")]
    assert shown == ["model", "ratio", "blocks", "known_only"]
    assert [name for name, info in nodes.items() if info.get("experimental")] == ["MGTSamplerMomentum"]


@pytest.fixture(scope="module")
def old_prompt(server: Server) -> Json:
    """In API format, with the names that sockets had, and its Save node at work."""
    graph = read(OLD)
    for node in graph["nodes"]:
        node["mode"] = 0
    prompt = to_api(graph, server.object_info())
    assert all(isinstance(prompt[node_id(prompt, name)]["inputs"]["text"], list) for name in RENAMED)
    return changed(prompt, {"MGTSaveModel": {"name": "named-as-before"}})


def test_a_prompt_of_before_runs(server: Server, old_prompt: Json) -> None:
    run = server.run(old_prompt)
    assert run.outcome == "execution_success", run.details
    assert server.images(run)
    folder = server.base / "models" / "mgt" / "named-as-before"
    assert (folder / "text_encoder").is_dir()


def test_a_name_that_is_taken_is_told_at_once_by_the_next_session(server: Server, old_prompt: Json) -> None:
    folder = server.base / "models" / "mgt" / "kept-from-before"
    (folder / "transformer").mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "Pipeline"}))
    taken = changed(old_prompt, {"MGTSaveModel": {"name": folder.name}})
    told = refusal(server, taken, "MGTSaveModel")
    assert "name - name is 'kept-from-before'" in told and "turn overwrite on" in told


def refusal(server: Server, prompt: Json, class_type: str) -> str:
    """What the host says of a node before anything runs."""
    answer = server.submit(prompt, uuid.uuid4().hex)
    errors = answer["node_errors"][node_id(prompt, class_type)]["errors"]
    return "; ".join(error["details"] for error in errors)


@pytest.fixture(scope="module")
def presets(server: Server) -> Json:
    """The text to image graph, its settings from a preset of one's own."""
    write(server, steps=2)
    prompt = to_api(read(workflow("text_to_image")), server.object_info())
    loader, sample = node_id(prompt, "MGTLoadModel"), node_id(prompt, "MGTSample")
    prompt["preset"] = {"class_type": "MGTPreset", "inputs": {"model": [loader, 0], "preset": "mine"}}
    prompt[sample]["inputs"] |= {"model": ["preset", 0], "steps": ["preset", 3], "seed": 11}
    return prompt


def write(server: Server, **settings: int) -> None:
    folder = server.base / "models" / "mgt" / "presets"
    folder.mkdir(exist_ok=True)
    (folder / "mine.json").write_text(json.dumps({"description": "Tried.", **settings}))


def sampled(run: Run, prompt: Json) -> int:
    """Steps that were made; 0 where the host answered from its cache."""
    assert run.outcome == "execution_success", run.details
    return max((seen["max"] for seen in run.progress if seen["node"] == node_id(prompt, "MGTSample")), default=0)


def test_a_preset_that_was_edited_is_read_again(server: Server, presets: Json) -> None:
    assert sampled(server.run(presets), presets) == 2
    assert sampled(server.run(presets), presets) == 0
    write(server, steps=3)
    assert sampled(server.run(presets), presets) == 3
    write(server, steps=3)  # saved again as it was
    assert sampled(server.run(presets), presets) == 0


def test_a_preset_that_is_gone(server: Server, presets: Json) -> None:
    gone = changed(presets, {"MGTPreset": {"preset": "built-in-fst"}})
    assert "preset - preset is 'built-in-fst', but the known ones are built-in-fast" in refusal(
        server, gone, "MGTPreset"
    )


def test_an_interval_that_ends_before_it_starts(server: Server) -> None:
    prompt = to_api(read(workflow("all_choices")), server.object_info())
    told = refusal(server, changed(prompt, {"MGTTokenCache": {"start": 0.75, "end": 0.5}}), "MGTTokenCache")
    assert "starts at 0.75 and ends at 0.5" in told
    assert "start is 7.0" in refusal(server, changed(prompt, {"MGTTokenCache": {"start": 7.0}}), "MGTTokenCache")


def test_a_codec_of_another_model(server: Server, prompt: Json) -> None:
    """It is called that, not told by numbers of tokens."""
    other = {"class_type": "MGTLoadModel", "inputs": {"model": "Meissonic", "dtype": "auto", "quantization": "none"}}
    decode = node_id(prompt, "MGTDecode")
    foreign = changed(prompt, {"MGTSample": {"steps": 1, "seed": 3}, "MGTDecode": {"codec": ["other", 2]}})
    foreign["other"] = other
    told = server.failure(foreign)
    assert "codec was made for another model" in told and "codes" in told, (decode, told)
