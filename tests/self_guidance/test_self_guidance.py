"""Self-Guidance: what it costs, where it acts, how it adds up with guidance; branches and their files."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

import mgt_core
from mgt_core.backbones.hooks import Hooks
from mgt_core.backbones.meissonic.branch import PooledBranch
from mgt_core.conditioning.parts import ConditionPart, Conditions
from mgt_core.loading.networks import load_backbone
from mgt_core.sampling.guided import GuidedNetwork
from mgt_core.sampling.memory import activation_bytes
from support.device import DEVICE, HERE, agree
from support.golden import OWN, bundles, pipeline
from support.recorded import Recorded
from support.runs import GRID, NEGATIVE, PIPE, POSITIVE, condition, empty, few, grids_of_bools, partial

SQUARE, WIDE = (pipeline(folder) for folder in bundles()[:2])  # with and without the halved grid
OPENMUSE = OWN / "maskgit" / "openmuse_tiny"
NET = PIPE.model.network


def random_branch(network=NET, seed=0, size=0.5):
    branch = mgt_core.fresh_branch(network, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in branch.parameters():
            value.add_(torch.randn(value.shape, generator=generator), alpha=size / value.shape[-1] ** 0.5)
    return branch.requires_grad_(False)


BRANCH = random_branch()


def sample(model, state=None, **chosen):
    chosen = {"steps": 4, "cfg": 3.0, "seed": 7} | chosen
    return mgt_core.sample(model, empty(batch=2) if state is None else state, POSITIVE, NEGATIVE, **chosen)


def guided(scale, cfg, positive=POSITIVE, negative=NEGATIVE, branch=BRANCH, model=PIPE.model):
    """Logits for half a picture, and the calls and passes they took."""
    tokens = partial(torch.arange(48).reshape(2, *GRID) % 2 == 0).tokens
    conditions = (model.complete(c, 2, GRID, "given").to(DEVICE) for c in (positive, negative))
    patches = model.with_self_guidance(branch, scale).run_patches()
    network = GuidedNetwork(model.network, *conditions, GRID, patches)
    return network.logits(tokens.to(DEVICE), torch.ones(2, device=DEVICE), cfg), (network.calls, network.passes)


# Where nothing changes


@few
@given(
    known=grids_of_bools,
    settings=st.sampled_from([(0.0, 0.0, 1.0), (1.0, 0.3, 0.3), (2.0, 1.0, 1.0)]),
    cfg=st.sampled_from([0.0, 1.0, 3.0]),
    steps=st.integers(1, 6),
    sampler=st.sampled_from(mgt_core.list_samplers()),
)
def test_nothing_changes_at_scale_zero_and_outside_the_range(known, settings, cfg, steps, sampler):
    model = PIPE.model.with_self_guidance(BRANCH, *settings)
    chosen = {"cfg": cfg, "steps": steps, "sampler": sampler}
    seen = []
    plain = sample(PIPE.model, partial(known), **chosen)
    same = sample(model, partial(known), callback=seen.append, **chosen)
    assert agree(plain.tokens, same.tokens)


@pytest.mark.parametrize("pipe", [SQUARE, WIDE], ids=["halved", "whole"])
@torch.inference_mode()
def test_what_comes_from_above_is_nothing_at_zero(pipe):
    """In Meissonic: joint and single blocks with zeros from above are as without."""
    network, timestep = pipe.model.network, torch.ones(1, device=DEVICE)
    tokens = torch.full((1, *GRID), pipe.model.mask_id, device=DEVICE)
    prepared = network.prepare(pipe.model.complete(condition(pipe, 1), 1, GRID, "given").to(DEVICE), GRID)
    states = []
    plain = network.features(tokens, timestep, prepared, Hooks(taps=states))
    layers = network.config.num_layers + network.config.num_single_layers
    assert len(states) == layers + 1
    zeros = [torch.zeros_like(states[0])] * layers
    assert agree(plain, network.features(tokens, timestep, prepared, Hooks(top_down=zeros)))
    for index in range(layers):  # every block has its own
        above = [*zeros[:index], torch.ones_like(zeros[0]), *zeros[index + 1 :]]
        changed = network.features(tokens, timestep, prepared, Hooks(top_down=above))
        assert not torch.allclose(plain, changed, atol=1e-5), index


@torch.inference_mode()
def test_a_fresh_branch_sees_a_blank_canvas():
    fresh = mgt_core.fresh_branch(NET)
    logits, _ = guided(1.0, 1.0, branch=fresh)
    plain, _ = guided(0.0, 1.0)
    blank = PIPE.model.logits(empty(batch=2).tokens, POSITIVE, 1.0).flatten(1, 2)
    torch.testing.assert_close(logits, 2 * plain - blank, atol=1e-4, rtol=0)


# The formula and its cost


@pytest.mark.parametrize("scale", [0.5, 2.0])
@pytest.mark.parametrize("cfg", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("length", [5, 9])
@torch.inference_mode()
def test_terms_add_up(scale, cfg, length):
    """Prompts of one length share a call, of two lengths take one each; the branch takes one more."""
    negative = condition(seed=2, length=length)
    plain, cost = guided(0.0, cfg, negative=negative)
    followed = POSITIVE if cfg else negative
    alone, _ = guided(0.0, 1.0, positive=followed)
    beside, _ = guided(1.0, 1.0, positive=followed)
    logits, dearer = guided(scale, cfg, negative=negative)
    torch.testing.assert_close(logits, plain + scale * (beside - alone), atol=1e-3, rtol=0)
    assert dearer == (cost[0] + 1, cost[1] + 1)


@pytest.mark.parametrize(("start", "end", "acting"), [(0.0, 1.0, 4), (0.0, 0.5, 2), (0.75, 1.0, 1), (0.5, 0.5, 0)])
@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_cost_is_one_pass_more_in_the_steps_it_acts_in(start, end, acting, cfg):
    seen = []
    model = PIPE.model.with_self_guidance(BRANCH, 1.0, start, end)
    sample(model, cfg=cfg, callback=seen.append)
    passes = 4 * (1 if cfg == 1 else 2)
    assert (seen[-1].calls, seen[-1].passes) == (4 + acting, passes + acting)


def test_stepping_back_does_without():
    """Zigzags want a weak way back: two forward visits of three are guided."""
    seen = []
    model = PIPE.model.with_self_guidance(BRANCH)
    sample(model, sampler="masked_zsampling", cfg=1.0, callback=seen.append)
    assert seen[-1].calls == 3 * (2 + 1 + 2) + 2


@pytest.mark.parametrize("sampler", mgt_core.list_samplers())
@pytest.mark.parametrize("merging", [False, True])
def test_an_image_does_not_depend_on_its_batch(sampler, merging):
    model = PIPE.model.with_self_guidance(BRANCH, 0.5)
    model = model.with_token_merging(0.3) if merging else model
    state = partial(torch.arange(48).reshape(2, *GRID) % 7 == 0)
    together = sample(model, state, sampler=sampler)
    for i in range(2):
        own = replace(state, tokens=state.tokens[i : i + 1], fixed=state.fixed[i : i + 1])
        assert agree(together.tokens[i], sample(model, own, sampler=sampler, seed=7 + i).tokens[0])


def test_it_changes_pictures_and_more_at_a_larger_scale():
    plain = sample(PIPE.model).tokens
    small, large = (sample(PIPE.model.with_self_guidance(BRANCH, s)).tokens for s in (0.1, 5.0))
    assert (small == plain).float().mean() > (large == plain).float().mean()
    assert not torch.equal(plain, large)


def test_it_composes_with_modifiers_and_guidance_schedules():
    model = PIPE.model.with_guidance(mgt_core.GuidanceSchedule(0.0, 0.5)).with_self_guidance(BRANCH, 1.0)
    model = model.with_modifier(mgt_core.DifferentialSampling()).with_modifier(mgt_core.TopKTopP(5))
    assert [line.partition("(")[0] for line in model.attached()][:2] == ["GuidanceSchedule", "SelfGuidance"]
    seen = []
    out = sample(model, callback=seen.append)
    assert not bool(out.masked.any()) and seen[-1].passes == 2 * 3 + 2 * 2


# Branches


def test_a_model_is_copied_not_changed():
    first = PIPE.model.with_self_guidance(BRANCH)
    second = first.with_self_guidance(BRANCH, 2.0, 0.1, 0.9)
    assert PIPE.model.patch("self_guidance") is None and first.patch("self_guidance").scale == 1.0
    assert second.patch("self_guidance") == mgt_core.SelfGuidance(BRANCH, 2.0, 0.1, 0.9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_branch_files_go_and_come(tmp_path, dtype):
    values = {name: value.to(dtype).contiguous() for name, value in BRANCH.state_dict().items()}
    save_file(values, tmp_path / "own.safetensors")
    loaded = mgt_core.load_branch(tmp_path / "own.safetensors", NET)
    assert isinstance(loaded, PooledBranch) and not any(p.requires_grad for p in loaded.parameters())
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, values[name].float())


def openmuse():
    return load_backbone(OPENMUSE, torch.float32, DEVICE)


def test_branches_of_other_models_are_refused(tmp_path):
    own = mgt_core.load_branch(OPENMUSE, openmuse())
    save_file(BRANCH.state_dict(), tmp_path / "other.safetensors")
    cases = {
        "trained for another model": lambda: PIPE.model.with_self_guidance(own),
        "lack": lambda: mgt_core.load_branch(tmp_path / "other.safetensors", openmuse()),
        "is NoneType; expected one that was loaded": lambda: PIPE.model.with_self_guidance(None),
        "holds no Self-Guidance branch": lambda: mgt_core.load_branch(bundles()[0], NET),
        "scale is -1": lambda: PIPE.model.with_self_guidance(BRANCH, -1.0),
        "starts at 0.8 and ends at 0.2": lambda: PIPE.model.with_self_guidance(BRANCH, 1.0, 0.8, 0.2),
    }
    for words, call in cases.items():
        with pytest.raises(mgt_core.MGTError, match=words) as error:
            call()
        assert "\n" not in str(error.value)


def test_models_without_a_place_for_a_branch_are_named():

    other = mgt_core.MGTModel(Recorded({}, 1), pixels_per_token=2)
    for call in (lambda: mgt_core.fresh_branch(other.network), lambda: other.with_self_guidance(BRANCH)):
        with pytest.raises(mgt_core.MGTError, match="this one is Recorded"):
            call()


def test_a_bundle_brings_its_own_branch(tmp_path):
    from support.bundles import copy_bundle, openmuse_bundle

    bundle = copy_bundle(tmp_path / "meissonic", bundles()[0])
    save_file(BRANCH.state_dict(), bundle / "self_guidance.safetensors")
    pipe = mgt_core.load(bundle, **HERE)
    assert torch.equal(mgt_core.load_branch(bundle, pipe.model.network).top_down_transform, BRANCH.top_down_transform)
    bundle = openmuse_bundle(tmp_path / "openmuse")
    pipe = mgt_core.load(bundle, **HERE)
    model = pipe.model.with_self_guidance(mgt_core.load_branch(bundle, pipe.model.network))
    out = mgt_core.sample(
        model,
        mgt_core.empty_tokens(pipe, 16, 16, 2),
        mgt_core.Condition(labels=torch.tensor([1, 2])),
        steps=3,
        cfg=1.0,
    )
    assert not bool(out.masked.any())


def test_half_precision_models_take_the_branch_along():
    pipe = mgt_core.load(bundles()[0], dtype=torch.bfloat16, device=DEVICE)
    out = sample(pipe.model.with_self_guidance(BRANCH), steps=2)
    assert not bool(out.masked.any()) and next(BRANCH.parameters()).dtype == torch.float32


def test_room_is_made_for_the_branch():
    state, model = empty(batch=1), PIPE.model.with_self_guidance(BRANCH)
    table = state.tokens.numel() * model.codebook_size * 4
    weights = sum(p.numel() for p in BRANCH.parameters()) * model.dtype.itemsize
    asked, without = (activation_bytes(each, state, 2, 0, True) for each in (model, PIPE.model))
    assert asked - without == table + weights


def test_a_negative_prompt_that_is_followed_is_not_reused():
    """Guidance 0 with a negative prompt for a part of the picture evaluates both, and looks again at the negative."""
    left = torch.zeros(1, *GRID)
    left[..., : GRID[1] // 2] = 1
    negative = Conditions((ConditionPart(NEGATIVE, left),))
    model = PIPE.model.with_self_guidance(BRANCH)
    plain, reusing = (
        mgt_core.sample(m, empty(batch=1), POSITIVE, negative, steps=4, cfg=0.0, seed=3)
        for m in (model, model.with_guidance_reuse(2))
    )
    assert agree(plain.tokens, reusing.tokens)
