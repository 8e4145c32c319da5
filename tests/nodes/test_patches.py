"""Nodes that attach something to a model: to a copy, what the library makes, and nothing more."""

import sys

import pytest
import torch
from safetensors.torch import save_file

import mgt_core
from mgt_core import GuidanceSchedule
from mgt_core.backbones.meissonic.branch import PooledBranch
from mgt_core.loading.layouts import BUILT_IN
from mgt_core.settings import Choices, setting
from support.golden import bundles, pipeline
from support.node_runs import NODES, inputs, made_by_nodes, run
from support.pack import ALIAS

PIPE = pipeline(bundles()[0])
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


def test_every_registered_modifier_and_patch_has_a_node():
    registered = {registry.get(n) for registry in (mgt_core.MODIFIERS, mgt_core.PATCHES) for n in registry}
    assert made_by_nodes("MGT_MODEL") == registered


@pytest.mark.parametrize("name", [name for name, cls in NODES.items() if hasattr(cls, "part")])
def test_widgets_are_as_the_part_declares(name):
    """Default, range and choices of every setting; what a node spells otherwise is in tests of its own."""
    cls = NODES[name]
    for key, tooltip in getattr(cls, "tooltips", {}).items():
        kind, options = inputs(cls)[key]
        default, allowed = setting(cls.part, key)
        assert options["tooltip"] == tooltip
        if isinstance(default, tuple):  # which is written as a text
            assert (kind, options["default"]) == ("STRING", ", ".join(map(str, default)))
            continue
        assert options["default"] == default
        assert kind == list(allowed.values) if isinstance(allowed, Choices) else kind in ("INT", "FLOAT", "BOOLEAN")
        if kind in ("INT", "FLOAT"):
            for end in ("min", "max"):
                allowed.taken(key, options[end])  # and the next beyond is refused
                with pytest.raises(mgt_core.MGTError):
                    allowed.taken(key, options[end] + {"min": -1, "max": 1}[end])


def test_guidance_schedule_is_attached_and_replaced():
    first = run("MGTGuidanceSchedule", model=PIPE.model)[0]
    assert first.patch("guidance") == GuidanceSchedule()
    chosen = {"start": 0.1, "end": 0.9, "shape": "rising", "outside": 0.5}
    assert run("MGTGuidanceSchedule", model=first, **chosen)[0].patch("guidance") == GuidanceSchedule(**chosen)
    assert PIPE.model.patch("guidance") is None


def test_self_guidance_is_attached_and_replaced():
    branch = run("MGTLoadSelfGuidance", model=PIPE.model, branch="blank canvas")[0]
    first = run("MGTSelfGuidance", model=PIPE.model, branch=branch)[0]
    assert first.patch("self_guidance") == mgt_core.SelfGuidance(branch)
    chosen = {"scale": 0.5, "start": 0.1, "end": 0.9}
    again = run("MGTSelfGuidance", model=first, branch=branch, **chosen)[0]
    assert again.patch("self_guidance") == mgt_core.SelfGuidance(branch, **chosen)
    assert PIPE.model.patch("self_guidance") is None and again.network is PIPE.model.network


def test_branches_that_can_be_picked(tmp_path, monkeypatch):
    """None at all, the models, and the files of their folder; one for another model is refused."""
    host = sys.modules[f"{ALIAS}.nodes.host"]
    monkeypatch.setattr(host, "PACK", tmp_path)
    folder = tmp_path / "models" / "mgt" / "self_guidance"
    folder.mkdir(parents=True)
    own = mgt_core.fresh_branch(PIPE.model.network, seed=3)
    save_file(own.state_dict(), folder / "mine.safetensors")
    assert list(host.branches()) == ["blank canvas", *BUILT_IN, "self_guidance/mine.safetensors"]
    loaded = run("MGTLoadSelfGuidance", model=PIPE.model, branch="self_guidance/mine.safetensors")[0]
    assert all(torch.equal(value, own.state_dict()[name]) for name, value in loaded.state_dict().items())
    with pytest.raises(mgt_core.MGTError, match="branch 'gone' is not there: the choices are blank canvas, demo"):
        run("MGTLoadSelfGuidance", model=PIPE.model, branch="gone")
    wider = PooledBranch(2, 8)
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
