"""The token cache in every family; batches and identities are tested with the other choices."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn

import mgt_core
from mgt_core.loading.networks import load_backbone
from mgt_core.patches.base import Moment
from mgt_core.sampling.guided import GuidedNetwork
from support.bundles import published_halton
from support.device import HERE, agree
from support.families import FAMILIES, conditions, run
from support.golden import OWN
from support.runs import GRID
from support.tape import counted

# But those that are evaluated at a stage alone (tests/backbones/test_magnet_hooks.py).
CACHED = [name for name in FAMILIES if name != "magnet" and "cache" in mgt_core.BACKBONES.get(name).supports]
GAP = 1e-4
HALVED = "halton, rows of four cells"
# Blocks of one stream, whose first argument is all of their rows.
STREAMS = {
    "openmuse": lambda net: list(net.transformer_layers),
    "halton": lambda net: list(net.transformer["layers"]),
}
every_family = pytest.mark.parametrize("family", CACHED)
every_stream = pytest.mark.parametrize("name", [*STREAMS, HALVED])


@pytest.fixture(scope="module")
def pipes(tmp_path_factory):
    root = tmp_path_factory.mktemp("families")
    return cache(lambda family: mgt_core.load(FAMILIES[family](root / family), **HERE))


@pytest.fixture(scope="module")
def models(pipes, tmp_path_factory):
    """Those of STREAMS, and the Halton-MaskGIT whose rows stand for squares of cells."""

    @cache
    def model(name: str) -> mgt_core.MGTModel:
        if name != HALVED:
            return pipes(name).model
        file = tmp_path_factory.mktemp("halved") / "ImageNet_tiny.pth"
        halved = published_halton(OWN / "maskgit" / "halton_tiny" / "proj2", file)
        return mgt_core.MGTModel(load_backbone(halved, HERE["dtype"], HERE["device"]), pixels_per_token=2)

    return model


def grid_of(model):
    return model.network.trained_grid if model.network.only_trained_grid else GRID


def guided(pipe, model):
    """The guided network of a run of two images."""
    grid = grid_of(model)
    sides = [model.complete(each, 2, grid, "given") for each in conditions(pipe)]
    return GuidedNetwork(model.network, *sides, grid, model.run_patches())


def tokens_of(model, share, seed=0):
    generator = torch.Generator().manual_seed(seed)
    known = torch.rand(2, *grid_of(model), generator=generator) < share
    return torch.where(known, torch.randint(model.codebook_size, known.shape, generator=generator), model.mask_id)


def logits(evaluated, model, step, cfg=1.0):
    return evaluated.logits(tokens_of(model, step / 8), torch.ones(2), cfg, moment=Moment(step, 9, [False, False]))


@every_family
@pytest.mark.parametrize("cfg", [0.0, 1.0, 3.0])
@torch.inference_mode()
def test_a_refresh_is_the_plain_network_and_nothing_else_is(pipes, family, cfg):
    pipe = pipes(family)
    plain = guided(pipe, pipe.model)
    cached = guided(pipe, pipe.model.with_token_cache(0.25, every=3))
    for step in range(7):
        same = torch.equal(logits(cached, pipe.model, step, cfg), logits(plain, pipe.model, step, cfg))
        assert same == (step % 3 == 0), step


@every_family
@pytest.mark.parametrize("settings", [{"share": 1.0, "every": 3}, {"share": 0.25, "every": 1}], ids=str)
def test_neutral_settings_are_the_plain_run(pipes, family, settings):
    pipe = pipes(family)
    cached = replace(pipe, model=pipe.model.with_token_cache(**settings))
    assert torch.equal(run(cached, "sampler maskgit"), run(pipe, "sampler maskgit"))


@every_family
@torch.inference_mode()
def test_where_nothing_has_changed_nothing_moves(pipes, family):
    pipe = pipes(family)
    tokens, moments = tokens_of(pipe.model, 0.5), [Moment(step, 9, [False, False]) for step in range(3)]
    exact = guided(pipe, pipe.model).logits(tokens, torch.ones(2), 3.0)
    cached = guided(pipe, pipe.model.with_token_cache(0.25, every=9))
    for moment in moments:
        found = cached.logits(tokens, torch.ones(2), 3.0, moment=moment)
        torch.testing.assert_close(found, exact, atol=4 * GAP, rtol=0)


@contextmanager
def entering(blocks: list[nn.Module], change) -> Iterator[None]:
    """change: (place of the block, rows that enter it) -> those that do in their place."""
    handles = [
        block.register_forward_pre_hook(lambda module, given, place=place: (change(place, given[0]), *given[1:]))
        for place, block in enumerate(blocks)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@every_stream
@pytest.mark.parametrize("changed", [1, 5])
@torch.inference_mode()
def test_formula(models, name, changed):
    """Between refreshes rows whose cells changed are computed among the others as those entered every block before."""
    model = models(name)
    network, blocks = model.network, STREAMS[name.split(",")[0]](model.network)
    side, grid = network.row_side, grid_of(model)
    inner = grid[0] // side, grid[1] // side
    generator = torch.Generator().manual_seed(1)
    rows = torch.zeros(2, inner[0] * inner[1], dtype=torch.bool)
    for own in rows:
        own[torch.randperm(len(own), generator=generator)[:changed]] = True
    cells = rows.unflatten(1, inner).repeat_interleave(side, 1).repeat_interleave(side, 2)
    before = tokens_of(model, 0.5)
    now = torch.where(cells, (before + 1) % model.codebook_size, before)
    condition = mgt_core.Condition(labels=torch.tensor([1, 2]))
    prepared, time = network.prepare(condition, grid), torch.ones(2)

    entered: list[Tensor] = []

    def kept(place: int, x: Tensor) -> Tensor:
        lead = x.shape[1] - rows.shape[1]
        computed = torch.nn.functional.pad(rows, (lead, 0))[..., None]
        return torch.where(computed, x, entered[place])

    with entering(blocks, lambda place, x: (entered.append(x), x)[1]):
        old = network.features(before, time, prepared)
    with entering(blocks, kept):
        new = network.features(now, time, prepared)
    wanted = network.head(torch.where(cells[..., None], new, old)).flatten(1, 2)

    patched = model.with_token_cache(changed / rows.shape[1], every=9)
    cached = GuidedNetwork(network, condition, None, grid, patched.run_patches())
    for step, tokens in enumerate((before, now)):
        found = cached.logits(tokens, time, 1.0, moment=Moment(step, 9, [False, False]))
    torch.testing.assert_close(found, wanted, atol=GAP * float(wanted.abs().max()), rtol=0)
    exact = network.head(network.features(now, time, prepared)).flatten(1, 2)
    assert (found - exact).abs().max() > 10 * GAP


@every_stream
@torch.inference_mode()
def test_it_holds_what_the_network_says(models, name):
    model = models(name)
    network = model.network
    condition = mgt_core.Condition(labels=torch.tensor([1, 2]))
    (patch,) = model.with_token_cache(0.25, every=3).run_patches()
    GuidedNetwork(network, condition, None, grid_of(model), [patch]).logits(tokens_of(model, 0.5), torch.ones(2), 1.0)
    (kept,) = patch.kept.values()
    rows = 2 * (network.lead_rows + network.trained_grid[0] ** 2 // network.row_side**2)
    assert sum(tensor.numel() for tensor in kept.computed.tensors()) == rows * network.kept_width


@every_family
@torch.inference_mode()
def test_with_merging_a_refresh_is_merged_and_the_rest_is_not(pipes, family):
    pipe = pipes(family)
    merging = pipe.model.with_token_merging(0.5, blocks="all")
    alone, both = guided(pipe, merging), guided(pipe, merging.with_token_cache(0.25, every=2))
    for step in (4, 5):
        same = torch.equal(logits(both, pipe.model, step), logits(alone, pipe.model, step))
        assert same == (step == 4)


@every_family
@torch.inference_mode()
def test_step_skipping_keeps_what_is_computed(pipes, family):
    """As with all rows where the cache computes all of them, and otherwise nearer to that than before."""
    pipe = pipes(family)
    states = [tokens_of(pipe.model, share, seed=3) for share in (0.2, 0.5, 0.6)]

    def last(share):
        model = pipe.model.with_step_skipping(2)
        model = model.with_token_cache(share, every=9) if share is not None else model
        both = guided(pipe, model)
        for step, tokens in enumerate((states[0], states[0], states[1], states[2])):
            found = both.logits(tokens, torch.ones(2), 1, moment=Moment(step, 99, [False, False]))
        return found

    assert torch.equal(last(1.0), last(None))
    assert (last(0.6) - last(None)).norm() < 0.9 * (last(0.0) - last(None)).norm()


@every_family
@torch.inference_mode()
def test_self_guidance_follows_all_rows(pipes, family):
    """Its branch reads the last states of every row, computed or kept."""
    pipe = pipes(family)
    branch = mgt_core.fresh_branch(pipe.model.network)
    steered = pipe.model.with_self_guidance(branch, 1.0)
    alone, both = guided(pipe, steered), guided(pipe, steered.with_token_cache(0.25, every=2))
    for step in (4, 5):
        found = logits(both, pipe.model, step, 3.0)
        assert torch.equal(found, logits(alone, pipe.model, step, 3.0)) == (step == 4)
        assert bool(found.isfinite().all())


@pytest.mark.parametrize("family", [name for name in CACHED if name != "meissonic"])  # has files of its own for it
@pytest.mark.parametrize("skips", [False, True])
def test_it_is_recorded_and_compiled(pipes, family, skips, monkeypatch):
    pipe, tape = pipes(family), counted(monkeypatch)
    cached = pipe.model.with_token_cache(0.25, every=2).with_guidance_reuse(2)
    cached = cached.with_step_skipping(2) if skips else cached
    wanted = run(replace(pipe, model=cached), "sampler maskgit")
    for way in (cached.with_cuda_graphs(), *([] if skips else [cached.with_compile(backend="eager")])):
        assert agree(run(replace(pipe, model=way), "sampler maskgit"), wanted)
    assert tape.played
