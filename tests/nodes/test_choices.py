"""What is no model: listed with its reason where models of ours lie, and refused in one sentence wherever it lies."""

import json
import os
import re
import shutil
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import mgt_core
import run_workflow
from mgt_core.errors import shown_text
from mgt_core.loading import part as parts
from mgt_core.loading.layouts import BUILT_IN
from mgt_core.loading.repositories import ENCODER, REPOSITORIES, published
from support.bundles import copy_bundle, halton_bundle, openmuse_bundle, weights_file
from support.encoders import clip_model
from support.fake_comfy import FakeFolderPaths
from support.foreign import FOREIGN, weights
from support.node_runs import NODES, report, run
from support.pack import ALIAS, ROOT

choices = sys.modules[f"{ALIAS}.nodes.choices"]
host = sys.modules[f"{ALIAS}.nodes.host"]
KINDS = ("mgt", "diffusers", "diffusion_models", "checkpoints", "text_encoders", "vae", "loras")
LOADER = NODES["MGTLoadModel"]


@pytest.fixture
def models(tmp_path, monkeypatch):
    """ComfyUI's models folder, with one bundle."""
    for kind in KINDS:
        (tmp_path / kind).mkdir()
    copy_bundle(tmp_path / "mgt" / "good")
    found = FakeFolderPaths(tmp_path, **{kind: [tmp_path / kind] for kind in KINDS})
    found.get_filename_list = lambda kind: [file.name for file in (tmp_path / kind).iterdir() if file.is_file()]
    found.get_full_path = lambda kind, name: str(tmp_path / kind / name)
    monkeypatch.setitem(sys.modules, "folder_paths", found)
    return tmp_path


def offered() -> list[str]:
    return LOADER.INPUT_TYPES()["required"]["model"][0]


@pytest.mark.parametrize("name", FOREIGN)
def test_what_lies_among_models_is_listed_with_its_reason(models, name):
    make, short, long = FOREIGN[name]
    make(models / "mgt" / name)
    assert offered() == [*BUILT_IN, "good", f"{name} — {short}"]
    assert list(host.bundles()) == [*BUILT_IN, "good"]
    for value in (f"{name} — {short}", name):
        told = LOADER.VALIDATE_INPUTS(value)
        assert told.startswith(f"'{name}' {long}") and told.endswith("such as Meissonic or aMUSEd"), told
        assert "\n" not in told and str(models) not in told and len(told) < 300
        with pytest.raises(mgt_core.MGTError, match=f"^model '{re.escape(name)}' is "):
            run("MGTLoadModel", model=value)


@pytest.mark.parametrize("kind", ["checkpoints", "diffusers", "diffusion_models", "loras", "vae"])
@pytest.mark.parametrize("name", FOREIGN)
def test_what_lies_in_shared_folders_is_not_listed_but_refused_with_its_reason(models, name, kind):
    make, _, long = FOREIGN[name]
    (models / kind / "deeper").mkdir()
    make(models / kind / "deeper" / name)
    assert offered() == [*BUILT_IN, "good"]
    for value in (f"deeper/{name}", f"{kind}/deeper/{name}"):
        assert LOADER.VALIDATE_INPUTS(value).startswith(f"'{value}' {long}")


def test_a_file_that_has_become_good_is_taken_by_the_name_that_was_saved(models):
    (models / "mgt" / "good" / "transformer").rename(models / "mgt" / "alone")
    file = weights_file(models / "mgt" / "alone")
    data = file.read_bytes()
    file.write_bytes(data[:-7])
    (saved,) = [name for name in offered() if name.startswith("alone — ")]
    assert "is a folder without readable weights" in LOADER.VALIDATE_INPUTS(saved)
    file.write_bytes(data)
    assert "alone" in offered() and LOADER.VALIDATE_INPUTS(saved) is True


def test_parts_of_models_are_no_strangers(models):
    openmuse_bundle(models / "mgt" / "muse")
    halton_bundle(models / "mgt" / "files")
    clip_model(models / "mgt" / "clip")
    shutil.copytree(models / "mgt" / "good" / "vqvae", models / "mgt" / "codec")
    (models / "mgt" / "self_guidance").mkdir()
    weights("a")(models / "mgt" / "self_guidance" / "branch.safetensors")
    assert [name for name in offered() if choices.BEHIND in name] == []
    assert "is a codec alone: choose it as codec" in LOADER.VALIDATE_INPUTS("codec")
    assert "is a text encoder alone: choose it as text_encoder" in LOADER.VALIDATE_INPUTS("clip")


def test_around_a_model_that_lies_right_in_the_folder(models):
    shutil.copytree(models / "mgt" / "good", models / "mgt", dirs_exist_ok=True)
    (models / "mgt" / "self_guidance").mkdir()
    weights("cls_anchor_gen.a")(models / "mgt" / "self_guidance" / "branch.safetensors")
    weights("double_blocks.0")(models / "mgt" / "flux.safetensors")
    assert [name for name in offered() if choices.BEHIND in name] == ["flux.safetensors — not an MGT: Flux"]
    assert "is Flux" in LOADER.VALIDATE_INPUTS("flux.safetensors")
    assert LOADER.VALIDATE_INPUTS("vqvae") == "'vqvae' is a part of 'mgt': choose that"


def test_a_file_that_may_not_be_read_is_listed_with_that(models, monkeypatch):
    weights("a")(models / "mgt" / "locked.safetensors")
    opens = os.open

    def refused(path, *args, **kwargs):
        if Path(path).name == "locked.safetensors":
            raise PermissionError(13, "Permission denied")
        return opens(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refused)
    assert "locked.safetensors — no readable file of tensors" in offered()
    assert "cannot be read (Permission denied)" in LOADER.VALIDATE_INPUTS("locked.safetensors")


def test_of_very_many_the_first_are_listed(models, monkeypatch):
    monkeypatch.setattr(choices, "MOST", 3)
    for number in range(9):
        weights("double_blocks.0")(models / "mgt" / f"{number}.safetensors")
    assert offered() == [*BUILT_IN, "good", *(f"{number}.safetensors — not an MGT: Flux" for number in range(3))]
    assert "is Flux" in LOADER.VALIDATE_INPUTS("7.safetensors")
    assert "- and 6 more in models/mgt" in choices.left_out()


def test_lists_stay_fast_among_many_checkpoints(models, monkeypatch):
    names = [f"model.diffusion_model.input_blocks.{number}.weight" for number in range(1500)]
    save_file({name: torch.zeros(1) for name in [*names, "conditioner.embedders.0.a"]}, models / "one.safetensors")
    for kind in ("mgt", "checkpoints"):
        for number in range(100):
            (models / kind / f"{number}.safetensors").hardlink_to(models / "one.safetensors")
    offered()
    reads = []
    monkeypatch.setattr(parts, "index_weights", lambda path: reads.append(path))
    began = time.perf_counter()
    assert len(offered()) == len(BUILT_IN) + 1 + choices.MOST
    assert time.perf_counter() - began < 2 and reads == []


def test_names_that_lead_out_of_the_folders(models):
    weights("double_blocks.0")(models / "secret.safetensors")
    for name in ("../secret.safetensors", str(models / "secret.safetensors"), "a\0b", "\ud800", "", " ", "x" * 5000):
        assert "is not there" in LOADER.VALIDATE_INPUTS(name)
    assert "expected one of the choices" in LOADER.VALIDATE_INPUTS(["a"])


@pytest.mark.parametrize(
    ("node", "widget", "value"),
    [
        ("MGTLoadTextEncoder", "text_encoder", "t5.safetensors"),
        ("MGTLoadLoRA", "lora", "gone.safetensors"),
        ("MGTLoadSelfGuidance", "branch", "self_guidance/gone.safetensors"),
    ],
)
def test_other_loaders_refuse_too(models, node, widget, value):
    assert f"'{value}' is not there" in NODES[node].VALIDATE_INPUTS(value)
    assert NODES[node].VALIDATE_INPUTS(None) is True
    (default, *_), _ = {**NODES[node].INPUT_TYPES()["required"]}[widget]
    assert NODES[node].VALIDATE_INPUTS(default) is True


def test_a_text_encoder_of_another_kind_is_told(models):
    FOREIGN["t5xxl.safetensors"][0](models / "text_encoders" / "t5xxl.safetensors")
    told = NODES["MGTLoadTextEncoder"].VALIDATE_INPUTS("t5xxl.safetensors")
    assert told.startswith("'t5xxl.safetensors' is a T5 text encoder")
    assert told.endswith("a text encoder of CLIP, or a folder of T5 with its config.json and tokenizer.json")


@pytest.mark.parametrize("model", REPOSITORIES, ids=lambda model: model.name)
def test_a_published_model_that_is_not_there_says_what_to_get(models, model):
    told = LOADER.VALIDATE_INPUTS(model.name)
    assert told.startswith(f"'{model.name}' is not there: download ") and model.source in told
    assert str(models / model.folder) in told and len(told) <= 480


def test_what_to_get_of_meissonic(models):
    told = LOADER.VALIDATE_INPUTS("Meissonic")
    first = (
        "'Meissonic' is not there: download MeissonFlow/Meissonic (the folders transformer, vqvae, tokenizer, "
        f"scheduler) into {models / 'mgt' / 'Meissonic'}"
    )
    assert told.startswith(f"{first}, and model.safetensors of laion/CLIP-ViT-H-14-laion2B-s32B-b79K as ")
    clip_model(models / "clip")
    (models / "clip" / "model.safetensors").rename(models / "text_encoders" / ENCODER)
    assert LOADER.VALIDATE_INPUTS("Meissonic") == first
    for value in ("MeissonFlow/Meissonic", "diffusers/Meissonic", "mine/meissonic"):
        assert "download MeissonFlow/Meissonic (" in LOADER.VALIDATE_INPUTS(value)
    # Its own text encoder is wanted where it is chosen as one.
    assert "vqvae, text_encoder, tokenizer" in NODES["MGTLoadTextEncoder"].VALIDATE_INPUTS("Meissonic")
    with pytest.raises(mgt_core.MGTError, match="^base 'Meissonic' is not there: download MeissonFlow/Meissonic"):
        run("MGTLoadModel", model="demo", base="Meissonic")


@pytest.mark.parametrize("name", ["mgt/good", "good/", "loop/good"])
def test_another_way_to_a_choice_is_told_as_that(models, name):
    (models / "mgt" / "loop").symlink_to(models / "mgt")
    assert LOADER.VALIDATE_INPUTS(name) == f"'{name}' is 'good': choose that"
    assert LOADER.VALIDATE_INPUTS("good/vqvae") == "'good/vqvae' is a part of 'good': choose that"


def test_what_a_published_model_is_called_elsewhere_is_not_to_be_downloaded_again(models):
    (models / "mgt" / "good").rename(models / "mgt" / "Meissonic")
    for value in ("diffusers/somewhere/Meissonic", "MeissonFlow/Meissonic"):
        assert LOADER.VALIDATE_INPUTS(value).startswith(f"'{value}' is not there: the nearest name is 'Meissonic'; ")


def test_parts_that_lie_where_no_list_looks(models):
    """They are told from those that were chosen as something else."""
    codec = next(path for path in halton_bundle(models / "vae" / "files").parent.glob("vq*"))
    transformer = next(path for path in codec.parent.glob("Image*"))
    shutil.copytree(models / "mgt" / "good", models / "loras" / "whole")
    put = "put it into models/mgt"
    assert choices.answer("codec", f"files/{codec.name}").startswith(f"'files/{codec.name}' is a codec alone: {put}")
    assert f"is a transformer alone: {put}" in choices.answer("model", f"files/{transformer.name}")
    assert "is a transformer alone: choose it as model" in choices.answer("codec", f"files/{transformer.name}")
    assert f"is a whole model: {put}" in choices.answer("model", "whole")


@pytest.mark.parametrize("name", ["good ", "a  b", "a\nb", "\u202egood"])
def test_a_name_is_shown_as_it_is(models, name):
    assert LOADER.VALIDATE_INPUTS(name).startswith(f"{shown_text(repr(name))} is not there: ")


def test_the_nearest_name_is_told(models):
    assert f"the nearest name is 'good'; the choices are {', '.join(BUILT_IN)}, good" in LOADER.VALIDATE_INPUTS("goood")
    told = LOADER.VALIDATE_INPUTS("Meisonic")
    assert "the nearest name is 'Meissonic' (MeissonFlow/Meissonic, which is not there either)" in told


def test_the_table_says_what_the_readme_says():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for model in REPOSITORIES:
        assert model.source in readme
        assert published(model.name) is model and (not model.text_encoder or published(model.text_encoder))
    sources = {model.source for model in REPOSITORIES}
    rows = readme.split("| Model | Put into")[1].split("\n\n")[0]
    assert set(re.findall(r"`([\w-]+/[\w-]+)`", rows)) <= sources


def test_what_was_left_out_is_described(models):
    FOREIGN["sd_xl_base_1.0.safetensors"][0](models / "mgt" / "xl.safetensors")
    for number in range(5):
        weights("double_blocks.0")(models / "checkpoints" / f"flux{number}.safetensors")
    FOREIGN["sdxl"][0](models / "diffusers" / "sdxl")
    text = report("MGTDescribeModel", model=run("MGTLoadModel")[0])
    assert text.endswith(
        "Found, and none of the models that MGT Load Model takes:\n"
        "- xl.safetensors: not an MGT: Stable Diffusion XL (it belongs in models/checkpoints)\n"
        "- diffusers: Stable Diffusion XL (sdxl)\n"
        "- checkpoints: Flux (flux0.safetensors, flux1.safetensors, flux2.safetensors and 2 more)"
    )


def test_nothing_is_described_where_nothing_was_left_out(models):
    text = report("MGTDescribeModel", model=run("MGTLoadModel")[0])
    assert text.startswith("Recommended: ") and text.endswith("\nNothing is attached.")


def test_a_changed_file_is_read_again(models):
    def changed(**more):
        return LOADER.IS_CHANGED(model="good", dtype="auto", **more)

    before = changed()
    copy_bundle(models / "mgt" / "other")
    weights("a")(models / "mgt" / "new.safetensors")
    assert changed() == before and re.fullmatch(r"[0-9a-f]{16}", before)  # hosts keep it in pictures: no paths
    for name in ("transformer", "vqvae", "text_encoder"):
        file = weights_file(models / "mgt" / "good" / name)
        save_file(load_file(file), file.with_suffix(".new"))
        file.with_suffix(".new").replace(file)
        assert changed() != before, name
        before = changed()
    assert changed(codec="gone") == ""  # running says it, and it would name folders
    others = changed(text_encoder="other"), changed(codec="other"), changed(base="other")
    assert before not in others
    assert LOADER.IS_CHANGED(model="demo") == LOADER.IS_CHANGED(model="demo", text_encoder="from the bundle")
    assert LOADER.IS_CHANGED(model=None) == LOADER.IS_CHANGED()


def test_a_file_beside_its_codec_is_read_again(models):
    file = halton_bundle(models / "mgt" / "files")
    name = f"files/{file.name}"
    before = LOADER.IS_CHANGED(model=name)
    weights("a")(file.parent / "another.safetensors")
    assert LOADER.IS_CHANGED(model=name) == before
    codec = next(path for path in file.parent.glob("vq*"))
    torch.save(torch.load(codec, weights_only=True), codec)
    assert LOADER.IS_CHANGED(model=name) != before


@pytest.mark.parametrize(
    ("node", "widget", "folder"),
    [("MGTLoadLoRA", "lora", "loras"), ("MGTLoadSelfGuidance", "branch", "mgt/self_guidance")],
)
def test_a_changed_lora_or_branch_is_read_again(models, node, widget, folder):
    (models / folder).mkdir(exist_ok=True)
    file = models / folder / "a.safetensors"
    weights("a")(file)
    name = "a.safetensors" if widget == "lora" else "self_guidance/a.safetensors"
    before = NODES[node].IS_CHANGED(**{widget: name})
    assert NODES[node].IS_CHANGED(**{widget: name}, model=None) == before
    weights("a", "b")(file)
    assert NODES[node].IS_CHANGED(**{widget: name}) != before


def test_rare_widgets_are_folded_away():
    groups = LOADER.INPUT_TYPES()
    declared = {**groups["required"], **groups["optional"]}
    rare = {name for name, (_, options) in declared.items() if options.get("advanced")}
    assert rare == {"dtype", "codec"}  # base stands in sight, since published models need one


@pytest.mark.parametrize(
    ("values", "settings", "words"),
    [
        ({"model": "Monetico"}, (), "model - 'Monetico' is not there: download Collov-Labs/Monetico"),
        ({}, ("MGTLoadModel.model=Monetico",), "model - 'Monetico' is not there: download Collov-Labs/Monetico"),
        ({"text_encoder": ENCODER}, (), f"text_encoder '{ENCODER}' is not there: download model.safetensors of "),
        ({}, ("MGTLoadModel.codec=gone",), "codec 'gone' is not there: the choices are "),
    ],
)
def test_without_a_host_the_same_is_said(models, tmp_path, capsys, values, settings, words):
    """By run_workflow.py, of a file and of --set."""
    loader = {"model": "demo", "dtype": "auto", "quantization": "none", **values}
    prompt = {
        "1": {"class_type": "MGTLoadModel", "inputs": loader},
        "2": {"class_type": "MGTDescribeModel", "inputs": {"model": ["1", 0]}},
    }
    (tmp_path / "asked.json").write_text(json.dumps(prompt))
    chosen = [argument for setting in settings for argument in ("--set", setting)]
    assert run_workflow.main([str(tmp_path / "asked.json"), "--output", str(tmp_path / "output"), *chosen]) == 1
    assert words in capsys.readouterr().err
