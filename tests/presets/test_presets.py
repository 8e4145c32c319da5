"""Presets: those of the pack fit their models, and files of one's own are read, or refused in one sentence."""

import json
import math
import re
import sys
from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mgt_core
from bench.speed.rows import APPROXIMATE, attach_all
from mgt_core.errors import MGTError
from mgt_core.presets import FALLBACK, Preset, attached, attachment_from, built_in_settings, preset_files
from mgt_core.sampling.stages import stage_steps
from support.bundles import amused_bundle, copy_bundle, halton_bundle, muddit_bundle, openmuse_bundle
from support.device import HERE
from support.editmgt import editmgt_bundle
from support.golden import OWN, bundles
from support.golden_magnet import after_projection
from support.pack import ALIAS, ROOT, load_pack
from support.stand_ins import make_stand_ins

FILES = preset_files([ROOT / "presets"])
NODE = load_pack().NODE_CLASS_MAPPINGS["MGTPreset"]
FAST = [name for name in FILES if name.endswith("-fast")]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A small model of every family that has presets."""
    folder = make_stand_ins(tmp_path_factory.mktemp("models"))
    names = {
        "meissonic": "Meissonic",
        "editmgt": "editmgt",
        "amused": "amused-512",
        "halton": "ImageNet_384_large.pth",
        "openmuse": "UnlockMGM_imagenet_256",
        "muddit": "muddit/1024",
        "lumina_dimoo": "lumina-dimoo",
    }
    return {family: mgt_core.load(folder[name], **HERE) for family, name in names.items()}


def written(folder, **held):
    path = folder / "mine.json"
    path.write_text(json.dumps({"description": "mine"} | held))
    return path


@pytest.mark.parametrize("name", FILES)
def test_each_preset_says_what_it_is_for(name):
    preset = Preset.read(FILES[name])
    assert preset.models and 10 < len(preset.description) < 120 and not preset.description.endswith(".")


# As people download them -> their family and what makes a tiny one.
LAYOUTS = {
    "Meissonic, 1024 px": ("meissonic", lambda folder: copy_bundle(folder, layout_of("downsample", True))),
    "Monetico, 512 px": ("meissonic", lambda folder: copy_bundle(folder, layout_of("downsample", False))),
    "Muddit": ("muddit", muddit_bundle),
    "aMUSEd 512": ("amused", amused_bundle),
    "aMUSEd 256": ("amused", lambda folder: amused_bundle(folder, downsample=False)),
    "UnlockMGM folders, pickles": ("openmuse", openmuse_bundle),
    "UnlockMGM folders, safetensors": ("openmuse", lambda folder: openmuse_bundle(folder, pickled=False)),
    "Halton-MaskGIT files": ("halton", halton_bundle),
    "EditMGT": ("editmgt", editmgt_bundle),
}


def layout_of(name, value):
    """A golden bundle whose transformer's config says so."""
    configs = {folder: json.loads((folder / "transformer" / "config.json").read_text()) for folder in bundles()}
    return next(folder for folder, config in configs.items() if config.get(name) == value)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    root = tmp_path_factory.mktemp("layouts")
    return cache(lambda name: mgt_core.load(LAYOUTS[name][1](root / name), **HERE))


@pytest.mark.parametrize(
    ("name", "layout"),
    [(n, layout) for n in FILES for layout, (family, _) in LAYOUTS.items() if family in Preset.read(FILES[n]).models],
)
def test_each_preset_runs_in_each_published_layout(published, name, layout):
    pipe = published(layout)
    fitted = Preset.read(FILES[name]).fitted(pipe.model)
    if pipe.text is None:
        labels = torch.tensor([1])
        positive, negative = mgt_core.Condition(labels=labels), mgt_core.Condition(labels=labels)
    else:
        positive, negative = pipe.text.encode("a cat"), pipe.text.encode(fitted.negative)
    state = mgt_core.empty_tokens(pipe, *pipe.size)
    settings = {"sampler": fitted.sampler, "schedule": fitted.schedule, "steps": 2, "cfg": fitted.cfg}
    out = mgt_core.sample(fitted.model, state, positive, negative, **settings)
    assert not bool(out.masked.any())
    assert pipe.model.attached() == []


def test_presets_of_the_built_in_model_are_its_own_settings():
    model = mgt_core.load("demo", **HERE).model
    fitted = Preset.read(FILES["built-in"]).fitted(model)
    own = built_in_settings()
    assert fitted.steps == own["steps"] == model.defaults["steps"] and fitted.cfg == own["cfg"] and not fitted.note
    assert fitted.sampler == mgt_core.MaskGIT(tuple(own["temperature"])).fitted(own)
    assert fitted.schedule is None  # the model's, or linear for inpainting
    assert own.keys() == FALLBACK.keys()


def test_the_recipe_exports_the_same_settings():
    from recipe.export import DEFAULTS

    assert {**FALLBACK, **DEFAULTS} == built_in_settings()


@pytest.mark.parametrize("name", FILES)
def test_every_preset_names_its_source(name):
    """A file of its authors' repository or of this pack."""
    source = Preset.read(FILES[name]).source
    assert ":" in source and (source.startswith("this pack") or re.match(r"[\w.-]+/[\w.-]+|diffusers:", source))


def test_published_values_by_family_and_size(models):
    """Evaluation of Halton-MaskGIT follows the size, UnlockMGM's temperature the grid."""
    halton, quick = (Preset.read(FILES[n]).fitted(models["halton"].model) for n in ("halton", "halton-quick-start"))
    assert halton.cfg == models["halton"].model.defaults["cfg"] and halton.sampler == mgt_core.FixedOrder(warmup=1)
    assert (quick.cfg, quick.sampler) == (3.0, mgt_core.FixedOrder(sharpness=(1.0, 1.2), roll=True))
    sampler = Preset.read(FILES["unlockmgm"]).fitted(models["openmuse"].model).sampler
    start = 25.0 if math.prod(models["openmuse"].model.network.trained_grid) <= 256 else 45.0
    wanted = mgt_core.MaskGIT((start, 0.0), temperature_shape="compounding", known_confidence=88.72)
    assert sampler == replace(wanted, draw_temperature=1.0)
    dimoo = Preset.read(FILES["lumina-dimoo"]).fitted(models["lumina_dimoo"].model)
    assert (dimoo.steps, dimoo.cfg, dimoo.sampler.draw_temperatures(2)) == (64, 5.0, [1.0, 1.0])
    assert Preset.read(FILES["monetico"]).steps == 48
    focused = {n: Preset.read(FILES[f"maskfocus-{n}"]) for n in ("hps", "geneval")}
    assert {n: (preset.steps, preset.cfg) for n, preset in focused.items()} == {"hps": (64, 9.0), "geneval": (64, 5.0)}
    muddit = Preset.read(FILES["muddit"]).fitted(models["muddit"].model)
    assert all(getattr(muddit, name) == models["muddit"].model.defaults[name] for name in ("steps", "cfg"))
    for name in ("meissonic-choices", "meissonic-choices-differential"):
        assert len(Preset.read(FILES[name]).patches) == 1  # pairs with the zigzag, not all stacked


@pytest.mark.parametrize(
    ("name", "counts", "temperature"),
    [
        ("magnet-10s", [20, 10, 10, 10], 3.0),
        ("magnet-30s", [60, 10, 10, 10], 3.0),
        ("magnet-sounds", [20, 10, 10, 10], 3.5),
    ],
)
def test_sounds_are_as_published(name, counts, temperature):
    fitted = Preset.read(FILES[name]).fitted(after_projection(OWN / "audio" / "magnet"))
    assert stage_steps(fitted.model, fitted.steps) == counts and fitted.schedule == mgt_core.SCHEDULES.get("magnet")()
    sounds = name == "magnet-sounds"
    assert fitted.sampler == mgt_core.Spans(temperature=temperature, top_p=0.8 if sounds else 0.9)
    guidances = fitted.model.guidances(fitted.cfg, counts[0])
    assert (guidances[0], guidances[-1]) == (20.0 if sounds else 10.0, 1.0)


@pytest.mark.parametrize("name", FAST)
def test_fast_is_everything_approximate(models, name):
    """The combination that the speed bench measures."""
    model = models["meissonic"].model
    assert Preset.read(FILES[name]).fitted(model).model.attached() == attach_all(APPROXIMATE, model).attached()


def test_meissonic_is_as_published(models):
    fitted = Preset.read(FILES["meissonic"]).fitted(models["meissonic"].model)
    assert (fitted.steps, fitted.cfg, fitted.schedule) == (64, 9.0, mgt_core.SCHEDULES.get("cosine")())
    assert fitted.sampler == mgt_core.MaskGIT((2.0, 0.0)).fitted(FALLBACK) and fitted.negative.startswith(
        "worst quality"
    )
    assert fitted.model.attached() == []


@given(
    steps=st.integers(1, 1000),
    cfg=st.floats(0, 100),
    ends=st.tuples(st.floats(0, 50), st.floats(0, 50)),
    amplitude=st.floats(0, 10),
    share=st.floats(0, 1),
)
def test_what_is_written_is_what_is_read(tmp_path_factory, steps, cfg, ends, amplitude, share):
    held = {"steps": steps, "cfg": cfg, "temperature": list(ends), "schedule": {"name": "pow", "exponent": 3}}
    patches = {"differential_sampling": {"share": share}, "noise_regularization": {"amplitude": amplitude}}
    read = Preset.read(written(tmp_path_factory.mktemp("p"), **held, patches=patches))
    assert (read.steps, read.cfg, read.temperature) == (steps, cfg, ends)
    assert read.patches == (mgt_core.DifferentialSampling(share), mgt_core.NoiseRegularization(amplitude))
    assert read.schedule == mgt_core.SCHEDULES.get("pow")(3)


def test_what_is_left_out_is_the_models_own(models, tmp_path):
    model = models["meissonic"].model
    fitted = Preset.read(written(tmp_path)).fitted(model)
    own = {**FALLBACK, **model.defaults}
    assert (fitted.steps, fitted.cfg) == (own["steps"], own["cfg"])
    assert fitted.sampler.temperature == tuple(own["temperature"]) and fitted.model == model


def test_patches_join_what_is_attached(models):
    model = models["meissonic"].model.with_modifier(mgt_core.TopKTopP(9)).with_token_cache(0.5)
    both = attached(model, (attachment_from("entropy_temperature", {}), attachment_from("token_cache", {"share": 0.1})))
    assert [type(m).__name__ for m in both.modifiers] == ["TopKTopP", "EntropyTemperature"]
    assert both.patch("token_cache") == mgt_core.TokenCache(0.1) and model.patch("token_cache") == mgt_core.TokenCache(
        0.5
    )


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ({"step": 3}, "it holds step; accepted are description, source, models"),
        ({"description": 3}, "description is 3; expected a text"),
        ({"steps": 0}, "steps is 0; accepted are whole numbers from 1"),
        ({"steps": "many"}, "steps is 'many'"),
        ({"cfg": None}, "cfg is None; accepted are numbers"),
        ({"temperature": [1, 2, 3]}, "temperature is .1, 2, 3.; expected one number or two"),
        ({"models": "meissonic"}, "models is 'meissonic'; expected a list of amused"),
        ({"models": ["dalle"]}, "backbone is 'dalle', but the known ones are amused"),
        ({"codes": -1}, "codes is -1"),
        ({"schedule": "sinus"}, "schedule is 'sinus', but the known ones are cosine"),
        ({"schedule": {"tau": 1}}, "schedule is None, but the known ones"),
        ({"schedule": {"name": "sigmoid", "width": 1}}, "sigmoid has no setting width; known are start"),
        ({"sampler": {"name": "halton", "order": "up"}}, "order is 'up'"),
        ({"sampler": "halton", "temperature": 1}, "temperature is 1, and its sampler has none"),
        ({"patches": ["token_cache"]}, "patches is .'token_cache'.; expected settings by name"),
        ({"patches": {"cache": {}}}, "patch is 'cache', but the known ones are .*token_merging"),
        ({"patches": {"token_cache": 0.1}}, "token_cache is 0.1; expected its settings by name"),
        ({"patches": {"token_cache": {"share": 2}}}, "share is 2; accepted are numbers from 0 to 1"),
        ({"negative": ["blurry"]}, "negative is .'blurry'.; expected a text"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_file_gets_one_sentence(tmp_path, held, words):
    with pytest.raises(MGTError, match=f"the preset mine.json: .*{words}") as told:
        Preset.read(written(tmp_path, **held))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("text", "words"), [("{", "is not valid JSON"), ("[]", "holds list"), ("{}", "no description")]
)
def test_what_is_no_preset_gets_one_sentence(tmp_path, text, words):
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(MGTError, match=words):
        Preset.read(path)


def test_another_family_is_refused_and_another_model_is_noted(models):
    with pytest.raises(MGTError, match="the preset amused is for amused models, and this one is meissonic"):
        Preset.read(FILES["amused"]).fitted(models["meissonic"].model)
    note = Preset.read(FILES["built-in"]).fitted(models["meissonic"].model).note
    assert note.startswith("the preset built-in was made for models of 1024 codes; this one has")


def test_a_file_of_ones_own_appears(models, tmp_path, monkeypatch):
    host = sys.modules[f"{ALIAS}.nodes.host"]
    folder = tmp_path / "presets"
    folder.mkdir()
    path = written(folder, models=["meissonic"], steps=7, negative="blurry")
    monkeypatch.setattr(host, "_search_paths", lambda: [("mgt", tmp_path, 3)])
    choices = NODE.INPUT_TYPES()["required"]["preset"][0]
    assert choices == [*FILES, "mine"]
    found = NODE().fit(models["meissonic"].model, "mine")
    assert found["result"][3:] == (7, FALLBACK["cfg"], "blurry")
    path.write_text("{")
    assert NODE.INPUT_TYPES()["required"]["preset"][0] == choices  # a broken one breaks nothing but itself
    with pytest.raises(MGTError, match="mine.json is not valid JSON"):
        NODE().fit(models["meissonic"].model, "mine")
    with pytest.raises(MGTError, match="preset is 'yours', but the known ones are"):
        NODE().fit(models["meissonic"].model, "yours")


def test_the_tooltip_tells_of_each(pack):
    tooltip = NODE.INPUT_TYPES()["required"]["preset"][1]["tooltip"]
    assert all(f"{name}: {Preset.read(path).description}" in tooltip for name, path in FILES.items())


def test_presets_go_where_the_pack_goes():
    """The registry's archive leaves out what .comfyignore names."""
    ignored = (ROOT / ".comfyignore").read_text().split()
    assert ignored and not [line for line in ignored if "presets" in line]
