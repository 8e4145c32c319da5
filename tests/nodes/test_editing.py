"""The editing nodes, and what a person does with them: paint a mask, queue, look."""

import json
import sys
from dataclasses import replace

import numpy
import pytest
import torch
from PIL import Image

import mgt_core
from run_workflow import prepare
from runner.files import read_document
from runner.images import Folders
from runner.local import Library, execute
from support.golden import bundles, pipeline
from support.node_runs import run
from support.pack import ALIAS
from support.workflow_files import workflow

host = sys.modules[f"{ALIAS}.nodes.host"]
PIPE = pipeline(bundles()[0])
UNIT = PIPE.model.pixels_per_token * PIPE.model.grid_multiple
SIDE = 4 * UNIT


@pytest.fixture
def graph():
    return {
        "model": PIPE.model,
        "positive": run("MGTTextEncode", text="a cat", text_encoder=PIPE.text)[0],
        "negative": run("MGTTextEncode", text="", text_encoder=PIPE.text)[0],
        "schedule": run("MGTMaskSchedule")[0],
        "sampler": run("MGTSamplerMaskGIT", temperature_start=2.0)[0],
        "steps": 3,
    }


def picture():
    return torch.rand(1, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(0))


def encoded(strength=1.0):
    return run("MGTEncodeImage", model=PIPE.model, codec=PIPE.codec, image=picture(), strength=strength)[0]


def decoded(graph, tokens):
    return run("MGTDecode", tokens=run("MGTSample", **graph, tokens=tokens)[0], codec=PIPE.codec)[0]


def test_inpainting_leaves_pixels_outside_the_mask(graph):
    mask = torch.zeros(1, SIDE, SIDE)
    mask[:, 3 : SIDE // 2, 5 : SIDE // 2] = 1
    masked = run("MGTMaskTokens", tokens=encoded(), mask=mask, grow=1)[0]
    out = run("MGTPasteBack", original=picture(), repainted=decoded(graph, masked), mask=mask, feather=2)[0]
    assert torch.equal(out[mask == 0], picture()[mask == 0])
    assert not torch.equal(out, picture())


def test_outpainting_keeps_the_picture(graph):
    padded, original, mask = run(
        "MGTPadTokens", model=PIPE.model, tokens=encoded(), image=picture(), right=UNIT, top=2 * UNIT
    )
    out = run("MGTPasteBack", original=original, repainted=decoded(graph, padded), mask=mask)[0]
    assert torch.equal(out[:, 2 * UNIT :, :SIDE], picture())


def test_variations_keep_the_others(graph):
    tokens = run("MGTSample", **graph, tokens=encoded())[0]
    varied = run("MGTVaryTokens", tokens=tokens, share=0.25, order="least confident")[0]
    again = run("MGTSample", **graph, tokens=varied, seed=1)[0]
    assert torch.equal(again.tokens[~varied.masked], tokens.tokens[~varied.masked])


NONE_FREE = "No token is free to be drawn anew: the mask is empty."


@pytest.mark.parametrize("value, words", [(1, "16 of 64 tokens are free to be drawn anew."), (0, NONE_FREE)])
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_mask_tokens_says_what_is_free(monkeypatch, value, words, strength):
    shown, tokens = [], encoded(strength)
    monkeypatch.setattr(host, "show_text", lambda text, node_id: shown.append((text, node_id)))
    mask = torch.zeros(1, SIDE, SIDE)
    mask[:, : SIDE // 2, : SIDE // 2] = value
    run("MGTMaskTokens", tokens=tokens, mask=mask, unique_id="7")
    cells = (SIDE // PIPE.model.pixels_per_token) ** 2
    assert shown == [(words.replace("16", str(cells // 4)).replace("64", str(cells)), "7")]


def painted(path, side):
    """What the mask editor saves: the picture, transparent where painted."""
    pixels = numpy.full((side, side, 4), 200, numpy.uint8)
    pixels[..., :3] = numpy.arange(side, dtype=numpy.uint8)[:, None, None]
    pixels[..., 3] = 255
    pixels[8:30, 4:50, 3] = 0
    Image.fromarray(pixels).save(path)
    return pixels


def test_a_mask_painted_in_the_mask_editor(monkeypatch, tmp_path):
    """The inpainting workflow with Load Image's own mask wired in, as its note says."""
    monkeypatch.setattr(host, "bundles", lambda: {"demo": str(bundles()[0])})
    pixels = painted(tmp_path / "mgt_example.png", 128)
    library = Library.of_pack(Folders((tmp_path,), tmp_path / "out"))
    document = read_document(workflow("inpaint"))
    prompt, _ = prepare(document, ["MGT Sample.steps=2"], library.object_info, custom=library.custom_check)
    (load,) = [key for key, node in prompt.items() if node["class_type"] == "LoadImage"]
    for node in prompt.values():
        if node["class_type"] in ("MGTMaskTokens", "MGTPasteBack"):
            node["inputs"]["mask"] = [load, 1]
    (saved,) = execute(json.loads(json.dumps(prompt)), library)
    with Image.open(saved) as made:
        result = numpy.asarray(made.convert("RGB"))
    outside = pixels[..., 3] == 255
    assert (result[outside] == pixels[..., :3][outside]).all()
    assert (result[~outside] != pixels[..., :3][~outside]).any()


def test_a_picture_of_no_fitting_size_gets_one_sentence():
    with pytest.raises(mgt_core.MGTError, match="multiples of"):
        run("MGTEncodeImage", model=PIPE.model, codec=PIPE.codec, image=torch.rand(1, SIDE + 1, SIDE, 3))


# Sizes


@pytest.mark.parametrize("grid, other", [((16, 16), False), ((16, 4), True), ((18, 8), True), ((4, 32), True)])
def test_sizes_other_than_trainings_are_made_and_said(monkeypatch, caplog, graph, grid, other):
    """The position rule takes any grid of the model's multiples."""
    cell = PIPE.model.pixels_per_token
    model = replace(PIPE.model, trained_size=(16 * cell, 16 * cell))
    shown = []
    monkeypatch.setattr(host, "show_text", lambda text, node_id: shown.append(text))
    tokens = run("MGTEmptyTokens", model=model, height=grid[0] * cell, width=grid[1] * cell)[0]
    out = run("MGTSample", **graph | {"model": model, "steps": 1}, tokens=tokens)[0]
    assert out.grid == grid and not out.masked.any()
    note = f"{grid[1] * cell} x {grid[0] * cell} pixels: trained at {16 * cell} x {16 * cell}"
    assert (note in caplog.text) == other == any(note in text for text in shown)


def test_outpainting_beyond_training_is_said(monkeypatch):
    shown, tokens = [], encoded()
    monkeypatch.setattr(host, "show_text", lambda text, node_id: shown.append(text))
    model = replace(PIPE.model, trained_size=(SIDE, SIDE))
    run("MGTPadTokens", model=model, tokens=tokens, image=picture())
    assert not shown
    run("MGTPadTokens", model=model, tokens=tokens, image=picture(), right=UNIT)
    assert "pixels: trained at" in shown[0]


def test_a_bundle_knows_the_size_it_was_trained_at():
    assert PIPE.model.trained_size == PIPE.size
