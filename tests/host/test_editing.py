"""Editing and several prompts on a real ComfyUI server, with its own nodes."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from PIL import Image

from run_workflow import to_api
from runner.host_nodes import NODES as STANDING_IN
from support.comfy_host import Json, Server, node_id
from support.workflow_files import workflow

SIDE = 128  # of the built-in model's pictures, so that nothing is resampled


def api(server: Server, name: str) -> Json:
    """A shared workflow in API format, in few steps."""
    prompt = to_api(json.loads(workflow(name).read_text()), server.object_info())
    for node in prompt.values():
        if node["class_type"] == "MGTSample":
            node["inputs"]["steps"] = 4
    return prompt


def pictures(server: Server, prompt: Json) -> list[np.ndarray]:
    run = server.run(prompt)
    assert run.outcome == "execution_success", run.details
    return [np.asarray(image.convert("RGB")) for image in server.images(run)]


def paint(server: Server, box: tuple[slice, slice] | None) -> np.ndarray:
    """Leaves what the mask editor saves, the picture transparent where painted, in the input folder."""
    pixels = np.full((SIDE, SIDE, 4), 255, np.uint8)
    pixels[..., 0] = np.arange(SIDE)[:, None] * 2
    pixels[..., 1] = np.arange(SIDE)[None] * 2
    if box:
        pixels[(*box, 3)] = 0
    folder = server.base / "input" / "clipspace"
    folder.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(folder / "clipspace-mask-1.png")
    return pixels


def with_painted_mask(prompt: Json) -> Json:
    prompt = copy.deepcopy(prompt)
    load = node_id(prompt, "LoadImage")
    prompt[load]["inputs"]["image"] = "clipspace/clipspace-mask-1.png [input]"
    for kind in ("MGTMaskTokens", "MGTPasteBack"):
        prompt[node_id(prompt, kind)]["inputs"]["mask"] = [load, 1]
    return prompt


def test_a_painted_mask_is_repainted_and_nothing_else(server: Server) -> None:
    box = (slice(10, 40), slice(6, 50))
    painted = paint(server, box)
    (picture,) = pictures(server, with_painted_mask(api(server, "inpaint")))
    outside = painted[..., 3] == 255
    assert (picture[outside] == painted[..., :3][outside]).all()
    assert (picture[box] != painted[..., :3][box]).any()


def test_an_empty_mask_gives_the_picture_back(server: Server) -> None:
    painted = paint(server, None)
    (picture,) = pictures(server, with_painted_mask(api(server, "inpaint")))
    assert (picture == painted[..., :3]).all()


def insert(prompt: Json, kind: str, **inputs) -> list:
    """A node of ComfyUI between the first prompt and MGT Sample, its output."""
    key = str(max(map(int, prompt)) + 1)
    prompt[key] = {"class_type": kind, "inputs": inputs}
    return [key, 0]


def test_the_hosts_conditioning_nodes_change_the_picture(server: Server) -> None:
    plain = api(server, "text_to_image")
    sample = node_id(plain, "MGTSample")
    first, empty = (plain[sample]["inputs"][role] for role in ("positive", "negative"))
    second = {"conditioning": first, "start": 0.0, "end": 0.5}
    mask = {"mask": ["900", 0], "strength": 1.0, "set_cond_area": "mask bounds"}
    area = {"width": 0.5, "height": 1.0, "x": 0.0, "y": 0.0, "strength": 1.0}
    kinds = {
        "none": None,
        "ConditioningAverage": {"conditioning_to": first, "conditioning_from": empty, "conditioning_to_strength": 0.5},
        "ConditioningConcat": {"conditioning_to": first, "conditioning_from": empty},
        "ConditioningZeroOut": {"conditioning": first},
        "ConditioningCombine": {"conditioning_1": first, "conditioning_2": empty},
        "ConditioningSetTimestepRange": second,
        "ConditioningSetMask": {"conditioning": first, **mask},
        "ConditioningSetAreaPercentage": {"conditioning": first, **area},
    }
    made = {}
    for kind, inputs in kinds.items():
        prompt = copy.deepcopy(plain)
        prompt["900"] = {"class_type": "SolidMask", "inputs": {"value": 0.0, "width": SIDE, "height": SIDE}}
        prompt["901"] = {"class_type": "SolidMask", "inputs": {"value": 1.0, "width": 24, "height": SIDE}}
        both = {"destination": ["900", 0], "source": ["901", 0], "x": 0, "y": 0, "operation": "add"}
        prompt["902"] = {"class_type": "MaskComposite", "inputs": both}
        if inputs is not None:
            inputs = {**inputs, "mask": ["902", 0]} if "mask" in inputs else inputs
            prompt[sample]["inputs"]["positive"] = insert(prompt, kind, **inputs)
        (made[kind],) = pictures(server, prompt)
    assert len({picture.tobytes() for picture in made.values()}) == len(kinds)


def test_what_has_no_meaning_is_refused(server: Server) -> None:
    prompt = api(server, "text_to_image")
    sample = node_id(prompt, "MGTSample")
    positive = prompt[sample]["inputs"]["positive"]
    latent = insert(prompt, "EmptyLatentImage", width=SIDE, height=SIDE, batch_size=1)
    reference = insert(prompt, "ReferenceLatent", conditioning=positive, latent=latent)
    prompt[sample]["inputs"]["positive"] = reference
    assert "carries reference_latents, which MGT Sample cannot follow" in server.failure(prompt)


@pytest.mark.parametrize("name", STANDING_IN)
def test_the_runners_stand_ins_declare_what_the_host_declares(server: Server, name: str) -> None:
    theirs = server.object_info()[name]
    cls, _ = STANDING_IN[name]
    ours = cls.INPUT_TYPES()["required"]
    assert list(ours) == theirs["input_order"]["required"]
    assert list(cls.RETURN_TYPES) == theirs["output"]
    for key, spec in ours.items():
        kind, *options = theirs["input"]["required"][key]
        if kind == "COMBO":
            kind = options[0]["options"]
        assert spec[0] == kind, key
