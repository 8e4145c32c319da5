"""MGT Caption: what the library says, as a list, and shown on the node."""

import shutil
import sys

import pytest
import torch

import mgt_core
from support.device import HERE
from support.fake_comfy import FakeFolderPaths
from support.golden import bundles, pipeline
from support.muddit import DIMO, OWN_MUDDIT, muddit
from support.node_runs import NODES, answer, run

PIPE = muddit("1024", OWN_MUDDIT)
SIDE = 2 * PIPE.model.side_unit
IMAGES = torch.rand(2, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(0))
PARTS = {"model": PIPE.model, "text_encoder": PIPE.text, "codec": PIPE.codec, "image": IMAGES}


@pytest.fixture
def models(tmp_path, monkeypatch):
    """ComfyUI's models folder, empty."""
    (tmp_path / "mgt").mkdir()
    monkeypatch.setitem(sys.modules, "folder_paths", FakeFolderPaths(tmp_path, mgt=[tmp_path / "mgt"]))
    return tmp_path


def test_it_is_the_library():
    answered = answer("MGTCaption", **PARTS, question="what is it?", seed=3, steps=2)
    (captions,) = answered["result"]
    assert captions == mgt_core.caption(PIPE, IMAGES, "what is it?", steps=2, seed=3)
    assert answered["ui"]["text"] == ("\n".join(f"{n}. {text}" for n, text in enumerate(captions, 1)),)
    assert NODES["MGTCaption"].OUTPUT_IS_LIST == (True,)


def test_one_picture_is_told_without_a_number():
    answered = answer("MGTCaption", **PARTS | {"image": IMAGES[:1]}, steps=2)
    assert list(answered["ui"]["text"]) == answered["result"][0] == mgt_core.caption(PIPE, IMAGES[:1], steps=2)


def test_sampler_and_schedule_are_heeded():
    (schedule,), (sampler,) = run("MGTMaskSchedule", schedule="linear"), run("MGTSamplerGibbs")
    made = run("MGTCaption", **PARTS, steps=3, schedule=schedule, sampler=sampler)[0]
    assert made == mgt_core.caption(PIPE, IMAGES, steps=3, schedule=schedule, sampler=sampler)


def test_models_without_a_text_head_are_refused():
    other = pipeline(bundles()[0])
    given = {"model": other.model, "text_encoder": other.text, "codec": other.codec, "image": IMAGES}
    with pytest.raises(mgt_core.MGTError, match="captions need a model with a text head"):
        run("MGTCaption", **given)


def test_the_loader_lends_what_a_repository_lacks(models):
    """Both transformers of Muddit are offered, and Di[M]O's flat folder."""
    for size in ("512", "1024"):
        shutil.copytree(OWN_MUDDIT / "1024" / "transformer", models / "mgt" / "muddit" / size / "transformer")
    shutil.copy(OWN_MUDDIT / "1024" / "mask_token_embedding.pth", models / "mgt" / "muddit" / "1024")
    shutil.copytree(OWN_MUDDIT / "base", models / "mgt" / "Meissonic")
    shutil.copytree(DIMO / "meissonic", models / "mgt" / "dimo" / "meissonic")
    shutil.copytree(DIMO / "base", models / "mgt" / "lender")
    offered = NODES["MGTLoadModel"].INPUT_TYPES()["required"]["model"][0]
    assert {"muddit/512", "muddit/1024", "dimo/meissonic"} <= set(offered)
    model, text, codec = run("MGTLoadModel", model="muddit/1024", base="Meissonic")
    small = run("MGTLoadModel", model="muddit/512", base="Meissonic")[0]
    assert (model.trained_size, small.trained_size) == ((1024, 1024), (512, 512))
    made = run("MGTCaption", model=model, text_encoder=text, codec=codec, image=IMAGES, steps=2)[0]
    assert made == mgt_core.caption(PIPE, IMAGES, steps=2)
    with pytest.raises(mgt_core.MGTError, match="mask_token_embedding.pth"):
        run("MGTCaption", model=small, text_encoder=text, codec=codec, image=IMAGES, steps=2)
    one_step = run("MGTLoadModel", model="dimo/meissonic", base="lender", text_encoder="none")[0]
    assert (
        one_step.network.config
        == mgt_core.load(DIMO / "meissonic", base=DIMO / "base", text=False, **HERE).model.network.config
    )
