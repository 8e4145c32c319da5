"""Local guidance: how much words look at cells, and the cells that stay as they are."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given as for_all
from hypothesis import strategies as st

import mgt_core
from mgt_core import ReferencePicture
from mgt_core.patches.local_guidance import KEPT, LocalMaps, cell_scores, rescaled, smoothed
from mgt_core.patches.reference import RunReference
from support.families import acting
from support.references import GRID, MASKED, MODEL, NETWORK, PATCH, TOKENS, empty, tokens
from support.runs import few


def maps(seed=0, side=6, batch=2):
    return torch.rand(batch, side, side + 1, generator=torch.Generator().manual_seed(seed))


@few
@for_all(st.integers(0, 99), st.integers(2, 9))
def test_smoothing_by_its_formula(seed, side):
    """In loops, in float64."""
    x = rescaled(maps(seed, side)).double()
    h, w = x.shape[1:]
    at = lambda i, n: (i % (2 * n)) if i % (2 * n) < n else 2 * n - 1 - i % (2 * n)  # noqa: E731
    gauss = [torch.exp(torch.tensor(-((d / 1.5) ** 2) / 2, dtype=torch.float64)) for d in range(-6, 7)]
    for image, ours in zip(x, smoothed(x.float()), strict=True):
        blurred, varied = torch.zeros(2, h, w, dtype=torch.float64)
        for i in range(h):
            for j in range(w):
                near = [(dy, dx, image[at(i + dy, h), at(j + dx, w)]) for dy in range(-6, 7) for dx in range(-6, 7)]
                total = sum(gauss) ** 2
                blurred[i, j] = sum(gauss[dy + 6] * gauss[dx + 6] * v for dy, dx, v in near) / total
                window = torch.stack([v for dy, dx, v in near if max(abs(dy), abs(dx)) <= 2])
                varied[i, j] = window.var(correction=0)
        share = 1 - 0.7 * (varied - varied.min()) / (varied.max() - varied.min() + 1e-8)
        wanted = share * blurred + (1 - share) * image
        top = image > image.flatten().quantile(0.9)
        wanted = torch.where(top, KEPT * image + (1 - KEPT) * wanted, wanted)
        wanted = (wanted - wanted.min()) / (wanted.max() - wanted.min()) * (image.max() - image.min()) + image.min()
        torch.testing.assert_close(ours.double(), wanted, atol=1e-4, rtol=0)


def test_cells_that_nobody_looks_at_are_of_the_reference():
    """Masked ones alone, and below the threshold alone."""
    run = RunReference(ReferencePicture(TOKENS, local_guidance=0.4))
    run.started(SimpleNamespace(state=empty(), model=MODEL))
    run.maps.last_read = maps(side=4, batch=2)[:, :, :4]
    positions = torch.arange(64).flip(0)[None].expand(2, -1)
    step = mgt_core.Step(0, 4, MASKED, positions=positions)
    drawn = torch.full((2, 64), 1)
    low = (cell_scores(run.maps.last_read, GRID) < 0.4).flatten(1) & (MASKED.flatten(1) == NETWORK.mask_id)
    wanted = torch.where(low, TOKENS.flatten(1), 1).gather(1, positions)
    assert low.any() and not low.all() and torch.equal(run.chosen(drawn, step), wanted)


@pytest.mark.parametrize("sampler", ["maskgit", "path_planning", "first_hitting", "masked_zsampling", "uncage"])
def test_local_guidance_in_samplers(sampler):
    """More of it, more of the reference."""
    settings = {"sampler": sampler}
    if sampler == "uncage":  # which looks at the attention too
        settings["sampler"] = mgt_core.Uncage((2.0, 0.0), weight=30, end=1.0, objects=((((1,),), ((2,),)),))
    shares = [
        (tokens(MODEL.with_patch(ReferencePicture(TOKENS, local_guidance=g)), **settings) == TOKENS).float().mean()
        for g in (0.0, 0.5, 1.0)
    ]
    assert shares[0] < shares[1] < shares[2] and shares[2] > 0.5


@pytest.mark.parametrize("name", ["token_cache", "token_merging", "step_skipping"])
def test_local_guidance_beside_other_patches(name):
    model = acting(MODEL.with_patch(ReferencePicture(TOKENS, local_guidance=0.5)), name, mgt_core.PATCHES.get(name))
    assert not torch.equal(tokens(model), tokens(acting(MODEL.with_patch(PATCH), name, mgt_core.PATCHES.get(name))))


@pytest.mark.parametrize(("depth", "wanted"), [((14, 28), (14, 22)), ((2, 2), (1, 1)), ((7, 14), (7, 11))])
def test_which_blocks_are_read(depth, wanted):
    """Published are 28 to 36 of 42, 14 of them before the ones that hold text and image in one sequence."""
    maps = LocalMaps.of(PATCH, SimpleNamespace(block_counts=depth))
    assert (maps.first, maps.last) == wanted
