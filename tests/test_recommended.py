"""What a run uses where nobody chooses: the settings of the weights."""

import math
from dataclasses import replace

import pytest
import torch

import mgt_core
from mgt_core import MaskGIT, settle
from mgt_core.backbones.halton import GUIDANCE
from mgt_core.recommended import FALLBACK, recommended, told
from support.bundles import edit_config
from support.device import HERE
from support.families import FAMILIES, blank
from support.node_runs import run

NOTHING = {"steps": 0, "cfg": -1.0}  # of MGT Sample: as the model recommends
SIZES = {"steps": 3, "cfg": 1.0}


@pytest.fixture(scope="module")
def pipes(tmp_path_factory):
    root = tmp_path_factory.mktemp("families")
    return {name: mgt_core.load(make(root / name), **HERE) for name, make in FAMILIES.items()}


def empty(pipe):
    return mgt_core.empty_tokens(pipe, *pipe.size) if pipe.size else blank(pipe, 1)


def inpainting(pipe):
    state = empty(pipe)
    tokens = state.tokens.clone()
    tokens[:, 0] = 1
    return replace(state, tokens=tokens, fixed=tokens != state.mask_id)


def test_each_family_is_run_as_its_authors_run_it(pipes):
    """Meissonic inference.py, diffusers' AmusedPipeline, UnlockMGM sample_sg_256/512.py, Halton-MaskGIT README."""
    found = {name: settle(pipe.model, empty(pipe)) for name, pipe in pipes.items()}
    assert (found["meissonic"].steps, found["meissonic"].cfg) == (
        64 if pipes["meissonic"].model.network.config.downsample else 48,
        9.0,
    )
    assert found["meissonic"].sampler.temperature == (2.0, 0.0)
    assert (found["amused"].steps, found["amused"].cfg) == (12, 10.0)
    halton = pipes["halton"].model.network.config
    assert (found["halton"].steps, found["halton"].cfg) == (32, GUIDANCE.get(halton.hidden, 1.5))
    assert found["halton"].sampler == mgt_core.FixedOrder(warmup=1)
    assert (found["openmuse"].steps, found["openmuse"].cfg) == (18, 1.0)
    hot = found["openmuse"].sampler
    assert hot.temperature[0] in (25.0, 45.0) and hot.temperature_shape == "compounding"
    assert hot.known_confidence == pytest.approx(88.7228, abs=1e-4)
    for family, steps, cfg in (("show-o", 16, 2.75), ("mmada", 15, 4.5)):  # of 256 pixels, as the tiny one tells
        own = found[family]
        assert (own.steps, own.cfg, own.sampler.temperature_shape) == (steps, cfg, "compounding")
        assert own.sampler.temperatures(2) == [0.5, 0.0]
        assert own.sampler.known_confidence == pytest.approx(88.7228, abs=1e-4)
    sound = found["magnet"]
    assert (sound.steps, sound.cfg, sound.sampler) == (50, 10.0, mgt_core.Spans())
    assert pipes["magnet"].model.guidances(10.0, 3) == pytest.approx([10.0, 1 + 9 * math.cos(math.pi / 4), 1.0])
    both = found["lumina_dimoo"].sampler
    assert both.temperatures(9) == both.draw_temperatures(9) == [1.0] * 9


def test_the_built_in_model_keeps_its_own():
    pipe = mgt_core.load("demo", **HERE)
    found = settle(pipe.model, empty(pipe))
    assert (found.steps, found.cfg, found.sampler.temperature) == (24, 2.0, (0.5, 0.0))


def test_a_bundle_names_its_schedule(tmp_path):
    """As published scheduler configs do; the bundle's defaults, which this pack writes, come before."""
    folder = FAMILIES["meissonic"](tmp_path / "bundle")
    for held, expected in (
        ({"masking_schedule": "linear"}, "linear"),
        ({"masking_schedule": "unheard of"}, "cosine"),
        ({"masking_schedule": "linear", "defaults": {"schedule": "square"}}, "square"),
    ):
        edit_config(folder / "scheduler", **held)
        pipe = mgt_core.load(folder, **HERE)
        assert settle(pipe.model, empty(pipe)).schedule == mgt_core.SCHEDULES.get(expected)()


def test_the_one_step_sampler_brings_its_own(pipes):
    """Weights distilled for it cannot be told from Meissonic's."""
    pipe = pipes["meissonic"]
    found = settle(pipe.model, empty(pipe), sampler="one_step")
    assert (found.steps, found.cfg) == (1, 1.0)
    assert settle(pipe.model, empty(pipe), sampler="one_step", cfg=3.0).cfg == 3.0


@pytest.mark.parametrize("family", FAMILIES)
def test_inpainting_goes_by_the_linear_schedule(pipes, family):
    """But where its authors say another."""
    pipe = pipes[family]
    published = "cosine" if family in ("editmgt", "lumina_dimoo", "mmada", "show-o") else "linear"
    published = "magnet" if family == "magnet" else published
    assert settle(pipe.model, inpainting(pipe)).schedule == mgt_core.SCHEDULES.get(published)()
    own = mgt_core.SCHEDULES.get(recommended(pipe.model)["schedule"])()
    assert settle(pipe.model, empty(pipe)).schedule == own
    assert settle(pipe.model, inpainting(pipe), schedule="cosine").schedule == mgt_core.SCHEDULES.get("cosine")()


def test_a_model_that_says_nothing_is_run_as_ever(pipes):
    model = mgt_core.MGTModel(pipes["meissonic"].model.network, pixels_per_token=8)
    found = settle(model, empty(pipes["meissonic"]))
    assert (found.steps, found.cfg, found.sampler.temperature) == (48, 9.0, (2.0, 0.0))
    assert recommended(model) == FALLBACK


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_chosen_stands(pipes, family):
    pipe, sampler = pipes[family], MaskGIT((3.0, 1.0), temperature_shape="late", known_confidence=7.0)
    sampler = replace(sampler, draw_temperature=0.8)
    found = settle(pipe.model, empty(pipe), sampler=sampler, schedule="square", steps=5, cfg=3.0)
    assert (found.steps, found.cfg, found.sampler) == (5, 3.0, sampler)
    assert found.schedule == mgt_core.SCHEDULES.get("square")()


def test_one_end_may_be_left_open(pipes):
    own = recommended(pipes["openmuse"].model)
    fitted = MaskGIT((None, 1.0)).fitted(own)
    assert fitted.temperature == (own["temperature"][0], 1.0) and fitted.temperature_shape == "compounding"


def test_known_confidence_goes_with_the_temperature(pipes):
    """A chosen temperature, as every workflow saved before has it, keeps known tokens for good."""
    own = recommended(pipes["openmuse"].model)
    assert MaskGIT((25.0, 0.0)).fitted(own).known_confidence == math.inf
    assert MaskGIT().fitted(own).known_confidence == own["known_confidence"]
    assert MaskGIT(known_confidence=3.0).fitted(own).known_confidence == 3.0


@pytest.mark.parametrize("family", ["meissonic", "amused"])
def test_nodes_left_alone_do_what_the_library_does(pipes, family):
    pipe = pipes[family]
    pipe = pipe.__class__(**{**vars(pipe), "model": with_steps(pipe.model, 3)})
    positive = run("MGTTextEncode", text="a cat", text_encoder=pipe.text)[0]
    negative = run("MGTTextEncode", text="", text_encoder=pipe.text)[0]
    extra = {}
    sampler = run("MGTSamplerMaskGIT")[0]
    tokens, calls, _ = run(
        "MGTSample",
        model=pipe.model,
        positive=positive,
        negative=negative,
        tokens=empty(pipe),
        sampler=sampler,
        unique_id="7",
        extra_pnginfo=extra,
    )
    expected = mgt_core.sample(pipe.model, empty(pipe), pipe.text.encode("a cat"), pipe.text.encode(""))
    assert calls == 3 and torch.equal(tokens.tokens, expected.tokens)
    noted = extra["mgt_settings"]["7"]
    assert (noted["seed"], noted["steps"], noted["cfg"]) == (0, 3, recommended(pipe.model)["cfg"])
    assert "temperature=(2.0, 0.0)" in noted["sampler"]


def with_steps(model, steps):
    return model.__class__(**{**vars(model), "defaults": {**model.defaults, "steps": steps}})


def test_metadata_is_left_alone_where_there_is_none(pipes):
    """A prompt in API format comes without."""
    pipe = pipes["meissonic"]
    conditions = {k: run("MGTTextEncode", text="", text_encoder=pipe.text)[0] for k in ("positive", "negative")}
    run("MGTSample", model=pipe.model, tokens=empty(pipe), steps=1, cfg=2.0, extra_pnginfo=None, **conditions)


@pytest.mark.parametrize(
    "bad", [{"steps": "many"}, {"steps": 0}, {"cfg": "strong"}, {"temperature": [1, 2, 3]}, {"sampler_settings": 5}]
)
def test_a_bundle_with_bad_settings_is_refused(tmp_path, bad):
    folder = FAMILIES["meissonic"](tmp_path / "bundle")
    edit_config(folder / "scheduler", defaults=bad)
    with pytest.raises(mgt_core.MGTError, match=f"scheduler_config.json has defaults .*{next(iter(bad))}"):
        mgt_core.load(folder, **HERE)


def test_a_sampler_with_a_temperature_of_its_own_is_told_with_it():
    own = {"sampler": "magnet", "sampler_settings": {"temperature": 1.5}}
    said = told({**FALLBACK, **own})
    assert "sampler magnet (span length 3, " in said and "temperature 1.5," in said and "2 to 0" not in said


@pytest.mark.parametrize("bad", [{"steps": "many"}, {"cfg": "strong"}, {"temperature": "hot"}, {"schedule": "bend"}])
def test_bad_settings_of_a_bundle_are_named(pipes, bad):
    model = pipes["meissonic"].model
    model = model.__class__(**{**vars(model), "defaults": {**model.defaults, **bad}})
    with pytest.raises(mgt_core.MGTError, match=next(iter(bad))):
        settle(model, empty(pipes["meissonic"]))
