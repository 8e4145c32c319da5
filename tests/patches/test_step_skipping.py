"""Step skipping; batches and identities are tested with the other choices."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

import pytest
import torch

import mgt_core
from mgt_core.patches.base import Moment
from mgt_core.sampling.guided import GuidedNetwork
from support.device import HERE
from support.families import FAMILIES, conditions
from support.runs import GRID, NEGATIVE, PIPE, POSITIVE, condition, empty, every_sampler, partial

# But those that are evaluated at a stage alone (tests/backbones/test_magnet_hooks.py).
SKIPPING = [name for name in FAMILIES if name != "magnet" and "skip" in mgt_core.BACKBONES.get(name).supports]
GAP = 1e-4
every_family = pytest.mark.parametrize("family", SKIPPING)
# What blocks there are, in their order.
BLOCKS = {
    **dict.fromkeys(
        ("meissonic", "muddit", "editmgt"), lambda net: [*net.transformer_blocks, *net.single_transformer_blocks]
    ),
    "openmuse": lambda net: list(net.transformer_layers),
    "amused": lambda net: list(net.transformer_layers),
    "halton": lambda net: list(net.transformer["layers"]),
    "lumina_dimoo": lambda net: list(net.blocks),
    "mmada": lambda net: list(net.blocks),
    "show-o": lambda net: list(net.layers),
}


@pytest.fixture(scope="module")
def pipes(tmp_path_factory):
    root = tmp_path_factory.mktemp("families")
    return cache(lambda family: mgt_core.load(FAMILIES[family](root / family), **HERE))


def guided(pipe, model, grid, batch=2):
    """The guided network of a run of `batch` images."""
    sides = [model.complete(each, batch, grid, "given") for each in conditions(pipe)]
    return GuidedNetwork(model.network, *sides, grid, model.run_patches())


def tokens_of(model, grid, share, seed=0):
    generator = torch.Generator().manual_seed(seed)
    known = torch.rand(2, *grid, generator=generator) < share
    return torch.where(known, torch.randint(model.codebook_size, known.shape, generator=generator), model.mask_id)


def at(step, total=99):
    return Moment(step, total, [False, False])


@contextmanager
def outputs(module: torch.nn.Module) -> Iterator[list]:
    """What `module` gives, call by call."""
    seen = []
    handle = module.register_forward_hook(lambda module, inputs, output: seen.append(output))
    try:
        yield seen
    finally:
        handle.remove()


def grid_of(pipe):
    network = pipe.model.network
    return network.trained_grid if network.only_trained_grid else GRID


@every_family
@pytest.mark.parametrize("first", [0, 1, 2])
@pytest.mark.parametrize("cfg", [0, 1, 3.0])
@torch.inference_mode()
def test_where_nothing_has_changed_nothing_moves(pipes, family, first, cfg):
    pipe = pipes(family)
    grid = grid_of(pipe)
    tokens, time = tokens_of(pipe.model, grid, 0.5), torch.ones(2)
    exact = guided(pipe, pipe.model, grid).logits(tokens, time, cfg)
    skipping = guided(pipe, pipe.model.with_step_skipping(9, first=first), grid)
    for step in range(3):
        found = skipping.logits(tokens, time, cfg, moment=at(step))
        torch.testing.assert_close(found, exact, atol=GAP * (1 + cfg), rtol=0)
        assert torch.equal(found, exact) or step > 0


@pytest.mark.parametrize(("family", "first"), [*((family, 1) for family in SKIPPING), ("meissonic", 2)])
@torch.inference_mode()
def test_formula(pipes, family, first):
    """The first blocks of the tokens now, and what the others added to those of then."""
    pipe = pipes(family)
    model, grid, time = pipe.model, grid_of(pipe), torch.ones(2)
    before, now = tokens_of(model, grid, 0.3), tokens_of(model, grid, 0.7)
    blocks = BLOCKS[family](model.network)
    begins, ends = blocks[first - 1], blocks[-1]
    with outputs(begins) as begun, outputs(ends) as ended:
        guided(pipe, model, grid).logits(before, time, 1)
        guided(pipe, model, grid).logits(now, time, 1)
    begun = [each[0] if isinstance(each, tuple) else each for each in begun]  # of two streams, that of the image
    lead = ended[0].shape[1] - begun[0].shape[1]  # text rows
    expected = begun[1] + ended[0][:, lead:] - begun[0]

    def put(module, inputs, output):
        output[:, lead:] = expected
        return output

    handle = ends.register_forward_hook(put)
    wanted = guided(pipe, model, grid).logits(now, time, 1)
    handle.remove()
    skipping = guided(pipe, model.with_step_skipping(first=first), grid)
    with outputs(ends) as calls:
        skipping.logits(before, time, 1, moment=at(0))
        found = skipping.logits(now, time, 1, moment=at(1))
        assert len(calls) == 1
    torch.testing.assert_close(found, wanted, atol=GAP, rtol=0)
    exact = guided(pipe, model, grid).logits(now, time, 1)
    assert (found - exact).abs().max() > 100 * GAP


@every_family
def test_where_all_blocks_are_first_nothing_is_left_out(pipes, family):
    """Meissonic's single blocks never are."""
    pipe = pipes(family)
    grid, time = grid_of(pipe), torch.ones(2)
    skipping = guided(pipe, pipe.model.with_step_skipping(first=99), grid)
    with outputs(BLOCKS[family](pipe.model.network)[-1]) as calls:
        for step, share in enumerate((0.3, 0.7)):
            found = skipping.logits(tokens_of(pipe.model, grid, share), time, 3.0, moment=at(step))
    exact = guided(pipe, pipe.model, grid).logits(tokens_of(pipe.model, grid, 0.7), time, 3.0)
    every = 4 if "prompt" in pipe.model.network.condition_fields else 2  # whose prompts of two lengths are two calls
    assert torch.equal(found, exact) == (len(calls) == every) == (family not in ("meissonic", "muddit", "editmgt"))


@pytest.mark.parametrize("every", [1, 2, 3, 5])
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (0.25, 0.75)])
def test_which_steps_are_whole(every, bounds):
    """The first of the interval and every so many after it, those outside of it, and the last one."""
    start, end = bounds
    network, whole = PIPE.model.network, []
    model = PIPE.model.with_step_skipping(every, start=start, end=end)
    with outputs(network.single_transformer_blocks[-1]) as calls:
        mgt_core.sample(model, empty(), POSITIVE, NEGATIVE, steps=8, callback=lambda step: whole.append(len(calls)))
    inside = range(int(8 * start), min(int(8 * end), 7))
    expected = [0 if k in inside and (k - inside.start) % every else 1 for k in range(8)]
    assert [after - before for before, after in zip([0, *whole], whole, strict=False)] == expected


@every_sampler
def test_every_sampler_finishes(sampler):
    """Also those that go back, with images of different masks and cells that are masked again."""
    state = partial(torch.arange(48).reshape(2, *GRID) % 5 == 0)
    model = PIPE.model.with_step_skipping(3)
    with outputs(PIPE.model.network.single_transformer_blocks[-1]) as calls:
        seen = []
        chosen = {"sampler": sampler, "steps": 6, "callback": seen.append}
        out = mgt_core.sample(model, state, condition(seed=1), condition(seed=2), **chosen)
    assert not bool(out.masked.any()) and bool(out.confidence.isfinite().all())
    assert len(calls) < seen[-1].calls or len(seen) < 3  # one step has nothing to skip


@torch.inference_mode()
def test_each_condition_uses_its_half_of_the_pair():
    """What a guided evaluation keeps is for those of either condition alone."""
    tokens, time = tokens_of(PIPE.model, GRID, 0.5), torch.ones(2)
    exact = {cfg: guided(PIPE, PIPE.model, GRID).logits(tokens, time, cfg) for cfg in (0, 1, 3.0)}
    skipping = guided(PIPE, PIPE.model.with_step_skipping(9), GRID)
    with outputs(PIPE.model.network.single_transformer_blocks[-1]) as calls:
        for step, cfg in enumerate((3.0, 1, 0, 3.0)):
            found = skipping.logits(tokens, time, cfg, moment=at(step))
            torch.testing.assert_close(found, exact[cfg], atol=4 * GAP, rtol=0)
    assert len(calls) == 1 and list(skipping.patches[0].added) == [(("negative", 0), ("positive", 0))]


@torch.inference_mode()
def test_the_oldest_condition_says_when_a_call_is_due():
    """A prompt evaluated alone stays fresh, the other one of the pair does not."""
    tokens, time = tokens_of(PIPE.model, GRID, 0.5), torch.ones(2)
    skipping = guided(PIPE, PIPE.model.with_step_skipping(2), GRID)
    counts = []
    with outputs(PIPE.model.network.single_transformer_blocks[-1]) as calls:
        for step, cfg in enumerate((3.0, 1, 1, 3.0, 3.0)):
            skipping.logits(tokens, time, cfg, moment=at(step))
            counts.append(len(calls))
    assert counts == [1, 1, 2, 3, 3]


@torch.inference_mode()
def test_a_skipped_evaluation_leaves_the_token_cache_alone():
    """The cache counts the others, and computes all rows where skipping keeps something for the first time."""
    model = PIPE.model.with_token_cache(0.25, every=9).with_step_skipping(2, start=0.5)
    both, time, rows = guided(PIPE, model, GRID), torch.ones(2), []
    cached = next(patch for patch in both.patches if hasattr(patch, "kept"))
    for step in range(8):
        before = {entries: kept.age.clone() for entries, kept in cached.kept.items()}
        with outputs(PIPE.model.network.single_transformer_blocks[-1].attn) as calls:
            both.logits(tokens_of(PIPE.model, GRID, step / 8), time, 3.0, moment=at(step, 10))
        rows.append(calls[0].shape[1] if calls else 0)
        if not calls:
            assert all(torch.equal(before[entries], kept.age) for entries, kept in cached.kept.items())
    whole, few = rows[0], rows[1]
    assert few < whole / 2 and rows == [whole, few, few, few, few, whole, 0, few]


@torch.inference_mode()
def test_rows_that_a_token_cache_computes_are_kept_anew():
    """As with all rows where the cache computes all of them, and otherwise nearer to that than before."""
    time = torch.ones(2)
    states = [tokens_of(PIPE.model, GRID, share, seed=3) for share in (0.2, 0.5, 0.6)]

    def last(share):
        model = PIPE.model.with_step_skipping(2)
        model = model.with_token_cache(share, every=9) if share is not None else model
        run = guided(PIPE, model, GRID)
        for step, tokens in enumerate((states[0], states[0], states[1], states[2])):
            logits = run.logits(tokens, time, 1, moment=at(step))
        return logits

    assert torch.equal(last(1.0), last(None))
    assert (last(0.6) - last(None)).norm() < 0.9 * (last(0.0) - last(None)).norm()


@torch.inference_mode()
def test_float16_stays_finite_at_its_limit():
    """Blocks end at the largest number of the format; what they added to less than nothing is beyond it."""
    network = copy.deepcopy(PIPE.model.network).half()
    blocks = BLOCKS["meissonic"](network)
    blocks[0].register_forward_hook(lambda module, inputs, output: (torch.full_like(output[0], -200), output[1]))
    blocks[-1].register_forward_hook(lambda module, inputs, output: torch.full_like(output, 65504))
    skipping = guided(PIPE, replace(PIPE.model.with_step_skipping(2), network=network), GRID)
    for step in range(2):
        logits = skipping.logits(tokens_of(PIPE.model, GRID, 0.5), torch.ones(2), 3.0, moment=at(step))
        assert bool(logits.isfinite().all())
    assert bool(skipping.patches[0].added[("negative", 0), ("positive", 0)].values.isinf().all())


def test_self_guidance_follows_a_skipped_evaluation():
    """Its second pass, through all blocks, starts from what the skipped one is taken to have ended with."""
    branch = mgt_core.fresh_branch(PIPE.model.network)
    found = {}
    for every in (1, 2):
        model = PIPE.model.with_self_guidance(branch, 1.0).with_step_skipping(every)
        with outputs(PIPE.model.network.single_transformer_blocks[-1]) as calls:
            out = mgt_core.sample(model, empty(batch=2), POSITIVE, NEGATIVE, steps=6, cfg=3.0, seed=7)
        found[every] = len(calls), out.tokens
    assert found[1][0] == 12 and found[2][0] == 10 and not torch.equal(found[1][1], found[2][1])


def test_merging_beside_it():
    """Blocks that run are merged, in skipped evaluations as in whole ones."""
    merging = PIPE.model.with_token_merging(0.5, blocks="all")
    chosen = {"steps": 6, "cfg": 3.0, "seed": 7}
    runs = [
        mgt_core.sample(model, empty(batch=2), POSITIVE, NEGATIVE, **chosen).tokens
        for model in (merging, merging.with_step_skipping(2), PIPE.model.with_step_skipping(2))
    ]
    assert not any(torch.equal(runs[i], runs[j]) for i, j in ((0, 1), (1, 2), (0, 2)))


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"every": 0}, "step skipping every is 0"),
        ({"every": 1.5}, "step skipping every is 1.5"),
        ({"first": -1}, "step skipping first is -1"),
        ({"start": 0.5, "end": 0.1}, "step skipping starts at 0.5"),
        ({"share": 1}, "step skipping has no setting share; known are every, first, start, end"),
    ],
)
def test_bad_settings_are_named(chosen, message):
    with pytest.raises(mgt_core.MGTError, match=message) as error:
        PIPE.model.with_step_skipping(**chosen)
    assert "\n" not in str(error.value)
