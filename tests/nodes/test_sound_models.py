"""Models of sound among ComfyUI's folders: MAGNeT's folder as one choice, T5 among text encoders, and its prompts."""

import os
import shutil
import sys
from pathlib import Path

import pytest
import torch

import mgt_core
from support.bundles import copy_bundle, magnet_bundle
from support.device import HERE
from support.fake_comfy import FakeFolderPaths
from support.golden import OWN
from support.hub import cached
from support.magnet_files import CODEC, WEIGHTS, edit
from support.node_runs import NODES, inputs, run
from support.pack import ALIAS

host = sys.modules[f"{ALIAS}.nodes.host"]
conditioning = sys.modules[f"{ALIAS}.nodes.conditioning"]
KINDS = ("mgt", "text_encoders", "clip", "diffusers", "vae")
T5 = OWN / "audio" / "magnet" / "t5"
LOADER = NODES["MGTLoadModel"]
LINES = "rain\na slow piano tune with soft drums"


@pytest.fixture
def models(tmp_path, monkeypatch) -> Path:
    """ComfyUI's models folder, empty."""
    root = tmp_path / "models"
    for kind in KINDS:
        (root / kind).mkdir(parents=True)
    monkeypatch.setitem(sys.modules, "folder_paths", FakeFolderPaths(root, **{kind: [root / kind] for kind in KINDS}))
    return root


@pytest.fixture(scope="module")
def pipe(tmp_path_factory) -> mgt_core.Pipeline:
    return mgt_core.load(magnet_bundle(tmp_path_factory.mktemp("magnet")), **HERE)


def offered(node: str, name: str) -> list[str]:
    return list(inputs(NODES[node])[name][0])


def own(names: list[str]) -> list[str]:
    """Without what is built in."""
    return [name for name in names if not name.startswith("demo")]


def test_a_folder_is_offered_once_by_its_name(models):
    magnet_bundle(models / "mgt" / "magnet-small-10secs")
    cached(models / "mgt", "facebook/audio-magnet-small", magnet_bundle(models / "made"))
    copy_bundle(models / "mgt" / "Meissonic")
    wanted = ["Meissonic", "facebook/audio-magnet-small", "magnet-small-10secs"]
    assert sorted(own(offered("MGTLoadModel", "model"))) == wanted
    for name in ("magnet-small-10secs", "facebook/audio-magnet-small"):
        assert LOADER.VALIDATE_INPUTS(name) is True
        assert host.load(name, "float32").name == name
    told = LOADER.VALIDATE_INPUTS(f"magnet-small-10secs/{WEIGHTS}")
    assert told == f"'magnet-small-10secs/{WEIGHTS}' is a part of 'magnet-small-10secs': choose that"


def test_a_folder_whose_codec_lies_beside_it(models):
    whole = magnet_bundle(models / "mgt" / "magnet-small-10secs")
    pipe = mgt_core.load(whole, **HERE)
    torch.save({"pretrained": "facebook/encodec_32khz", "exported": True}, whole / CODEC)
    assert own(offered("MGTLoadModel", "model")) == [f"magnet-small-10secs/{WEIGHTS}"]  # a transformer alone
    (models / "mgt" / "encodec_32khz").mkdir()
    pipe.codec.network.save_pretrained(models / "mgt" / "encodec_32khz")
    assert own(offered("MGTLoadModel", "model")) == ["magnet-small-10secs"]
    assert "encodec_32khz" in offered("MGTLoadModel", "codec")
    assert run("MGTLoadModel", model="magnet-small-10secs")[2].sample_rate == 1600


def test_musicgen_is_told_as_what_it_is(models):
    folder = magnet_bundle(models / "mgt" / "musicgen-small")
    edit(folder / WEIGHTS, lambda held, config: config.update(lm_model="transformer_lm"))
    (shown,) = own(offered("MGTLoadModel", "model"))
    assert shown.startswith(f"musicgen-small/{WEIGHTS} — not an MGT: model of sound that makes its tokens one after")
    assert "as MusicGen and AudioGen do, which is no MGT" in LOADER.VALIDATE_INPUTS(f"musicgen-small/{WEIGHTS}")


@pytest.mark.parametrize("place", ["text_encoders/t5-base", "clip/google-t5/t5-base", "cache"])
def test_t5_is_found_among_text_encoders(models, place):
    folder = magnet_bundle(models / "mgt" / "magnet-small-10secs")
    if place == "cache":
        cached(models / "text_encoders", "google-t5/t5-base", folder / "text_encoder")
        listed = "google-t5/t5-base"
    else:
        (models / place).parent.mkdir(exist_ok=True)
        (folder / "text_encoder").rename(models / place)
        listed = place.split("/", 1)[1]
    before = LOADER.IS_CHANGED(model="magnet-small-10secs", text_encoder="from the bundle", codec=None, base=None)
    text = run("MGTLoadModel", model="magnet-small-10secs")[1]
    assert text.encode("rain").hidden.any()
    for node in ("MGTLoadModel", "MGTLoadTextEncoder"):
        assert listed in offered(node, "text_encoder")
    chosen = run("MGTLoadModel", model="magnet-small-10secs", text_encoder=listed)[1]
    alone = run("MGTLoadTextEncoder", text_encoder=listed)[0]
    for other in (chosen, alone):
        assert torch.equal(other.encode("rain").hidden, text.encode("rain").hidden)
    file = next((models / place).rglob("model.safetensors")) if place != "cache" else None
    if file:
        os.utime(file, (1, 1))
        after = LOADER.IS_CHANGED(model="magnet-small-10secs", text_encoder="from the bundle", codec=None, base=None)
        assert before and after and before != after


def test_t5_that_is_nowhere(models):
    folder = magnet_bundle(models / "mgt" / "magnet-small-10secs")
    shutil.rmtree(folder / "text_encoder")
    assert own(offered("MGTLoadModel", "model")) == ["magnet-small-10secs"]
    with pytest.raises(
        mgt_core.MGTError, match="^magnet-small-10secs reads prompts with google-t5/t5-base, which is no"
    ):
        run("MGTLoadModel", model="magnet-small-10secs")
    assert run("MGTLoadModel", model="magnet-small-10secs", text_encoder="none")[1] is None
    told = LOADER.VALIDATE_INPUTS("magnet-medium-30secs")
    assert told.startswith(
        "'magnet-medium-30secs' is not there: download state_dict.bin, compression_state_dict.bin of "
    )
    assert f"google-t5/t5-base into {models / 'text_encoders' / 't5-base'}" in told
    assert "google-t5/t5-large" in LOADER.VALIDATE_INPUTS("audio-magnet-medium")


def test_the_text_encoder_of_a_clip_model_is_refused(models):
    magnet_bundle(models / "mgt" / "magnet-small-10secs")
    copy_bundle(models / "mgt" / "Meissonic")
    with pytest.raises(mgt_core.MGTError, match="gives hidden and pooled states and its transformer takes hidden ones"):
        run("MGTLoadModel", model="magnet-small-10secs", text_encoder="Meissonic")


def condition(entries: list) -> mgt_core.Condition:
    return conditioning.entry_from(*entries[0], "positive", (0, 0))


def test_a_batch_of_prompts_as_published(pipe):
    entries, count = NODES["MGTPromptBatch"]().encode(LINES, pipe.text)
    assert count == 2 and condition(entries).visible is None
    assert torch.equal(condition(entries).hidden, pipe.text.encode(LINES.splitlines()).hidden.cpu())
    for more in ({}, {"alone": False}):
        assert torch.equal(run("MGTPromptBatch", prompts=LINES, text_encoder=pipe.text, **more)[0][0][0], entries[0][0])


def test_prompts_that_stand_alone(pipe):
    entries, _ = NODES["MGTPromptBatch"]().encode(LINES, pipe.text, alone=True)
    wanted = pipe.text.with_alone().encode(LINES.splitlines())
    assert torch.equal(condition(entries).visible, wanted.visible.cpu()) and not wanted.visible.all()
    hidden, extra = entries[0]
    joined = [[torch.cat([hidden, hidden], 1), extra]]  # as ComfyUI's Conditioning (Concat) makes it
    assert torch.equal(condition(joined).visible, wanted.visible.cpu().repeat(1, 2))
    zeros = [[torch.zeros_like(hidden), extra]]  # as its Zero Out does
    assert condition(zeros).visible.all()
    assert condition([[hidden, {}]]).visible is None


def test_the_widget_means_nothing_to_other_encoders():
    text = mgt_core.load("demo", **HERE).text
    plain, alone = (NODES["MGTPromptBatch"]().encode("a star\na heart", text, alone=on)[0] for on in (False, True))
    assert torch.equal(plain[0][0], alone[0][0]) and condition(alone).visible is None
    with pytest.raises(mgt_core.MGTError, match="no text encoder"):
        NODES["MGTPromptBatch"]().encode("a star", None, alone=True)


def test_words_are_weighed_and_long_prompts_are_whole(pipe):
    ((hidden, _),) = run("MGTTextEncode", text="a (slow:1.5) piano", text_encoder=pipe.text)[0]
    assert torch.equal(hidden, pipe.text.encode("a (slow:1.5) piano", weights=True).hidden.cpu())
    ((hidden, extra),) = run("MGTTextEncode", text="rain " * 300, text_encoder=pipe.text)[0]
    assert hidden.shape[1] == 301 and extra["pooled_output"] is None
