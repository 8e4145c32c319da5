"""A reference picture beside the one that is made: its attention, whatever else acts, and local guidance."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given as for_all
from hypothesis import strategies as st

import mgt_core
from mgt_core import MGTError, ReferencePicture
from mgt_core.backbones.hooks import NO_HOOKS, Hooks
from mgt_core.backbones.meissonic.reference import Beside, Reference, attention_beside
from mgt_core.backbones.merge import BlockMerges, Merge
from mgt_core.patches.reference import RunReference
from mgt_core.patches.step_skipping import Added, Past
from mgt_core.patches.token_cache import ActiveCache, Computed
from support.device import DEVICE, agree
from support.families import acting
from support.references import (
    GRID,
    MASKED,
    MODEL,
    NEGATIVE,
    NETWORK,
    PATCH,
    PIPE,
    POSITIVE,
    TOKENS,
    codes,
    empty,
    tokens,
)
from support.runs import condition, few


@few
@for_all(st.integers(1, 5), st.integers(1, 4), st.integers(0, 3), st.floats(0.1, 5), st.integers(0, 99))
def test_attention_by_its_formula(rows, count, computed, strength, seed):
    """One softmax over everything, in which what lies between the two pictures counts `strength` times."""
    computed = min(computed, count)  # a token cache computes none of the reference
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(2, 3, rows + computed, 4, generator=generator)
    k, v = torch.randn(2, 2, 3, rows + count, 4, generator=generator)
    own = torch.zeros(2, count, 12)
    reference = Reference(own, own[:, 0], torch.zeros(count, 4), torch.tensor(strength).log().item())
    beside = Beside(reference, own[:, :computed], reference.table[:computed])
    weights = (q.double() @ k.double().transpose(2, 3) / 2).exp()
    weights[:, :, :rows, rows:] *= strength
    weights[:, :, rows:, :rows] *= strength
    wanted = weights / weights.sum(-1, keepdim=True) @ v.double()
    torch.testing.assert_close(attention_beside(q, k, v, None, beside).double(), wanted, atol=1e-5, rtol=1e-4)


@few
@for_all(st.integers(0, 4), st.integers(0, 4), st.integers(1, 5), st.integers(0, 99))
def test_a_merge_between_rows_that_stay(before, behind, size, seed):
    generator = torch.Generator().manual_seed(seed)
    merge = Merge(torch.randint(size, (2, 6), generator=generator), size, None)
    x = torch.randn(2, before + 6 + behind, 3, generator=generator)
    rows = merge.after(before, behind).merge(x)
    inner = x[:, before : before + 6]
    assert torch.equal(rows, torch.cat([x[:, :before], merge.merge(inner), x[:, before + 6 :]], 1))
    assert torch.equal(merge.after(before, behind).unmerge(rows)[:, before + 6 :], x[:, before + 6 :])


def test_without_strength_it_is_the_plain_model():
    plain = tokens()
    assert agree(tokens(MODEL.with_patch(ReferencePicture(TOKENS, 0.0, local_guidance=1.0))), plain)
    assert not torch.equal(tokens(MODEL.with_patch(PATCH)), plain)


def test_weak_references_come_near_to_none():
    """exp(score + ln s) vanishes with s."""
    prepared = NETWORK.prepare(POSITIVE.with_micro(torch.ones(2, 5)).to(DEVICE), GRID)
    with torch.inference_mode():
        plain = features(prepared)
        near = [features(NETWORK.with_reference(prepared, TOKENS, s)) - plain for s in (1e-8, 1.0)]
    assert near[0].abs().max() < 1e-4 < near[1].abs().max()


def features(prepared, hooks=NO_HOOKS, time=3.0):
    return NETWORK.features(MASKED.to(DEVICE), torch.tensor([time], device=DEVICE), prepared, hooks)


@pytest.fixture(scope="module")
def prepared():
    with torch.inference_mode():
        own = NETWORK.prepare(POSITIVE.with_micro(torch.ones(2, 5)).to(DEVICE), GRID)
        return NETWORK.with_reference(own, TOKENS, 1.3)


def test_a_picture_for_all_or_one_each():
    one = MODEL.with_patch(ReferencePicture(TOKENS[:1]))
    assert agree(tokens(one), tokens(MODEL.with_patch(ReferencePicture(TOKENS[:1].expand(2, -1, -1)))))
    both = tokens(MODEL.with_patch(PATCH))
    for image in range(2):
        alone = [
            mgt_core.Condition(c.hidden[image : image + 1], c.pooled[image : image + 1]) for c in (POSITIVE, NEGATIVE)
        ]
        model = MODEL.with_patch(ReferencePicture(TOKENS[image : image + 1], 1.1))
        assert agree(tokens(model, empty(1), *alone, seed=4 + image), both[image : image + 1])


CANDIDATES = {
    "best_of": lambda inner: mgt_core.BestOf(n=3, sampler=inner, at_once=2),
    "particles": lambda inner: mgt_core.Particles(n=2, sampler=inner),
    "one within the other": lambda inner: mgt_core.BestOf(n=2, sampler=mgt_core.Particles(n=2, sampler=inner)),
}


@pytest.mark.parametrize("name", CANDIDATES)
def test_candidates_of_a_picture_see_its_reference(name):
    """Those of a model that looks beside it, too."""
    beside = MODEL.with_patch(ReferencePicture(TOKENS.flip(1)))
    sampler = CANDIDATES[name](mgt_core.PathPlanning((2.0, 0.0), planner=beside))

    def seen(images):
        seeing = beside.with_patch(ReferencePicture(TOKENS[images].flip(1)))
        own = replace(sampler, sampler=with_planner(sampler.sampler, seeing))
        model = MODEL.with_patch(ReferencePicture(TOKENS[images])).with_patch(mgt_core.Rescoring(seeing))
        of = [mgt_core.Condition(c.hidden[images], c.pooled[images]) for c in (POSITIVE, NEGATIVE)]
        return tokens(model, empty(len(TOKENS[images])), *of, seed=4 + images.start, sampler=own)

    both = seen(slice(0, 2))
    assert not torch.equal(both[0], both[1])
    for image in range(2):
        assert agree(seen(slice(image, image + 1)), both[image : image + 1])


def with_planner(sampler, planner):
    if isinstance(sampler, mgt_core.PathPlanning):
        return replace(sampler, planner=planner)
    return replace(sampler, sampler=with_planner(sampler.sampler, planner))


def test_a_wrong_number_of_references_is_told_of_the_images():
    with pytest.raises(MGTError, match="2 references for 3 images; give 1 or 3"):
        tokens(
            MODEL.with_patch(PATCH),
            empty(3),
            *(condition(PIPE, seed, batch=3) for seed in (1, 2)),
            sampler=mgt_core.BestOf(n=2, sampler="maskgit"),
        )


@torch.inference_mode()
def test_what_a_cache_keeps_is_what_is_computed(prepared):
    """Of the same tokens and time: some rows beside kept ones, those of the reference among these."""
    computed = Computed()
    whole = features(prepared, Hooks(cache=ActiveCache(computed)))
    torch.testing.assert_close(whole, features(prepared))
    keys = computed.keys[0].shape[2]
    assert keys == prepared.context.shape[1] + 16 + prepared.reference.rows.shape[1]
    rows = torch.tensor([[0, 5, 9], [3, 1, 15]], device=DEVICE)
    torch.testing.assert_close(features(prepared, Hooks(cache=ActiveCache(computed, rows))), whole, atol=1e-4, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("first", [0, 1, 2])
def test_what_skipping_adds_is_what_was_computed(prepared, first):
    added = Added(torch.empty(2, 16, NETWORK.row_width, device=DEVICE))
    whole = features(prepared, Hooks(skip=Past(first, False, True, added)))
    torch.testing.assert_close(whole, features(prepared))
    torch.testing.assert_close(
        features(prepared, Hooks(skip=Past(first, True, False, added))), whole, atol=1e-4, rtol=0
    )


@torch.inference_mode()
def test_merging_of_no_rows_changes_nothing(prepared):
    class Nothing:
        def at(self, kind, image, grid):
            slots = torch.arange(image.shape[1], device=DEVICE).expand(2, -1)
            filled = torch.ones_like(slots, dtype=torch.bool)
            return BlockMerges(*[Merge(slots, image.shape[1], filled)] * 2)

    torch.testing.assert_close(features(prepared, Hooks(merging=Nothing())), features(prepared), atol=1e-4, rtol=0)


ROWS = ("token_merging", "token_cache", "step_skipping", "guidance_reuse", "self_guidance", "cuda_graphs")


@pytest.mark.parametrize("name", ROWS)
def test_beside_other_patches(name):
    """They act as without it, and a picture in a batch is as it is alone."""
    model = acting(MODEL.with_patch(PATCH), name, mgt_core.PATCHES.get(name))
    both = tokens(model)
    assert agree(both, tokens(model.with_patch(PATCH)))
    exact = mgt_core.PATCHES.get(name).place in ("network", "launch")
    assert torch.equal(both, tokens(MODEL.with_patch(PATCH))) == exact
    assert not torch.equal(both, tokens(acting(MODEL, name, mgt_core.PATCHES.get(name))))
    alone = [mgt_core.Condition(c.hidden[1:], c.pooled[1:]) for c in (POSITIVE, NEGATIVE)]
    assert agree(tokens(model.with_patch(ReferencePicture(TOKENS[1:], 1.1)), empty(1), *alone, seed=5), both[1:])


def test_compiled_calls_have_it(monkeypatch):
    """It is a tensor that a call is given, so that nothing falls back to the plain network."""
    model = MODEL.with_patch(PATCH).with_compile(backend="eager")
    calls, compiled = [], model.patch("compile").features(NETWORK)
    plain = compiled.plain
    monkeypatch.setattr(compiled, "plain", lambda *args: calls.append(args) or plain(*args))
    assert torch.equal(tokens(model, steps=2), tokens(MODEL.with_patch(PATCH), steps=2))
    assert compiled.possible and calls and all(args[2].reference is not None for args in calls)


def test_with_packed_weights():
    pipe = mgt_core.quantize_pipeline(PIPE, "w8a16")
    assert not torch.equal(tokens(pipe.model.with_patch(PATCH)), tokens(pipe.model))


def inpainted():
    """The upper half is free."""
    held = codes(seed=6)
    fixed = torch.zeros_like(held, dtype=torch.bool)
    fixed[:, 4:] = True
    return mgt_core.TokenState(held.masked_fill(~fixed, NETWORK.mask_id), fixed, NETWORK.mask_id, NETWORK.codebook_size)


@pytest.mark.parametrize("masked", [True, False])
def test_inpainting_masks_the_reference_too_unless_told_otherwise(masked):
    run = RunReference(ReferencePicture(TOKENS, mask_reference=masked))
    run.started(SimpleNamespace(state=inpainted()))
    upper, lower = run.tokens[:, :4], run.tokens[:, 4:]
    assert torch.equal(lower, TOKENS[:, 4:])
    assert (upper == NETWORK.mask_id).all() if masked else torch.equal(upper, TOKENS[:, :4])
    run.started(SimpleNamespace(state=empty()))  # all masked: nothing is known of where
    assert torch.equal(run.tokens, TOKENS)


def test_other_grids():
    other = ReferencePicture(codes(grid=(4, 6)))
    assert not torch.equal(tokens(MODEL.with_patch(other)), tokens())


WRONG = [
    ("no tokens", lambda: ReferencePicture(torch.rand(1, 8, 8)), "the reference is torch.float32 of shape"),
    ("no batch", lambda: ReferencePicture(TOKENS[0]), r"expected the tokens of pictures"),
    ("no rows", lambda: ReferencePicture(TOKENS, rows="owl"), "rows of local guidance are 'owl'"),
    ("a row below", lambda: ReferencePicture(TOKENS, rows=(-1,)), "row of local guidance is -1"),
    ("strength", lambda: ReferencePicture(TOKENS, 11), "reference strength is 11; accepted are numbers from 0 to 10"),
    ("codes", lambda: MODEL.with_patch(ReferencePicture(TOKENS + 30)), "this model has 40"),
    (
        "grid",
        lambda: MODEL.with_patch(ReferencePicture(codes(grid=(3, 4)))),
        "both sides to be a positive multiple of 2",
    ),
    ("count", lambda: tokens(MODEL.with_patch(ReferencePicture(codes(3)))), "3 references for 2 images; give 1 or 2"),
    (
        "grid of local guidance",
        lambda: tokens(MODEL.with_patch(ReferencePicture(codes(grid=(4, 6)), local_guidance=0.2))),
        "whose grid is 4 x 6 and the picture's 8 x 8",
    ),
    (
        "blocks",
        lambda: tokens(MODEL.with_patch(ReferencePicture(TOKENS, local_guidance=0.2, first_block=0, last_block=0.2))),
        "has none with text and image in one sequence; they begin at 0.5",
    ),
    (
        "rows",
        lambda: tokens(MODEL.with_patch(ReferencePicture(TOKENS, local_guidance=0.2, rows=(1, 99)))),
        "looks at row 99 of the prompt, which has 5",
    ),
]


@pytest.mark.parametrize(("make", "told"), [pytest.param(make, told, id=name) for name, make, told in WRONG])
def test_what_it_refuses(make, told):
    with pytest.raises(MGTError, match=told) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_it_is_told_by_the_pictures_too():
    same = ReferencePicture(TOKENS.clone(), 1.1)
    assert same == PATCH and hash(same) == hash(PATCH) and same != ReferencePicture(TOKENS.flip(0), 1.1)
    assert PATCH != ReferencePicture(TOKENS, 1.2) and PATCH != mgt_core.TokenCache()


def test_a_copy_of_the_network_has_it():
    """As quantization and hosts make them."""
    other = copy.deepcopy(NETWORK)
    assert other.supports >= {"reference"} and other.block_counts == NETWORK.block_counts
