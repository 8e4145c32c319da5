"""The sampler of one step."""

import math
from dataclasses import replace

import pytest
import torch

import mgt_core
from mgt_core.backbones.hooks import NO_HOOKS
from support.device import DEVICE, agree
from support.runs import GRID, NEGATIVE, PIPE, POSITIVE, condition, empty, partial, run, steps_of

CELLS = GRID[0] * GRID[1]


def test_one_step_is_one_call_over_every_free_cell():
    known = torch.arange(CELLS).reshape(1, *GRID) % 5 == 0
    state = partial(known)
    out, seen = steps_of(state, sampler="one_step", steps=1, cfg=1.0)
    assert len(seen) == 1 and (seen[0].calls, seen[0].passes) == (1, 1)
    assert torch.equal(out.tokens[known], state.tokens[known]) and not bool(out.masked.any())


def test_a_longer_run_says_that_one_step_is_made(caplog):
    out, seen = steps_of(sampler="one_step", steps=4, cfg=1.0)
    assert len(seen) == 1 and "makes one step" in caplog.text
    assert agree(out.tokens, run(sampler="one_step", steps=1, cfg=1.0).tokens)


@pytest.mark.parametrize("masked", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("rule", ["index", "mask_ratio"])
def test_one_step_starts_as_described(masked, rule, monkeypatch):
    """The network is told timestep 0, or the share masked; the share is masked, the rest are codes all over."""
    asked = {}
    network = PIPE.model.network

    def features(tokens, timestep, prepared, hooks=NO_HOOKS):
        asked.update(tokens=tokens, timestep=timestep, hooks=hooks)
        return type(network).features(network, tokens, timestep, prepared, hooks)

    monkeypatch.setattr(network, "features", features)
    sampler = mgt_core.OneStep(masked=masked, noise=0.0)
    model = PIPE.model.with_timestep_rule(rule)
    mgt_core.sample(model, empty((8, 8)), POSITIVE, sampler=sampler, steps=1, cfg=1.0, seed=1)
    share = float((asked["tokens"] == PIPE.model.mask_id).float().mean())
    assert share == round(masked * 64) / 64
    codes = asked["tokens"][asked["tokens"] != PIPE.model.mask_id]
    assert len(codes) == 0 or (int(codes.max()) < PIPE.model.codebook_size and len(codes.unique()) > len(codes) // 2)
    assert asked["hooks"].perturb is None
    assert asked["timestep"].tolist() == ([0.0] if rule == "index" else [share])


def test_embedding_noise_keeps_the_variance_and_is_the_images_own():
    seen = []
    network = PIPE.model.network
    prepared = network.prepare(PIPE.model.complete(POSITIVE, 1, (4, 6), "given").to(DEVICE), (4, 6))

    def perturb(embeddings):
        seen.append(embeddings)
        return embeddings

    tokens, timestep = torch.zeros(1, 4, 6, dtype=torch.long, device=DEVICE), torch.zeros(1, device=DEVICE)
    plain = network.features(tokens, timestep, prepared)
    heeded = network.features(tokens, timestep, prepared, replace(NO_HOOKS, perturb=perturb))
    assert torch.equal(plain, heeded) and seen[0].shape[:3] == (1, 4, 6)
    from mgt_core.samplers.one_step import noisy

    sample = torch.randn(2, 16, 16, 64, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    mixed = noisy(sample, 0.6, (1, 2))
    assert float(mixed.var()) == pytest.approx(1.0, abs=0.03)
    noise = (mixed - 0.8 * sample) / 0.6
    assert float(noise.mean()) == pytest.approx(0.0, abs=0.03)
    assert not torch.allclose(noise[0], noise[1])
    again = noisy(sample.repeat(2, 1, 1, 1), 0.6, (1, 2))  # a guided pair
    assert torch.equal(again[:2], mixed) and torch.equal(again[2:], mixed)
    assert torch.equal(noisy(sample[1:], 0.6, (2,))[0], mixed[1])
    assert torch.equal(noisy(sample, 0.0, (1, 2)), sample)


def test_noise_makes_a_difference():
    quiet, loud = (run(sampler=mgt_core.OneStep(noise=n), steps=1, cfg=1.0).tokens for n in (0.0, 0.9))
    assert not torch.equal(quiet, loud)


def test_guidance_and_modifiers_act_in_one_step():
    best = PIPE.model.with_modifier(mgt_core.TopKTopP(k=1)).with_modifier(mgt_core.DifferentialSampling(0.0))
    state, chosen = empty(batch=2), {"sampler": "one_step", "steps": 1, "cfg": 3.0, "seed": 4}
    out = mgt_core.sample(best, state, condition(seed=1), NEGATIVE, **chosen)
    plain = mgt_core.sample(PIPE.model, state, condition(seed=1), NEGATIVE, **chosen)
    assert not torch.equal(out.tokens, plain.tokens)
    assert bool((out.confidence == 0).all())  # one code is left to draw: its probability is 1
    assert math.isfinite(float(plain.confidence.sum()))
