"""ComfyUI's own nodes of texts and numbers, and the runner's stand-ins for them: the same where a host has them."""

from __future__ import annotations

import pytest

from runner.host_values import NODES, PreviewAny
from support.comfy_host import Json, Server
from support.small_nodes import RESULTS

LATER = {"SeedNode", "ComfyNumberConvert", "ComfySwitchNode"}  # which the oldest host lacks
SAME_AS_OTHERS = "COMFY_MATCHTYPE_V3"  # of an input that takes whatever another one has


@pytest.mark.parametrize("name", NODES)
def test_they_declare_the_same(server: Server, name: str) -> None:
    theirs = server.object_info().get(name)
    if theirs is None:
        assert name in LATER
        pytest.skip("this ComfyUI has no such node yet")
    cls, _ = NODES[name]
    ours = cls.INPUT_TYPES()["required"]
    outputs = ["*" if kind == SAME_AS_OTHERS else kind for kind in theirs["output"]]
    assert outputs == list(cls.RETURN_TYPES) or (cls is PreviewAny and not outputs)
    assert list(ours) == theirs["input_order"]["required"]
    for key, spec in ours.items():
        kind, options = theirs["input"]["required"][key]
        if kind == "COMBO":
            kind = options["options"]
        assert spec[0] == ("*" if kind == SAME_AS_OTHERS else kind), key
        mine = spec[1] if len(spec) > 1 else {}
        assert bool(mine.get("control_after_generate")) == bool(options.get("control_after_generate")), key
        for limit in {"min", "max"} & options.keys():
            assert mine[limit] == options[limit], (key, limit)


def test_they_make_the_same(server: Server) -> None:
    known = server.object_info()
    prompt: Json = {}
    wanted: dict[str, tuple[str, ...]] = {}
    for name, (inputs, results) in RESULTS.items():
        if name not in known or not known[name]["output"] or "source" in inputs:
            continue
        prompt[name] = {"class_type": name, "inputs": linked(name, inputs, prompt)}
        for slot, result in enumerate(results):
            shown = f"{name}.{slot}"
            prompt[shown] = {"class_type": "PreviewAny", "inputs": {"source": [name, slot]}}
            wanted[shown] = (NODES["PreviewAny"][0]().run(result)[0],)
    run = server.run(prompt)
    outputs = server.json(f"/history/{run.prompt_id}")[run.prompt_id]["outputs"]
    assert {key: tuple(outputs[key]["text"]) for key in wanted} == wanted


def linked(name: str, inputs: Json, prompt: Json) -> Json:
    """Inputs that take links alone come from primitives of such values."""
    sockets = {"ComfySwitchNode": ("on_false", "on_true"), "ComfyNumberConvert": ("value",)}
    made = dict(inputs)
    for key in sockets.get(name, ()):
        kind = "PrimitiveString" if isinstance(inputs[key], str) else "PrimitiveInt"
        prompt[f"{name}.{key}"] = {"class_type": kind, "inputs": {"value": inputs[key]}}
        made[key] = [f"{name}.{key}", 0]
    return made
