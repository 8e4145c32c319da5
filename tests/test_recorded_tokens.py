"""The tokens of every family, technique and preset are those that were recorded: code that moves changes none."""

from functools import cache

import pytest
import torch

import mgt_core
from mgt_core.presets import Preset
from mgt_core.registry import BACKBONES
from support.families import FAMILIES, REFUSED, TECHNIQUES, run
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
    root = tmp_path_factory.mktemp("families")
    sources = {name: lambda make=make, name=name: make(root / name) for name, make in FAMILIES.items()}
    sources[BUILT_IN] = lambda: "demo"
    return cache(lambda name: mgt_core.load(sources[name](), dtype=torch.float32, device="cpu"))


def run_preset(pipe: mgt_core.Pipeline, preset: Preset, side: int) -> mgt_core.TokenState:
    fitted = preset.fitted(pipe.model)
    if pipe.text is None:
        conditions = [mgt_core.Condition(labels=torch.tensor([label])) for label in (1, 3)]
    else:
        prompts = ("a red heart on a yellow background", fitted.negative)
        conditions = [pipe.text.encode([prompt]) for prompt in prompts]
    return mgt_core.sample(
        fitted.model,
        mgt_core.empty_tokens(pipe, side, side),
        *conditions,
        sampler=fitted.sampler,
        schedule=fitted.schedule,
        steps=min(fitted.steps, STEPS),
        cfg=fitted.cfg,
        seed=3,
    )


@pytest.mark.parametrize("key", KEYS)
def test_tokens_are_those_recorded(pipes, key):
    family, _, technique = key.partition(": ")
    pipe = pipes(family)
    if technique not in PRESETS:
        assert RECORDED.agrees(key, run(pipe, technique))
        return
    preset = PRESETS[technique]
    if preset.models and BACKBONES.name_of(type(pipe.model.network)) not in preset.models:
        pytest.skip("for another family")
    out = run_preset(pipe, preset, pipe.size[0] if family == BUILT_IN else 8 * pipe.codec.scale)
    assert RECORDED.agrees(key, out.tokens, out.revealed_at)


def test_the_table_is_of_what_there_is():
    assert len(KEYS) > 150 and RECORDED.table.keys() <= set(POSSIBLE)
