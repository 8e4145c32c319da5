"""Editing by an instruction, as the nodes do it."""

import shutil
import sys

import pytest
import torch

import mgt_core
from mgt_core import ReferencePicture
from mgt_core.loading.layouts import BUILT_IN
from support.bundles import copy_bundle
from support.editmgt import editmgt_bundle, own_pipeline
from support.fake_comfy import FakeFolderPaths
from support.golden import bundles, pipeline
from support.node_runs import run
from support.pack import ALIAS

host = sys.modules[f"{ALIAS}.nodes.host"]
PIPE = own_pipeline()
SIDE = PIPE.model.pixels_per_token * 8
PICTURE = torch.rand(1, 48, 80, 3, generator=torch.Generator().manual_seed(0))


def shown(picture=PICTURE, size="of the picture", **settings):
    return run("MGTEditReference", model=PIPE.model, codec=PIPE.codec, image=picture, size=size, **settings)


def graph(model, tokens):
    prompts = {"positive": "make it red", "negative": ""}
    encoded = {role: run("MGTTextEncode", text=text, text_encoder=PIPE.text)[0] for role, text in prompts.items()}
    return {**encoded, "model": model, "tokens": tokens, "steps": 2}


def test_a_picture_is_shown_and_its_edit_gets_its_size():
    model, tokens, image = shown()
    assert image.shape == (1, 48, 80, 3) and torch.equal(image, PICTURE)
    assert model.patch("reference") == ReferencePicture(tokens.tokens)
    state = run("MGTSample", **graph(model, tokens))[0]
    assert not torch.equal(state.tokens, run("MGTSample", **graph(PIPE.model, tokens))[0].tokens)
    picture = torch.rand(1, 100, 60, 3)
    back = run("MGTStretchBack", image=run("MGTDecode", tokens=state, codec=PIPE.codec)[0], original=picture)[0]
    assert back.shape == picture.shape and back.min() >= 0 and back.max() <= 1


def test_it_is_stretched_to_the_size_of_the_model():
    model, tokens, image = shown(size="of the model", mask_reference=False, local_guidance=0.2, strength=2.0)
    assert image.shape[1:3] == PIPE.model.trained_size
    assert tokens.grid == PIPE.model.network.trained_grid == tuple(model.patch("reference").tokens.shape[1:])
    wanted = ReferencePicture(tokens.tokens, 2.0, mask_reference=False, local_guidance=0.2)
    assert model.patch("reference") == wanted


def test_pictures_of_any_size_are_stretched_to_the_nearest_that_fits():
    image = shown(torch.rand(2, 50, 79, 4))[2]
    assert image.shape == (2, 48, 80, 3)


def test_its_tokens_are_masked_for_inpainting():
    model, tokens, _ = shown()
    mask = torch.zeros(1, 48, 80)
    mask[:, :, 40:] = 1
    masked = run("MGTMaskTokens", tokens=tokens, mask=mask)[0]
    out = run("MGTSample", **graph(model, masked))[0]
    assert torch.equal(out.tokens[:, :, :5], tokens.tokens[:, :, :5])


def test_other_models_see_no_picture():
    other = pipeline(bundles()[0])
    with pytest.raises(
        mgt_core.MGTError, match="a reference picture does not work with the meissonic architecture: it"
    ):
        run("MGTEditReference", model=other.model, codec=other.codec, image=PICTURE)


@pytest.fixture
def models(tmp_path, monkeypatch):
    folders = FakeFolderPaths(tmp_path / "models", mgt=[tmp_path / "models" / "mgt"])
    monkeypatch.setitem(sys.modules, "folder_paths", folders)
    return tmp_path / "models"


def test_a_repository_is_listed_as_one_model(models):
    """Whose folder of the transformer has a name of its own."""
    editmgt_bundle(models / "mgt" / "editmgt")
    copy_bundle(models / "mgt" / "Meissonic")
    assert list(host.bundles()) == [*BUILT_IN, "Meissonic", "editmgt"]
    (models / "mgt" / "editmgt" / "model_index.json").write_text("{}")
    assert list(host.bundles()) == [*BUILT_IN, "Meissonic", "editmgt"]
    assert list(host.text_encoders()) == [*BUILT_IN, "Meissonic", "editmgt"]
    model, text, codec = run("MGTLoadModel", model="editmgt")
    assert model.network.supports >= {"reference"} and text.widths["hidden"] == 20
    (alone,) = run("MGTLoadTextEncoder", text_encoder="editmgt")
    assert torch.equal(alone.encode("a cat").hidden, text.encode("a cat").hidden)
    shutil.rmtree(models / "mgt" / "editmgt" / "llm_encoder")
    with pytest.raises(mgt_core.MGTError, match="has no subfolder llm_encoder"):
        run("MGTLoadModel", model="editmgt")
