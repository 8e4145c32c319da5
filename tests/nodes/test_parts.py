"""Parts that are picked by themselves: which are listed, and what the loaders do with them."""

import json
import os
import shutil
import struct
import sys
from pathlib import Path

import pytest
import torch

import mgt_core
from mgt_core.loading import weights
from mgt_core.loading.layouts import BUILT_IN
from support.bundles import amused_bundle, copy_bundle, halton_bundle, openmuse_bundle, weights_file
from support.encoders import clip_model
from support.fake_comfy import FakeComfy, FakeFolderPaths
from support.golden import bundles
from support.node_runs import NODES, run
from support.pack import ALIAS

host = sys.modules[f"{ALIAS}.nodes.host"]
KINDS = ("mgt", "text_encoders", "diffusers", "clip_vision", "vae")
WHOLE = bundles()[0]


def choices(node: str, name: str) -> list[str]:
    declared = NODES[node].INPUT_TYPES()
    return (declared["required"] | declared.get("optional", {}))[name][0]


@pytest.fixture
def models(tmp_path, monkeypatch) -> Path:
    """ComfyUI's models folder, empty."""
    paths = {kind: tmp_path / kind for kind in KINDS}
    for path in paths.values():
        path.mkdir()
    monkeypatch.setitem(sys.modules, "folder_paths", FakeFolderPaths(tmp_path, **{k: [p] for k, p in paths.items()}))
    return tmp_path


def foreign_files(folder: Path) -> None:
    """What others keep there, and what is broken."""
    for name in ("t5", "garbage", "numbers", "unreadable"):
        (folder / name).mkdir(parents=True)
    (folder / "t5" / "config.json").write_text('{"model_type": "t5"}')
    torch.save({"shared.weight": torch.ones(2)}, folder / "t5" / "pytorch_model.bin")
    (folder / "garbage" / "config.json").write_bytes(b"\xff\xfe")
    (folder / "numbers" / "config.json").write_text('{"model_type": "clip"}')
    header = json.dumps({"text_model.embeddings.token_embedding.weight": {"shape": 7, "data_offsets": ["a", "b"]}})
    file = struct.pack("<Q", len(header)) + header.encode() + b"\0" * 64
    (folder / "numbers" / "model.safetensors").write_bytes(file)
    (folder / "half.safetensors").write_bytes(file)
    (folder / "cut.safetensors").write_bytes(b"\0" * 5)
    (folder / "gone.safetensors").symlink_to(folder / "nowhere")
    (folder / "large.bin").write_bytes(b"not read")
    os.mkfifo(folder / "pipe.safetensors") if hasattr(os, "mkfifo") else None


def test_text_encoders_are_listed_by_what_they_hold(models):
    clip_model(models / "text_encoders" / "CLIP-ViT-H-14-laion2B-s32B-b79K")
    whole = clip_model(models / "clip_vision" / "whole")
    shutil.copy(weights_file(whole), models / "text_encoders" / "clip_h.safetensors")
    clip_model(models / "mgt" / "clip" / "deep")
    clip_model(models / "diffusers" / "laion")
    copy_bundle(models / "mgt" / "Meissonic")
    for kind in KINDS:
        foreign_files(models / kind / "others")
    names = [
        "CLIP-ViT-H-14-laion2B-s32B-b79K",
        "clip_h.safetensors",
        "clip/deep",
        "diffusers/laion",
        "clip_vision/whole",
        *BUILT_IN,
        "Meissonic",
    ]
    assert choices("MGTLoadModel", "text_encoder") == ["from the bundle", "none", *names]
    assert choices("MGTLoadTextEncoder", "text_encoder") == names
    assert choices("MGTLoadTextEncoder", "tokenizer") == ["beside the encoder", "demo", "Meissonic"]


def test_lists_read_headers_once_and_no_foreign_pickle(models, monkeypatch):
    clip_model(models / "text_encoders" / "clip")
    foreign_files(models / "text_encoders" / "others")
    read, before = [], weights.read_header
    monkeypatch.setattr(weights, "read_header", lambda file: (read.append(file), before(file))[1])
    monkeypatch.setattr(weights, "open_pickle", lambda file: pytest.fail(f"{file} is read"))
    for _ in range(2):
        assert "clip" in host.text_encoders()
    assert read.count(models / "text_encoders" / "clip" / "model.safetensors") == 1


def test_codecs_are_listed(models):
    copy_bundle(models / "mgt" / "Meissonic")
    amused_bundle(models / "mgt" / "amused")
    halton_bundle(models / "mgt" / "halton")
    openmuse_bundle(models / "mgt" / "maskgit")
    shutil.copytree(WHOLE / "vqvae", models / "vae" / "vq")
    foreign_files(models / "vae" / "others")
    assert choices("MGTLoadModel", "codec") == [
        "from the bundle",
        "demo",
        "Meissonic",
        "amused",
        "halton/vq_ds16_c2i.pt",
        "maskgit/vqgan",
        "vq",
    ]
    assert choices("MGTLoadModel", "base") == ["none", "demo", "Meissonic", "amused"]


def test_transformers_alone_are_models(models):
    mgt = models / "mgt"
    copy_bundle(mgt / "Meissonic")
    openmuse_bundle(mgt / "maskgit")
    shutil.copytree(WHOLE / "transformer", mgt / "MaskFocus")
    shutil.copytree(WHOLE / "transformer", mgt / "DiMO" / "meissonic" / "transformer")
    shutil.copy(weights_file(WHOLE / "transformer"), mgt / "merged.safetensors")
    clip_model(mgt / "clip")
    foreign_files(mgt / "others")
    whole, alone = ["DiMO/meissonic", "Meissonic", "maskgit"], ["MaskFocus", "merged.safetensors"]
    assert list(host.bundles()) == [*BUILT_IN, *whole, *alone]
    assert choices("MGTLoadModel", "base") == ["none", "demo", "Meissonic"]
    for name in ("DiMO/meissonic", *alone):
        model, text, codec = run("MGTLoadModel", model=name, base="Meissonic")
        assert model.codec is codec and text is not None
        with pytest.raises(mgt_core.MGTError, match="base bundle|merged.json is missing"):
            run("MGTLoadModel", model=name)


def test_a_folder_alone_with_its_codec_in_it_is_a_model(models):
    shutil.copytree(WHOLE / "transformer", models / "mgt" / "tuned")
    shutil.copytree(WHOLE / "vqvae", models / "mgt" / "tuned" / "vqvae")
    assert list(host.bundles()) == [*BUILT_IN, "tuned"]
    assert run("MGTLoadModel", model="tuned", text_encoder="none")[1] is None


def test_the_loader_takes_parts_from_elsewhere(models):
    copy_bundle(models / "mgt" / "Meissonic")
    clip_model(models / "text_encoders" / "clip")
    shutil.copytree(WHOLE / "vqvae", models / "vae" / "vq")
    model, text, codec = run("MGTLoadModel", model="Meissonic", text_encoder="clip", codec="vq")
    alone = run("MGTLoadTextEncoder", text_encoder="clip", tokenizer="Meissonic")[0]
    own = run("MGTLoadTextEncoder", text_encoder="Meissonic")[0]
    encoded = [encoder.encode("a cat").hidden for encoder in (text, alone, own)]
    assert torch.equal(encoded[0], encoded[1]) and not torch.equal(encoded[0], encoded[2])
    assert Path(alone.tokenizer.name_or_path) == models / "mgt" / "Meissonic" / "tokenizer"


@pytest.mark.parametrize("name", ["text_encoder", "codec", "base"])
def test_names_that_lead_nowhere(models, name):
    with pytest.raises(mgt_core.MGTError, match=f"{name} 'lost' is not there: the choices are"):
        run("MGTLoadModel", **{name: "lost"})


def test_prompts_of_before_need_no_new_inputs():
    """ComfyUI refuses a prompt in API format that lacks a required input; those of today are older than these."""
    assert list(NODES["MGTLoadModel"].INPUT_TYPES()["required"]) == ["model", "dtype", "quantization"]


def test_advice_is_shown_under_the_node(models, monkeypatch):
    copy_bundle(models / "mgt" / "Meissonic")
    shown = []
    monkeypatch.setattr(host, "show_text", lambda text, node_id: shown.append((text, node_id)))
    run("MGTLoadModel", model="Meissonic", unique_id="7")
    assert shown == []
    monkeypatch.setattr("mgt_core.backbones.meissonic.network.PUBLISHED_CODES", 64)
    run("MGTLoadModel", model="Meissonic", unique_id="7")
    ((text, node_id),) = shown
    assert node_id == "7" and "models/text_encoders/CLIP-ViT-H-14-laion2B-s32B-b79K" in text
    run("MGTLoadModel", model="Meissonic", text_encoder="none", unique_id="7")
    assert len(shown) == 1


def test_an_encoder_by_itself_is_placed_by_the_host(models, monkeypatch):
    comfy = FakeComfy(monkeypatch)
    copy_bundle(models / "mgt" / "Meissonic")
    (text,) = run("MGTLoadTextEncoder", text_encoder="Meissonic")
    assert comfy.loads == [] and next(text.network.parameters()).dtype == torch.float32
    run("MGTTextEncode", text="", text_encoder=text)
    assert comfy.loads == [[type(text.network).__name__]]


def test_a_part_alone_does_not_hide_behind_a_bundle_of_its_name():
    folders = sys.modules[f"{ALIAS}.nodes.folders"]
    found = folders.told_apart({"Meissonic": "alone", "other": "too"}, {"Meissonic": "bundle"}, "text_encoders")
    assert found == {"text_encoders/Meissonic": "alone", "other": "too"}
