"""ML-Cache as Lumina-DiMOO was released with it, reproduced (see golden/unified/dimoo/README.md)."""

import json

import pytest
import torch

import mgt_core
from mgt_core import MLCache
from mgt_core.backbones.hooks import Hooks
from mgt_core.patches.ml_cache import JointCache
from mgt_core.patches.token_cache import Computed
from mgt_core.sampling.run import Run
from support.device import DEVICE, agree, equal
from support.golden import assert_near, pipeline, tensors
from support.golden_dimoo import FOLDER, Trace, plan_of, seen_through, trace_names

CACHED = trace_names("cache")
CALLS = FOLDER / "cache_forward.safetensors"
ROLES = {"positive": "cond", "negative": "uncond"}


def settings_of(trace) -> MLCache:
    return MLCache(*(trace.told[name] for name in ("cache_ratio", "refresh_interval", "warmup_ratio")))


def as_laid(values, trace, role):
    """Values of a sequence as the blocks see it: words first, those behind the picture too, and then the cells."""
    start = len(trace[f"{ROLES[role]}_prompt_ids"]) + 2 - trace.told["code_start"] + trace.places[0]
    cells = [place - trace.places[0] + start for place in trace.places]
    words = [place for place in range(len(values)) if place not in set(cells)]
    return values[words + cells]


def test_golden_tree_holds_traces():
    assert len(CACHED) >= 2
    assert {"to_compute", "max_logit"} <= {key.split("cond_")[-1] for name in CACHED for key in Trace(name).tensors}


@pytest.mark.parametrize("name", CACHED)
@torch.inference_mode()
def test_golden_cached_steps(name):
    """Every step of a run: which rows are computed for either condition, and how sure each is afterwards."""
    trace, chosen = Trace(name), {}
    sampler, settings = trace.sampler(), settings_of(trace)
    model = trace.pipe.model.with_patch(settings)
    run = Run(model, trace.state, **trace.conditions, plan=plan_of(trace, sampler))
    (patch,) = run.network.patches
    plain = patch.hooks

    def noted(hooks, call):
        hooks = plain(hooks, call)
        chosen.update({role: hooks.cache.rows for role, _ in call.entries})
        return hooks

    patch.hooks = noted
    for held in trace.told["steps"]:
        index = held["step"]
        assert settings.refreshes(index, trace.steps) == held["refresh"]
        before = trace.tokens(trace.at(index, "ids_in")).flatten(1)
        drawn = run.draw(index, before, [held["masked_in"]])
        where = drawn.step.positions
        assert agree(drawn.tokens.gather(1, where)[0], trace.at(index, "sampled"))
        for role, theirs in ROLES.items():
            sure = patch.kept.find(((role, 0),)).logits[0]
            assert_near(sure, as_laid(trace.at(index, f"{theirs}_max_logit"), trace, role))
            assert (chosen[role] is None) == held["refresh"]
            if not held["refresh"]:
                rows, wanted = torch.zeros_like(sure, dtype=torch.bool), trace.at(index, f"{theirs}_to_compute").bool()
                rows[chosen[role][0] + len(sure) - len(trace.places)] = True
                assert equal(rows, as_laid(wanted, trace, role))
        for theirs, key in (("cond_logits", "positive"), ("uncond_logits", "negative")):
            if (recorded := trace.at(index, theirs)) is not None:  # of a whole tree
                features = patch.kept.find(((key, 0),)).computed.features[:, -len(trace.places) :]
                ours = model.network.head(model.network.read_by_head(features))[0][where[0]]
                assert_near(ours, recorded)


@pytest.mark.parametrize("name", CACHED)
def test_golden_cached_run(name):
    """Through the public API with recorded draws: ids at every step, and at the end."""
    trace, seen = Trace(name), []
    out = mgt_core.sample(
        trace.pipe.model.with_patch(settings_of(trace)),
        trace.state,
        **trace.conditions,
        sampler=trace.sampler(),
        schedule="cosine",
        steps=trace.steps,
        cfg=trace.cfg,
        callback=seen.append,
    )
    assert agree(out.tokens, trace.tokens(trace["final_ids"]))
    for index in range(trace.told["steps_run"]):
        assert agree(seen[index].tokens, trace.tokens(trace.at(index, "ids_in")))


def test_golden_refreshes():
    held = json.loads((FOLDER / "layout.json").read_text())["cache_refresh"]
    for case in held:
        settings = MLCache(0.9, case["refresh_interval"], case["warmup_ratio"])
        ours = [step for step in range(case["timesteps"]) if settings.refreshes(step, case["timesteps"])]
        assert ours == case["refresh_steps"]


@pytest.mark.skipif(not CALLS.is_file(), reason="of a whole tree; the runs hold the same logits by their largest")
@torch.inference_mode()
def test_golden_cached_calls():
    """Calls in turn on one memory, of rows that the recording chose."""
    held, network = tensors(CALLS.with_suffix("")), pipeline(FOLDER).model.network
    for index in range(len({key.split(".")[0] for key in held})):
        at = f"call{index}."
        prompt, places, tokens = seen_through(network, held[at + "ids"])
        words = [place for place in range(len(held[at + "ids"])) if place not in set(places)]
        order, rows = words + places, None
        if at + "to_compute" in held:
            rows = held[at + "to_compute"][order].nonzero().T - len(words)
        else:
            computed = Computed()
        prepared = network.prepare(mgt_core.Condition(prompt=prompt[None]), tuple(tokens.shape[1:]))
        network.features(tokens, torch.zeros(1, device=DEVICE), prepared, Hooks(cache=JointCache(computed, rows)))
        ours = network.head(network.read_by_head(computed.features))[0]
        assert_near(ours, held[at + "logits_image"][order])
        (value,) = (key for key in held if key.startswith(at + "block") and key.endswith("_v"))
        assert_near(computed.values[-1][0].transpose(0, 1).flatten(1), held[value][order])
