"""Guidance: which conditions the network is asked for, at which time, in how many calls."""

import pytest
import torch

import mgt_core
from mgt_core.sampling.guided import GuidedNetwork
from support.device import DEVICE
from support.runs import GRID, NEGATIVE, PIPE, POSITIVE, condition, empty, every_sampler, partial, run, steps_of

OWN_GUIDANCE = {"masked_zsampling": {"inversion_cfg": 1.0}}


@every_sampler
def test_cfg_one_asks_the_positive_condition_only(sampler):
    chosen = mgt_core.SAMPLERS.get(sampler)(**OWN_GUIDANCE.get(sampler, {}))
    if {*chosen.guidances} - {1.0}:
        pytest.skip(f"{sampler} uses guidance of its own")
    out = run(negative=None, cfg=1.0, sampler=chosen)
    assert torch.equal(out.tokens, run(negative=condition(seed=9), cfg=1.0, sampler=chosen).tokens)
    assert not torch.equal(out.tokens, run(positive=condition(seed=9), cfg=1.0, sampler=chosen).tokens)


def test_cfg_zero_asks_the_negative_condition_only():
    out = run(positive=None, cfg=0.0)
    assert torch.equal(out.tokens, run(positive=NEGATIVE, negative=None, cfg=1.0).tokens)


@pytest.mark.parametrize("cfg", [0, 1, 0.5, 3.0])
def test_one_network_call_a_step(cfg):
    _, seen = steps_of(cfg=cfg)
    assert [step.calls for step in seen] == [1, 2, 3, 4, 5]


def test_prompts_of_different_length_take_two_calls():
    """Text rows carry no mask, so a longer prompt cannot share a call with a shorter one."""
    longer = condition(seed=2, length=9)
    _, steps = steps_of(negative=longer, steps=3, cfg=3.0)
    assert (steps[-1].calls, steps[-1].passes) == (6, 6)
    _, steps = steps_of(steps=3, cfg=3.0)
    assert (steps[-1].calls, steps[-1].passes) == (3, 6)


@pytest.mark.parametrize("cfg", [0.0, 0.4, 1.0, 3.0, 9.0, 30.0])
@torch.inference_mode()
def test_guidance_formula(cfg):
    known = torch.rand(2, *GRID, generator=torch.Generator().manual_seed(3)) < 0.5
    tokens, timestep = partial(known).tokens.to(DEVICE), torch.ones(2, device=DEVICE)
    conditions = [PIPE.model.complete(c, 2, GRID, "given").to(DEVICE) for c in (POSITIVE, NEGATIVE)]
    conditional, unconditional = (PIPE.model.logits(tokens, c, timestep).flatten(1, 2) for c in conditions)
    guided = GuidedNetwork(PIPE.model.network, *conditions, GRID).logits(tokens, timestep, cfg)
    expected = unconditional + cfg * (conditional - unconditional)
    torch.testing.assert_close(guided, expected, atol=1e-4 * (1 + cfg), rtol=0)


# What the network is told


def told_timesteps(monkeypatch, model, state, steps) -> list[torch.Tensor]:
    told, features = [], model.network.features

    def spy(tokens, timestep, *others):
        told.append(timestep.float().expand(tokens.shape[0]).cpu().clone())
        return features(tokens, timestep, *others)

    monkeypatch.setattr(model.network, "features", spy)
    mgt_core.sample(model, state, POSITIVE, None, schedule="cosine", steps=steps, cfg=1.0)
    return told


def test_timestep_rule_index(monkeypatch):
    told = told_timesteps(monkeypatch, PIPE.model.with_timestep_rule("index"), empty(batch=2), 4)
    assert [values.tolist() for values in told] == [[3.0, 3.0], [2.0, 2.0], [1.0, 1.0], [0.0, 0.0]]


def test_timestep_rule_index_share(monkeypatch):
    told = told_timesteps(monkeypatch, PIPE.model.with_timestep_rule("index_share"), empty(batch=2), 4)
    assert [values.tolist() for values in told] == [[0.75, 0.75], [0.5, 0.5], [0.25, 0.25], [0.0, 0.0]]


def test_timestep_rule_mask_ratio(monkeypatch):
    known = torch.arange(48).reshape(2, *GRID) < torch.tensor([0, 24 + 9])[:, None, None]
    told = told_timesteps(monkeypatch, PIPE.model.with_timestep_rule("mask_ratio"), partial(known), 4)
    cosine = mgt_core.SCHEDULES.get("cosine")()
    masked = [[24, *cosine.counts(4, 24)[:-1]], [15, *cosine.counts(4, 15)[:-1]]]
    expected = [[a / 24, b / 24] for a, b in zip(*masked, strict=True)]
    torch.testing.assert_close(torch.stack(told), torch.tensor(expected))
