"""Models in a cache of huggingface_hub, wherever it lies among models: listed and chosen as "org/name"."""

import os
import shutil
import sys
from pathlib import Path

import pytest
import torch

import mgt_core
from mgt_core.loading.layouts import BUILT_IN
from support.bundles import copy_bundle, openmuse_bundle, weights_file
from support.device import HERE
from support.encoders import clip_model
from support.fake_comfy import FakeFolderPaths
from support.foreign import weights
from support.golden import bundles
from support.hub import FIRST, SECOND, cached, incomplete, local
from support.loras import low_rank_pairs, save_peft
from support.node_runs import NODES, inputs, run
from support.pack import ALIAS

choices = sys.modules[f"{ALIAS}.nodes.choices"]
host = sys.modules[f"{ALIAS}.nodes.host"]
KINDS = ("mgt", "diffusers", "text_encoders", "vae", "loras")
LOADER = NODES["MGTLoadModel"]
WHOLE = bundles()[0]


def files_of(folder: Path) -> list[str]:
    """As ComfyUI lists them, links followed."""
    found = (Path(place, name) for place, _, names in os.walk(folder, followlinks=True) for name in names)
    return sorted(str(path.relative_to(folder)) for path in found if path.suffix == ".safetensors")


@pytest.fixture
def models(tmp_path, monkeypatch) -> Path:
    """ComfyUI's models folder, empty."""
    for kind in KINDS:
        (tmp_path / "models" / kind).mkdir(parents=True)
    root = tmp_path / "models"
    found = FakeFolderPaths(root, **{kind: [root / kind] for kind in KINDS})
    found.get_filename_list = lambda kind: files_of(root / kind)
    found.get_full_path = lambda kind, name: str(root / kind / name)
    monkeypatch.setitem(sys.modules, "folder_paths", found)
    return root


@pytest.fixture
def outside(monkeypatch, tmp_path) -> Path:
    """The folder of LoRAs without a host."""
    monkeypatch.setattr(host, "PACK", tmp_path)
    (tmp_path / "models" / "loras").mkdir(parents=True)
    return tmp_path / "models" / "loras"


def offered(node: str, name: str) -> list[str]:
    return list(inputs(NODES[node])[name][0])


def tiny(folder: Path, tmp_path: Path, name: str = "org/tiny", **how) -> Path:
    return cached(folder, name, copy_bundle(tmp_path / "made"), **how)


@pytest.mark.parametrize("links", [True, False], ids=["links", "files"])
@pytest.mark.parametrize("place", ["", "hub", "some/hub"])
def test_a_model_is_listed_by_the_name_of_its_repository(models, tmp_path, place, links):
    tiny(models / "mgt" / place, tmp_path, links=links)
    assert offered("MGTLoadModel", "model") == [*BUILT_IN, "org/tiny"]
    for node, name in (("MGTLoadModel", "base"), ("MGTLoadTextEncoder", "tokenizer")):
        assert offered(node, name)[1:] == ["demo", "org/tiny"]
    assert "org/tiny" in offered("MGTLoadModel", "text_encoder") and "org/tiny" in offered("MGTLoadModel", "codec")
    assert host.load("org/tiny", "float32").name == "org/tiny"


SPELLINGS = (
    "org/tiny",
    "models--org--tiny",
    "hub/models--org--tiny",
    "mgt/models--org--tiny",
    f"models--org--tiny/snapshots/{FIRST}",
    f"models--org--tiny/snapshots/{SECOND}",  # of another day
)


@pytest.mark.parametrize("name", SPELLINGS)
def test_every_spelling_is_taken(models, tmp_path, name):
    tiny(models / "mgt" / "hub", tmp_path)
    assert LOADER.VALIDATE_INPUTS(name) is True
    assert run("MGTLoadModel", model=name)[0].network is not None
    assert run("MGTLoadModel", model="demo", text_encoder="none", base=name)[0].network is not None
    assert run("MGTLoadTextEncoder", text_encoder=name, tokenizer=name)[0].network is not None
    assert LOADER.IS_CHANGED(model=name) == LOADER.IS_CHANGED(model="org/tiny") != ""
    parts = run("MGTLoadModel", model=name, text_encoder=name, codec=name)
    assert torch.equal(parts[1].encode(["a cat"]).hidden, mgt_core.load(WHOLE, **HERE).text.encode(["a cat"]).hidden)


@pytest.mark.parametrize("name", ["org/tiny", "models--org--tiny", "diffusers/org/tiny", "diffusers/models--org--tiny"])
def test_a_model_among_those_of_others(models, tmp_path, name):
    tiny(models / "diffusers", tmp_path)
    assert offered("MGTLoadModel", "model") == [*BUILT_IN, "diffusers/org/tiny"]
    assert LOADER.VALIDATE_INPUTS(name) is True and run("MGTLoadModel", model=name)[0].network is not None


def test_parts_alone(models, tmp_path):
    cached(models / "vae", "org/codec", shutil.copytree(WHOLE / "vqvae", tmp_path / "codec"))
    cached(models / "text_encoders", "laion/CLIP", clip_model(tmp_path / "clip"))
    cached(models / "mgt", "org/alone", shutil.copytree(WHOLE / "transformer", tmp_path / "alone"))
    tiny(models / "mgt", tmp_path, "org/base")
    assert offered("MGTLoadModel", "codec")[-1] == "org/codec" and "laion/CLIP" in host.text_encoders()
    assert "org/alone" in offered("MGTLoadModel", "model")
    names = {"text_encoder": "models--laion--CLIP", "codec": "models--org--codec", "base": "models--org--base"}
    for chosen in (names, {"text_encoder": "laion/CLIP", "codec": "org/codec", "base": "org/base"}):
        assert run("MGTLoadModel", model="org/alone", **chosen)[0].network is not None
    told = LOADER.VALIDATE_INPUTS("laion/CLIP")
    assert told.startswith("'laion/CLIP' is a text encoder alone: choose it as text_encoder")


def test_a_model_of_folders_inside_a_cache(models, tmp_path):
    cached(models / "mgt", "org/muse", openmuse_bundle(tmp_path / "muse", transformer="ft/checkpoint/ema_model"))
    assert offered("MGTLoadModel", "model") == [*BUILT_IN, "org/muse"] and "org/muse/vqgan" in host.codecs()
    assert run("MGTLoadModel", model="models--org--muse")[0].network is not None


def test_what_is_no_model_in_a_cache(models, tmp_path):
    made = tmp_path / "made"
    made.mkdir()
    weights("double_blocks.0")(made / "flux.safetensors")
    cached(models / "mgt" / "hub", "org/flux", made)
    assert offered("MGTLoadModel", "model") == [*BUILT_IN, "org/flux/flux.safetensors — not an MGT: Flux"]


def test_a_download_that_was_finished_since(models, tmp_path):
    incomplete(models / "mgt" / "models--org--tiny")
    (saved,) = (name for name in offered("MGTLoadModel", "model") if name.startswith("org/tiny — "))
    shutil.rmtree(models / "mgt" / "models--org--tiny")
    tiny(models / "mgt", tmp_path)
    for name in (saved, saved.replace("org/", "models--org--")):
        assert LOADER.VALIDATE_INPUTS(name) is True and run("MGTLoadModel", model=name)[0].network is not None


@pytest.mark.parametrize("place", ["", "hub"])
@pytest.mark.parametrize("name", ["org/part", "models--org--part"])
def test_a_download_that_was_not_finished(models, tmp_path, place, name):
    incomplete(models / "mgt" / place / "models--org--part")
    shown = "org/part — unfinished download"
    assert offered("MGTLoadModel", "model") == [*BUILT_IN, shown]
    for value in (name, shown):
        told = LOADER.VALIDATE_INPUTS(value)
        assert "is an unfinished download: download it again, which goes on where it ended" in told
        with pytest.raises(mgt_core.MGTError, match="^model '.*' is an unfinished download: "):
            run("MGTLoadModel", model=value)
    assert choices.answer("codec", name).startswith(f"'{name}' is an unfinished download")


def test_a_folder_that_was_downloaded_to(models):
    bundle = local(copy_bundle(models / "mgt" / "tiny"))
    kept = bundle / ".cache" / "huggingface" / "download" / "transformer"
    for ending in (".incomplete", ".metadata", ".safetensors"):
        shutil.copy(weights_file(bundle / "transformer"), kept / f"x3Yz{ending}")
    shutil.copytree(bundle / ".cache", models / "loras" / ".cache")
    assert offered("MGTLoadModel", "model") == [*BUILT_IN, "tiny"] and "tiny" in host.codecs()
    assert choices.left_out() == []
    (bundle / "transformer").rename(models / "mgt" / "alone")
    shutil.rmtree(bundle)
    alone = models / "mgt" / "alone"
    (alone / ".cache" / "huggingface" / "download").mkdir(parents=True)
    weights_file(alone).rename(alone / ".cache" / "huggingface" / "download" / "x.incomplete")
    assert offered("MGTLoadModel", "model") == [*BUILT_IN, "alone — unfinished download"]


def lora(folder: Path) -> Path:
    return save_peft(folder, low_rank_pairs(mgt_core.load(WHOLE, **HERE).model.network), 8.0).parent


@pytest.mark.parametrize("name", ["org/lora/adapter_model.safetensors", "models--org--lora/adapter_model.safetensors"])
def test_loras(models, tmp_path, name):
    for revision, main in ((FIRST, True), (SECOND, False)):
        cached(models / "loras", "org/lora", lora(tmp_path / "lora"), revision, main=main)
    assert offered("MGTLoadLoRA", "lora") == ["none", "org/lora/adapter_model.safetensors"]
    tiny(models / "mgt", tmp_path)
    model = run("MGTLoadModel", model="org/tiny")[0]
    old = f"models--org--lora/snapshots/{FIRST}/adapter_model.safetensors"
    for value in (name, old):
        assert NODES["MGTLoadLoRA"].VALIDATE_INPUTS(value) is True
        (held,) = run("MGTLoadLoRA", model=model, lora=value)[0].loras
        assert held.name == "org/lora/adapter_model"


def test_loras_without_a_host(outside, tmp_path):
    for revision, main in ((FIRST, False), (SECOND, True)):
        cached(outside, "org/lora", lora(tmp_path / "lora"), revision, main=main)
    assert list(host.loras()) == ["org/lora/adapter_model.safetensors"]
    assert SECOND in host.loras()["org/lora/adapter_model.safetensors"]


def test_links_in_a_cache_that_lead_elsewhere(models, tmp_path):
    """A snapshot that is a link is looked at as any linked folder is, and not entered in place of the model's."""
    elsewhere = copy_bundle(tmp_path / "elsewhere")
    repository = tiny(models / "mgt", tmp_path, main=False, age=100)
    (repository / "snapshots" / SECOND).symlink_to(elsewhere)
    (repository / "refs" / "main").write_text(SECOND)
    assert host.bundles() == {**{name: name for name in BUILT_IN}, "org/tiny": str(repository / "snapshots" / FIRST)}
    (repository / "snapshots" / FIRST / "loop").symlink_to(models / "mgt")
    assert list(host.bundles()) == [*BUILT_IN, "org/tiny"]


def test_of_two_caches_the_first_counts(models, tmp_path):
    for place in ("a", "b"):
        tiny(models / "mgt" / place, tmp_path)
    assert list(host.bundles()) == [*BUILT_IN, "org/tiny"] and "/mgt/a/" in host.bundles()["org/tiny"]
