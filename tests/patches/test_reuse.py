"""Token cache and guidance residual reuse; batches, runs and identities are tested with the other choices."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mgt_core
from mgt_core.backbones.hooks import Hooks
from mgt_core.patches.base import Moment
from mgt_core.patches.guidance_reuse import GuidanceReuse
from mgt_core.patches.token_cache import Kept, TokenCache, urgency
from mgt_core.registry import SAMPLERS
from mgt_core.samplers.adaptive import Adaptive
from mgt_core.sampling.guided import GuidedNetwork
from support.device import DEVICE, agree
from support.golden import bundles, label, pipeline
from support.runs import condition, empty, partial

PIPE = pipeline(bundles()[0])
GRID = (4, 6)
GAP = 1e-4
few = settings(max_examples=25, deadline=None, derandomize=True, database=None)
every_layout = pytest.mark.parametrize("pipe", [pipeline(folder) for folder in bundles()], ids=map(label, bundles()))


def tokens_of(pipe, known, seed=0):
    codes = torch.randint(pipe.model.codebook_size, known.shape, generator=torch.Generator().manual_seed(seed))
    return torch.where(known, codes, pipe.model.mask_id).to(DEVICE)


def network(model, batch):
    """The guided network of a run."""
    conditions = [model.complete(condition(seed=seed, batch=batch), batch, GRID, "given").to(DEVICE) for seed in (1, 2)]
    return GuidedNetwork(model.network, *conditions, GRID, model.run_patches())


def at(step, batch=2):
    return Moment(step, 9, [False] * batch)


# Token cache


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
@pytest.mark.parametrize("cfg", [0, 1, 3.0])
@torch.inference_mode()
def test_what_has_not_changed_is_reused_without_error(share, cfg):
    """The same tokens at the same timestep: whatever rows are computed again, nothing moves."""
    model = PIPE.model
    tokens, timestep = tokens_of(PIPE, torch.rand(2, *GRID) < 0.5), torch.ones(2, device=DEVICE)
    exact = network(model, 2).logits(tokens, timestep, cfg)
    cached = network(model.with_token_cache(share, every=9), 2)
    for _ in range(3):
        torch.testing.assert_close(
            cached.logits(tokens, timestep, cfg, moment=at(1)), exact, atol=GAP * (1 + cfg), rtol=0
        )


@torch.inference_mode()
def test_each_condition_uses_its_half_of_the_pair():
    """A guided evaluation is kept for those of either condition alone, and takes over what they compute."""
    tokens, timestep = tokens_of(PIPE, torch.rand(2, *GRID) < 0.5), torch.ones(2, device=DEVICE)
    exact = {cfg: network(PIPE.model, 2).logits(tokens, timestep, cfg) for cfg in (0, 1, 3.0)}
    cached = network(PIPE.model.with_token_cache(0.3, every=9), 2)
    for cfg in (3.0, 1, 0, 3.0):
        torch.testing.assert_close(cached.logits(tokens, timestep, cfg, moment=at(1)), exact[cfg], atol=4 * GAP, rtol=0)
    assert list(cached.patches[0].kept) == [(("negative", 0), ("positive", 0))]


@torch.inference_mode()
def test_prompts_of_different_length_are_kept_apart():
    tokens, timestep = tokens_of(PIPE, torch.rand(1, *GRID) < 0.5), torch.ones(1, device=DEVICE)
    longer = PIPE.model.complete(condition(seed=2, length=9), 1, GRID, "given").to(DEVICE)
    exact = replace(network(PIPE.model, 1), negative=longer, _prepared={})
    cached = replace(network(PIPE.model.with_token_cache(0.3), 1), negative=longer, _prepared={})
    for _ in range(3):
        expected = exact.logits(tokens, timestep, 3.0)
        torch.testing.assert_close(
            cached.logits(tokens, timestep, 3.0, moment=at(1, 1)), expected, atol=4 * GAP, rtol=0
        )
    assert set(cached.patches[0].kept) == {(("negative", 0),), (("positive", 0),)}


@pytest.mark.parametrize("reuse", [None, GuidanceReuse(2)])
@torch.inference_mode()
def test_several_conditions_at_once(reuse):
    """Two positive and two negative parts, one of them of another length: nothing changed, nothing moves."""
    parts = [mgt_core.ConditionPart(condition(seed=seed, length=length)) for seed, length in ((1, 5), (2, 5), (3, 9))]
    sides = mgt_core.Conditions(tuple(parts[:2])), mgt_core.Conditions((parts[2], parts[0]))
    sides = [PIPE.model.complete(side, 2, GRID, "given").to(DEVICE) for side in sides]
    tokens, timestep = tokens_of(PIPE, torch.rand(2, *GRID) < 0.5), torch.ones(2, device=DEVICE)
    exact = GuidedNetwork(PIPE.model.network, *sides, GRID).logits(tokens, timestep, 3.0)
    model = PIPE.model.with_token_cache(0.4, every=9)
    model = model if reuse is None else model.with_patch(reuse)
    saving = GuidedNetwork(model.network, *sides, GRID, model.run_patches())
    for step in range(4):
        found = saving.logits(tokens, timestep, 3.0, moment=at(step))
        torch.testing.assert_close(found, exact, atol=4 * GAP, rtol=0)
    assert saving.passes == (16 if reuse is None else 12)


@every_layout
@torch.inference_mode()
def test_a_change_reaches_the_rows_that_are_computed(pipe):
    """One step later: closer to the exact features than those of the step before, and exact at a refresh."""
    torch.manual_seed(0)
    net, side = pipe.model.network, pipe.model.grid_multiple
    grid = (4 * side, 4 * side)
    text = pipe.model.complete(condition(pipe), 1, grid, "given").to(DEVICE)
    prepared = net.prepare(text, grid)
    before = tokens_of(pipe, torch.zeros(1, *grid, dtype=torch.bool))
    after = before.clone()
    after[:, : 2 * side, : 2 * side] = 3
    cache = TokenCache(0.5, every=2).begin(net)
    cache.enter(at(1, 1))

    def features(tokens):
        cells = net.row_cells(tokens)
        active = cache.evaluation((("positive", 0),), cells, pipe.model.mask_id, (4, 4))
        return net.features(tokens, torch.ones(1, device=DEVICE), prepared, Hooks(cache=active)).clone()

    stale, exact = features(before), net.features(after, torch.ones(1, device=DEVICE), prepared)
    partly, refreshed = features(after), features(after)
    assert (partly - exact).norm() < 0.9 * (stale - exact).norm()
    assert not torch.equal(partly, exact)
    torch.testing.assert_close(refreshed, exact, atol=GAP, rtol=0)


@few
@given(h=st.integers(1, 6), w=st.integers(1, 6), seed=st.integers(0, 99))
def test_changed_rows_are_computed_first_and_masked_ones_next(h, w, seed):
    generator = torch.Generator().manual_seed(seed)
    cells, old = (torch.randint(3, (2, h * w, 4), generator=generator) for _ in range(2))
    old = torch.where(torch.rand(2, h * w, 1, generator=generator) < 0.5, cells, old)
    age = torch.randint(200, (2, h * w), generator=generator).float()
    order = urgency(Kept(old, age), cells, 2, (h, w)).argsort(dim=1, descending=True, stable=True)
    group = 2 * (cells != old).any(-1).long() + (cells == 2).any(-1).long()
    for b in range(2):
        ranked = group[b][order[b]]
        first = int((group[b] >= 2).sum())
        assert bool((ranked[:first] >= 2).all())
        assert ranked[first:].tolist() == sorted(ranked[first:].tolist(), reverse=True)


@pytest.mark.parametrize("sampler", [n for n in mgt_core.list_samplers() if not issubclass(SAMPLERS.get(n), Adaptive)])
def test_cache_leaves_the_calls_as_they_are(sampler):
    """Where what is predicted does not decide how many there are."""
    counts = []
    for model in (PIPE.model, PIPE.model.with_token_cache(0.3)):
        seen = []
        mgt_core.sample(model, empty(), condition(seed=1), condition(seed=2), sampler=sampler, callback=seen.append)
        counts.append([(step.calls, step.passes) for step in seen])
    assert counts[0] == counts[1]


# Guidance residual reuse


@pytest.mark.parametrize("every", [1, 2, 3, 5])
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (0.25, 0.75)])
def test_passes_of_guidance_reuse(every, bounds):
    """Both conditions at the first step of the interval and every so many after it, and outside of it."""
    start, end = bounds
    seen = []
    model = PIPE.model.with_guidance_reuse(every, start=start, end=end)
    mgt_core.sample(model, empty(), condition(seed=1), condition(seed=2), steps=8, callback=seen.append)
    inside = range(int(8 * start), int(8 * end))
    expected = [1 if k in inside and (k - inside.start) % every else 2 for k in range(8)]
    passes = [step.passes for step in seen]
    assert [after - before for before, after in zip([0, *passes], passes, strict=False)] == expected
    assert [step.calls for step in seen] == list(range(1, 9))


@pytest.mark.parametrize("cfg", [0.5, 3.0])
@torch.inference_mode()
def test_guidance_reuse_formula(cfg):
    """Features without the prompt are those with it less the difference of the step before."""
    net, timestep = PIPE.model.network, torch.ones(2, device=DEVICE)
    first, second = (tokens_of(PIPE, torch.rand(2, *GRID) < 0.5, seed) for seed in (0, 1))
    guided = network(PIPE.model.with_guidance_reuse(2), 2)
    guided.logits(first, timestep, cfg, moment=at(1))
    positions = torch.stack([torch.randperm(GRID[0] * GRID[1])[:5] for _ in range(2)]).to(DEVICE)
    got = guided.logits(second, timestep, cfg, positions, at(2))

    def features(role, tokens):
        return net.features(tokens, timestep, net.prepare(getattr(guided, role), GRID))

    gap = features("positive", first) - features("negative", first)
    with_prompt = features("positive", second)
    logits = torch.lerp(net.head(with_prompt - gap), net.head(with_prompt), cfg).flatten(1, 2)
    expected = logits.gather(1, positions[..., None].expand(-1, -1, logits.shape[-1]))
    torch.testing.assert_close(got, expected, atol=GAP * (1 + cfg), rtol=0)
    assert (guided.calls, guided.passes) == (2, 3)


@pytest.mark.parametrize("cfg", [0.0, 1.0])
def test_guidance_reuse_without_guidance_changes_nothing(cfg):
    chosen = {"steps": 5, "cfg": cfg, "seed": 3}
    plain, reused = (
        mgt_core.sample(model, empty(batch=2), condition(seed=1), condition(seed=2), **chosen)
        for model in (PIPE.model, PIPE.model.with_guidance_reuse(2))
    )
    assert agree(plain.tokens, reused.tokens)


@pytest.mark.parametrize(
    ("attach", "chosen", "message"),
    [
        ("with_token_cache", {"share": 1.5}, "token cache share is 1.5"),
        ("with_token_cache", {"every": 0}, "token cache every is 0"),
        ("with_token_cache", {"start": 0.5, "end": 0.1}, "token cache starts at 0.5"),
        ("with_token_cache", {"ratio": 1}, "the token cache has no setting ratio; known are share, every, start, end"),
        ("with_guidance_reuse", {"every": 1.5}, "guidance reuse every is 1.5"),
        ("with_guidance_reuse", {"start": -1}, "guidance reuse start is -1"),
        ("with_guidance_reuse", {"share": 1}, "guidance reuse has no setting share"),
    ],
)
def test_bad_settings_are_named(attach, chosen, message):
    with pytest.raises(mgt_core.MGTError, match=message) as error:
        getattr(PIPE.model, attach)(**chosen)
    assert "\n" not in str(error.value)


def test_masked_again_cells_have_their_difference():
    """Zigzags mask cells that a step had revealed, with images of different masks."""
    state = partial(torch.arange(48).reshape(2, *GRID) % 5 == 0)
    model = PIPE.model.with_guidance_reuse(3)
    for sampler in ("masked_zsampling", "zsampling"):
        out = mgt_core.sample(model, state, condition(seed=1), condition(seed=2), sampler=sampler, steps=6)
        assert not bool(out.masked.any()) and bool(out.confidence.isfinite().all())
