"""The nodes of design choices and inspection: each makes the library's object, and nothing more."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import mgt_core
from mgt_core import (
    CustomCurve,
    GuidanceSchedule,
    MaskedZSampling,
    MaskGIT,
    Momentum,
    OneStep,
    Ordered,
    ZSampling,
)
from mgt_core.presets import built_in_settings
from mgt_core.views.plots import schedule_label, schedule_plot
from support.golden import bundles, pipeline
from support.node_runs import run
from support.pack import ALIAS, load_pack

NODES = load_pack().NODE_CLASS_MAPPINGS
PIPE = pipeline(bundles()[0])
UNIT = PIPE.model.pixels_per_token * PIPE.model.grid_multiple

MODIFIERS = {
    "MGTNoiseRegularization": (
        mgt_core.NoiseRegularization,
        {"amplitude": 0.5, "shape": "linear", "start": 0.1, "end": 0.9},
    ),
    "MGTDifferentialSampling": (
        mgt_core.DifferentialSampling,
        {"share": 0.2, "positions": "masked", "start": 0.1, "end": 0.9},
    ),
    "MGTEntropyTemperature": (
        mgt_core.EntropyTemperature,
        {"scale": 1.0, "decay": 2.0, "floor": 0.5, "start": 0.1, "end": 0.9},
    ),
    "MGTTopKTopP": (mgt_core.TopKTopP, {"k": 9, "p": 0.8, "start": 0.1, "end": 0.9}),
}
TEMPERATURE = {"temperature_start": 3.0, "temperature_end": 1.0, "temperature_shape": "late"}
SAMPLERS = {
    "MGTSamplerMaskGIT": (MaskGIT, {}),
    "MGTSamplerMaskedZ": (MaskedZSampling, {"inversion_cfg": 1.0, "candidates": 0.5, "start": 0.1, "end": 0.9}),
    "MGTSamplerZ": (ZSampling, {"start": 0.1, "end": 0.9}),
    "MGTSamplerMomentum": (Momentum, {"momentum": 0.3}),
}
OTHER_SAMPLERS = {
    "MGTSamplerHalton": (
        {"order": "random", "counts": "schedule", "roll": True}
        | {"sharpness_start": 1.5, "sharpness_end": 2.0, "sharpness_power": 2.0, "warmup": 3},
        Ordered("random", True, "schedule", (1.5, 2.0), 2.0, 3),
    ),
    "MGTSamplerOneStep": ({"masked": 0.5, "noise": 0.2}, OneStep(0.5, 0.2)),
}


# Patches


@pytest.mark.parametrize("name", MODIFIERS)
@pytest.mark.parametrize("chosen", ["defaults", "others"])
def test_patch_attaches_the_modifier_to_a_copy(name, chosen):
    modifier, settings = MODIFIERS[name]
    settings = settings if chosen == "others" else {}
    first = PIPE.model.with_modifier(mgt_core.TopKTopP(3))
    model = run(name, model=first, **settings)[0]
    assert model.modifiers == (mgt_core.TopKTopP(3), modifier(**settings))
    assert len(first.modifiers) == 1
    assert model.network is first.network


def test_guidance_schedule_is_attached_and_replaced():
    first = run("MGTGuidanceSchedule", model=PIPE.model)[0]
    assert first.guidance == GuidanceSchedule()
    chosen = {"start": 0.1, "end": 0.9, "shape": "rising", "outside": 0.5}
    assert run("MGTGuidanceSchedule", model=first, **chosen)[0].guidance == GuidanceSchedule(**chosen)
    assert PIPE.model.guidance is None


def test_self_guidance_is_attached_and_replaced():
    branch = run("MGTLoadSelfGuidance", model=PIPE.model, branch="blank canvas")[0]
    first = run("MGTSelfGuidance", model=PIPE.model, branch=branch)[0]
    assert first.self_guidance == mgt_core.SelfGuidance(branch)
    chosen = {"scale": 0.5, "start": 0.1, "end": 0.9}
    again = run("MGTSelfGuidance", model=first, branch=branch, **chosen)[0]
    assert again.self_guidance == mgt_core.SelfGuidance(branch, **chosen)
    assert PIPE.model.self_guidance is None and again.network is PIPE.model.network


def test_branches_that_can_be_picked(tmp_path, monkeypatch):
    """None at all, the models, and the files of their folder; one for another model is refused."""
    host = sys.modules[f"{ALIAS}.nodes.host"]
    monkeypatch.setattr(host, "PACK", tmp_path)
    folder = tmp_path / "models" / "mgt" / "self_guidance"
    folder.mkdir(parents=True)
    own = mgt_core.fresh_branch(PIPE.model.network, seed=3)
    save_file(own.state_dict(), folder / "mine.safetensors")
    assert list(host.branches()) == ["blank canvas", "demo", "self_guidance/mine.safetensors"]
    loaded = run("MGTLoadSelfGuidance", model=PIPE.model, branch="self_guidance/mine.safetensors")[0]
    assert all(torch.equal(value, own.state_dict()[name]) for name, value in loaded.state_dict().items())
    with pytest.raises(mgt_core.MGTError, match="branch is 'gone', but the known ones are blank canvas, demo"):
        run("MGTLoadSelfGuidance", model=PIPE.model, branch="gone")
    wider = mgt_core.self_guidance.branch.PooledBranch(2, 8)
    with pytest.raises(mgt_core.MGTError, match="trained for another model"):
        run("MGTSelfGuidance", model=PIPE.model, branch=wider)


@pytest.mark.parametrize("name", [*MODIFIERS, "MGTGuidanceSchedule", "MGTSelfGuidance"])
def test_patches_can_be_bypassed(name):
    """ComfyUI hands the first input of an output's type through."""
    cls = NODES[name]
    declared = cls.INPUT_TYPES()["required"]
    assert next(iter(declared)) == "model" and declared["model"][0] == "MGT_MODEL"
    assert cls.RETURN_TYPES == ("MGT_MODEL",)
    assert cls.CATEGORY == "MGT/patches"


@pytest.mark.parametrize("name", [*MODIFIERS, "MGTGuidanceSchedule"])
def test_a_range_the_wrong_way_round_is_named(name):
    with pytest.raises(mgt_core.MGTError, match=r"starts at 0.8 and ends at 0.2") as error:
        run(name, model=PIPE.model, start=0.8, end=0.2)
    assert "\n" not in str(error.value)


# Samplers


@pytest.mark.parametrize("name", SAMPLERS)
def test_sampler_node_makes_the_sampler(name):
    sampler, settings = SAMPLERS[name]
    assert run(name)[0] == sampler(tuple(built_in_settings()["temperature"]))
    expected = sampler((3.0, 1.0), temperature_shape="late", **settings)
    assert run(name, **TEMPERATURE, **settings)[0] == expected


@pytest.mark.parametrize("name", OTHER_SAMPLERS)
def test_sampler_node_without_a_temperature(name):
    settings, expected = OTHER_SAMPLERS[name]
    assert run(name)[0] == type(expected)()
    assert run(name, **settings)[0] == expected


def test_experimental_says_so():
    assert "experimental" in load_pack().NODE_DISPLAY_NAME_MAPPINGS["MGTSamplerMomentum"]


def test_every_registered_part_has_a_node():
    assert {modifier for modifier, _ in MODIFIERS.values()} == {mgt_core.MODIFIERS.get(n) for n in mgt_core.MODIFIERS}
    made = {sampler for sampler, _ in SAMPLERS.values()} | {type(made) for _, made in OTHER_SAMPLERS.values()}
    assert made == {mgt_core.SAMPLERS.get(n) for n in mgt_core.SAMPLERS}


@pytest.fixture(scope="module")
def graph():
    """The inputs of MGT Sample for two small images."""
    return {
        "model": PIPE.model,
        "positive": run("MGTTextEncode", text="a red heart", text_encoder=PIPE.text)[0],
        "negative": run("MGTTextEncode", text="", text_encoder=PIPE.text)[0],
        "tokens": run("MGTEmptyTokens", model=PIPE.model, width=2 * UNIT, height=UNIT, batch_size=2)[0],
        "schedule": run("MGTMaskSchedule")[0],
        "sampler": run("MGTSamplerMaskGIT", temperature_start=2.0)[0],
        "steps": 3,
    }


@pytest.fixture(scope="module")
def filled(graph):
    return run("MGTSample", **graph)[0]


@pytest.fixture(scope="module")
def image(filled):
    return run("MGTDecode", tokens=filled, codec=PIPE.codec)[0]


@pytest.mark.parametrize(
    ("name", "calls", "passes"),
    [
        ("MGTSamplerMaskGIT", 3, 6),
        ("MGTSamplerMomentum", 3, 6),
        ("MGTSamplerZ", 5, 10),
        ("MGTSamplerMaskedZ", 7, 12),
    ],
)
def test_sample_counts_its_cost(graph, name, calls, passes):
    tokens, *counted = run("MGTSample", **{**graph, "sampler": run(name)[0]})
    assert counted == [calls, passes]
    assert not tokens.masked.any()


def test_nothing_to_fill_costs_nothing(graph, filled):
    assert run("MGTSample", **{**graph, "tokens": filled})[1] == 0


# Schedules


@pytest.mark.parametrize("name", mgt_core.list_schedules())
def test_schedule_parameters_reach_their_family_only(name):
    if name == "custom":
        assert name not in NODES["MGTMaskSchedule"].INPUT_TYPES()["required"]["schedule"][0]
        return
    family = mgt_core.SCHEDULES.get(name)
    own = {"pow": {"exponent": 3.0}, "sigmoid": {"start": -1.0, "end": 5.0, "tau": 0.5}}.get(name, {})
    widgets = {"exponent": 3.0, "sigmoid_start": -1.0, "sigmoid_end": 5.0, "sigmoid_tau": 0.5}
    assert run("MGTMaskSchedule", schedule=name)[0] == family()
    assert run("MGTMaskSchedule", schedule=name, **widgets)[0] == family(**own)


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("0 1\n1 0", ((0, 1), (1, 0))),
        ("0,1\n 0.5 , 0.25 \n\n1, 0\n", ((0, 1), (0.5, 0.25), (1, 0))),
        ("0\t1\r\n5e-1 .5\r\n1 0", ((0, 1), (0.5, 0.5), (1, 0))),
    ],
)
def test_custom_curve(text, points):
    assert run("MGTCustomCurve", points=text)[0] == CustomCurve(points)


def test_custom_curve_default_is_the_librarys():
    assert run("MGTCustomCurve")[0] == CustomCurve()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 1\n0.5 x\n1 0", "line 2 of points is '0.5 x'"),
        ("0 1 2\n1 0", "line 1 of points"),
        ("0 1\n\n0,5 0,5\n1 0", "line 3 of points is '0,5 0,5'"),
        ("", "must go from"),
        ("0 1", "must go from"),
        ("0 1\n0.9 0", "must go from"),
        ("0 1\n0.5 0.5\n0.4 0.2\n1 0", "out of order"),
        ("0 1\n0.5 0.2\n0.6 0.3\n1 0", "out of order"),
        ("0 1\nnan 0.3\n1 0", "out of order"),
    ],
)
def test_bad_curves_get_one_sentence(text, words):
    with pytest.raises(mgt_core.MGTError, match=words) as error:
        run("MGTCustomCurve", points=text)
    assert "\n" not in str(error.value)


# Plots


@pytest.mark.parametrize(
    ("schedule", "label"),
    [
        (mgt_core.SCHEDULES.get("cosine")(), "cosine"),
        (mgt_core.SCHEDULES.get("pow")(), "pow"),
        (mgt_core.SCHEDULES.get("pow")(3.5), "pow (exponent 3.5)"),
        (mgt_core.SCHEDULES.get("sigmoid")(tau=0.5, end=2.0), "sigmoid (end 2.0, tau 0.5)"),
        (mgt_core.SCHEDULES.get("exponential")(), "exponential"),
        (CustomCurve(((0, 1), (0.25, 0.5), (1, 0))), "custom (points 0 1, 0.25 0.5, 1 0)"),
    ],
)
def test_schedule_labels(schedule, label):
    assert schedule_label(schedule) == label


def test_plot_schedule(monkeypatch):
    pytest.importorskip("matplotlib")
    drawn = {}

    def spy(schedules, steps, tokens):
        drawn.update(names=list(schedules), steps=steps, tokens=tokens)
        return schedule_plot(schedules, steps, tokens)

    monkeypatch.setattr("mgt_core.views.plots.schedule_plot", spy)
    cosine, power = run("MGTMaskSchedule")[0], run("MGTMaskSchedule", schedule="pow", exponent=4.0)[0]
    wired = {"schedule_1": cosine, "schedule_2": power, "schedule_4": cosine}
    plot = run("MGTPlotSchedule", **wired, steps=5, token_count=64)[0]
    assert drawn == {"names": ["cosine", "pow (exponent 4.0)", "cosine #4"], "steps": 5, "tokens": 64}
    assert plot.shape == (1, 400, 1000, 3) and plot.dtype == torch.float32
    assert 0 <= plot.min() < plot.max() <= 1
    assert run("MGTPlotSchedule", schedule_1=cosine)[0].shape == plot.shape


def test_plots_without_matplotlib_say_what_is_missing(monkeypatch):
    for name in ("matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(mgt_core.MGTError, match="pip install matplotlib"):
        run("MGTPlotSchedule", schedule_1=run("MGTMaskSchedule")[0])


# Maps


@pytest.mark.parametrize("name", ["MGTRevealOrder", "MGTConfidenceMap"])
def test_maps_lie_over_the_image(filled, image, name):
    bare = run(name, tokens=filled, codec=PIPE.codec)[0]
    assert bare.shape == image.shape and 0 <= bare.min() < bare.max() <= 1
    over = {opacity: run(name, tokens=filled, codec=PIPE.codec, image=image, opacity=opacity)[0] for opacity in (0, 1)}
    torch.testing.assert_close(over[0], image)
    torch.testing.assert_close(over[1], bare)
    with pytest.raises(mgt_core.MGTError, match="the image has shape"):
        run(name, tokens=filled, codec=PIPE.codec, image=image[:, 1:])
    with pytest.raises(mgt_core.MGTError, match="the tokens carry no"):
        run(name, tokens=replace(filled, revealed_at=None, confidence=None), codec=PIPE.codec)


def test_reveal_order_shows_first_last_and_given(filled):
    at = torch.zeros_like(filled.revealed_at)
    at[:, 0, 0], at[:, 0, 1] = 7, -1
    drawn = run("MGTRevealOrder", tokens=replace(filled, revealed_at=at), codec=PIPE.codec)[0]
    cell = PIPE.codec.scale
    last, given, first = drawn[0, 0, 0], drawn[0, 0, cell], drawn[0, -1, -1]
    assert given.tolist() == [0.5, 0.5, 0.5]
    assert first.sum() < given.sum() < last.sum()


# Animation


class FakeFolderPaths:
    """What the host does to name a file in its temporary folder."""

    def __init__(self, folder):
        self.folder = folder

    def get_temp_directory(self):
        return str(self.folder)

    def get_save_image_path(self, prefix, folder):
        return folder, prefix, len(list(self.folder.iterdir())) + 1, "", prefix


def test_animation_ends_with_the_image(filled, image):
    answer = run("MGTSamplingAnimation", tokens=filled, codec=PIPE.codec, hold_last=0.0, batch_index=1)
    frames = answer["result"][0]
    assert answer["ui"] == {}  # nothing shows it
    assert frames.shape == (4, *image.shape[1:])  # before the first step, and after each
    torch.testing.assert_close(frames[-1], image[1], atol=0.5 / 255 + 1e-4, rtol=0)
    assert len({tuple(frame.flatten().tolist()) for frame in frames}) == 4
    held = run("MGTSamplingAnimation", tokens=filled, codec=PIPE.codec, frames_per_second=4.0, hold_last=1.5)
    assert len(held["result"][0]) == 4 + 6


def test_animation_is_shown_under_the_node(monkeypatch, tmp_path, filled):
    monkeypatch.setitem(sys.modules, "folder_paths", FakeFolderPaths(tmp_path))
    shown = run("MGTSamplingAnimation", tokens=filled, codec=PIPE.codec, frames_per_second=5.0, hold_last=0.4)["ui"]
    assert shown["animated"] == (True,)
    (entry,) = shown["images"]
    assert (entry["type"], entry["subfolder"]) == ("temp", "")
    with Image.open(tmp_path / entry["filename"]) as picture:
        assert picture.format == "WEBP" and picture.is_animated
        assert max(picture.size) >= 256 or max(picture.size) == max(filled.grid) * PIPE.codec.scale


def test_animation_can_be_cancelled(monkeypatch, filled):
    class Interrupted(Exception):
        pass

    def cancel():
        raise Interrupted

    management = SimpleNamespace(
        throw_exception_if_processing_interrupted=cancel, intermediate_device=lambda: torch.device("cpu")
    )
    monkeypatch.setitem(sys.modules, "comfy.model_management", management)
    with pytest.raises(Interrupted):
        run("MGTSamplingAnimation", tokens=filled, codec=PIPE.codec)


def test_animation_names_an_image_that_is_not_there(filled):
    with pytest.raises(mgt_core.MGTError, match="the image to animate is 2; accepted are whole numbers from 0 to 1"):
        run("MGTSamplingAnimation", tokens=filled, codec=PIPE.codec, batch_index=2)


# Grids


def flat(value, batch=1, height=64, width=64):
    return torch.full((batch, height, width, 3), value)


def labels_of(monkeypatch, **inputs):
    """Labels and values of the images that a grid is made of."""
    seen = []

    def spy(images, labels, columns):
        seen.extend((label, float(image.mean())) for image, label in zip(images, labels, strict=True))
        return flat(0.0)

    monkeypatch.setattr("mgt_core.views.pictures.labelled_grid", spy)
    run("MGTCompareGrid", **inputs)
    return seen


def test_grid_labels_follow_the_sockets(monkeypatch):
    batches = {"image_1": flat(0.0), "image_3": flat(0.5, 2), "image_8": flat(1.0, 2)}
    seen = labels_of(monkeypatch, **batches, labels="one\ntwo\n  three \n")
    assert seen == [("one", 0.0), ("three #1", 0.5), ("three #2", 0.5), ("#1", 1.0), ("#2", 1.0)]


@pytest.mark.parametrize(("columns", "shape"), [(0, (3, 1)), (2, (2, 2)), (1, (1, 3)), (9, (3, 1))])
def test_grid_has_the_columns_asked_for(columns, shape):
    sheet = run("MGTCompareGrid", image_1=flat(0.2), image_2=flat(0.4, 2), labels="a\nb", columns=columns)[0]
    assert sheet.ndim == 4 and len(sheet) == 1
    side, gap, label = 192, 4, 18  # tiny images are enlarged threefold
    across, down = shape
    assert sheet.shape[1:] == (down * (side + label + gap) - gap, across * (side + gap) - gap, 3)


def test_grid_keeps_the_proportions_of_smaller_images():
    sheet = run("MGTCompareGrid", image_1=flat(0.0, height=200, width=200), image_2=flat(0.0, height=50, width=100))[0]
    dark = sheet[0, 18:, 204:].sum(-1) < 0.1
    assert dark.any(0).sum() == 200 and dark.any(1).sum() == 100


@pytest.mark.parametrize("shape", [(1, 8, 8, 4), (8, 8, 3)])
def test_grid_names_what_is_no_image(shape):
    with pytest.raises(mgt_core.MGTError, match="image_2 has shape"):
        run("MGTCompareGrid", image_1=flat(0.0), image_2=torch.zeros(shape))


# Description


def test_description_is_shown_under_the_node(monkeypatch):
    shown = []
    instance = SimpleNamespace(client_id="me", send_progress_text=lambda *given: shown.append(given))
    monkeypatch.setitem(sys.modules, "server", SimpleNamespace(PromptServer=SimpleNamespace(instance=instance)))
    run("MGTDescribeModel", model=run("MGTTopKTopP", model=PIPE.model)[0], unique_id="5")
    ((text, node_id, client),) = shown
    assert text.startswith("1. TopKTopP(") and (node_id, client) == ("5", "me")
    run("MGTDescribeModel", model=PIPE.model)
    assert len(shown) == 1


def test_description_lists_what_is_attached_in_order():
    nothing = run("MGTDescribeModel", model=PIPE.model)
    assert nothing == {"ui": {"text": ("Nothing is attached.",)}, "result": ("Nothing is attached.",)}
    model = PIPE.model
    for name in ("MGTTopKTopP", "MGTGuidanceSchedule", "MGTNoiseRegularization"):
        model = run(name, model=model)[0]
    (text,) = run("MGTDescribeModel", model=model)["result"]
    assert [line.partition("(")[0] for line in text.splitlines()] == [
        "1. GuidanceSchedule",
        "2. TopKTopP",
        "3. NoiseRegularization",
    ]
    assert "amplitude=2.0" in text
