"""The tokens of every family, technique and preset are those that were recorded: code that moves changes none."""

from functools import cache

import pytest
import torch

import mgt_core
from mgt_core.modifiers import noise
from mgt_core.presets import Preset
from mgt_core.registry import BACKBONES
from mgt_core.samplers import one_step
from support.device import HERE, ON_CPU, REFERENCE, agree
from support.families import FAMILIES, REFUSED, TECHNIQUES, blank, run
from support.pack import ROOT
from support.recorded_tokens import UPDATE, Recorded

BUILT_IN = "built-in"
STEPS = 12  # of a preset's run, at the most
RECORDED = Recorded()
PRESETS = {f"preset {path.stem}": Preset.read(path) for path in sorted((ROOT / "presets").glob("*.json"))}
POSSIBLE = [f"{f}: {t}" for f in FAMILIES for t in TECHNIQUES if (f, t) not in REFUSED]
POSSIBLE += [f"{f}: {p}" for f in (*FAMILIES, BUILT_IN) for p in PRESETS]
# One that is new is recorded when the table is next made.
KEYS = POSSIBLE if UPDATE else [key for key in POSSIBLE if key in RECORDED.table]


@pytest.fixture(scope="module")
def pipes(tmp_path_factory):
    """Pipelines by the name of their family; with on_cpu, to compare with."""
    root = tmp_path_factory.mktemp("families")
    source = cache(lambda name: "demo" if name == BUILT_IN else FAMILIES[name](root / name))
    return cache(lambda name, on_cpu=ON_CPU: mgt_core.load(source(name), **(REFERENCE if on_cpu else HERE)))


def run_preset(pipe: mgt_core.Pipeline, preset: Preset, state: mgt_core.TokenState) -> mgt_core.TokenState:
    fitted = preset.fitted(pipe.model)
    if pipe.text is None:
        conditions = [mgt_core.Condition(labels=torch.tensor([label])) for label in (1, 3)]
    else:
        prompts = ("a red heart on a yellow background", fitted.negative)
        conditions = [pipe.text.encode([prompt]) for prompt in prompts]
    return mgt_core.sample(
        fitted.model,
        state,
        *conditions,
        sampler=fitted.sampler,
        schedule=fitted.schedule,
        steps=min(fitted.steps, STEPS),
        cfg=fitted.cfg,
        seed=3,
    )


def made(pipe: mgt_core.Pipeline, family: str, technique: str) -> list[torch.Tensor]:
    if technique not in PRESETS:
        return [run(pipe, technique)]
    state = mgt_core.empty_tokens(pipe, *pipe.size) if family == BUILT_IN else blank(pipe, 1)
    out = run_preset(pipe, PRESETS[technique], state)
    return [out.tokens, out.revealed_at]


@pytest.fixture
def device_noise(monkeypatch) -> list[str]:
    """Names of the bulk noise that a run draws where its network is."""
    drawn = []
    for module in (noise, one_step):
        plain = module.seeded_generator
        monkeypatch.setattr(module, "seeded_generator", lambda name, at, own=plain: drawn.append(name) or own(name, at))
    return drawn


@pytest.mark.parametrize("key", KEYS)
def test_tokens_are_those_recorded(pipes, device_noise, key):
    """On a GPU, but for near-ties; the CPU's own tell how many there are."""
    family, _, technique = key.partition(": ")
    pipe, preset = pipes(family), PRESETS.get(technique)
    if preset and preset.models and BACKBONES.name_of(type(pipe.model.network)) not in preset.models:
        pytest.skip("for another family")
    found = made(pipe, family, technique)
    if ON_CPU or RECORDED.agrees(key, *found):
        assert RECORDED.agrees(key, *found)
    elif device_noise:
        pytest.skip("with noise that is drawn on the device, and is another on each kind")
    else:
        wanted = made(pipes(family, on_cpu=True), family, technique)
        assert RECORDED.agrees(key, *wanted) and all(map(agree, found, wanted))


def test_the_table_is_of_what_there_is():
    assert len(KEYS) > 150 and RECORDED.table.keys() <= set(POSSIBLE)
