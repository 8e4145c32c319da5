"""Editing: image to image, inpainting, outpainting, variations, and pasting back, on a tiny model."""

from dataclasses import replace

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import mgt_core
from mgt_core.editing import free_cells
from mgt_core.errors import MGTError
from mgt_core.sampling.draws import GeneratorDraws, image_generators
from support.device import agree, equal
from support.golden import bundles, pipeline
from support.runs import NEGATIVE, POSITIVE, SAMPLERS, STEPPED, every_sampler

PIPE = pipeline(bundles()[0])
MODEL, CODEC = PIPE.model, PIPE.codec
UNIT = MODEL.pixels_per_token
GRID = (4, 6)
SIZE = (GRID[0] * UNIT, GRID[1] * UNIT)
few = settings(max_examples=6, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate])


def pictures(batch=1, seed=0, size=SIZE):
    return torch.rand(batch, *size, 3, generator=torch.Generator().manual_seed(seed))


def encoded(strength=1.0, batch=1, **details):
    return mgt_core.encode_image(MODEL, CODEC, pictures(batch, **details), strength)


def run(state, **chosen):
    return mgt_core.sample(MODEL, state, POSITIVE, NEGATIVE, **{"steps": 4, "cfg": 3.0, "seed": 7} | chosen)


def steps_of(state, **chosen):
    seen = []
    return run(state, callback=seen.append, **chosen), seen


def half_mask(batch=1):
    """The left half of the picture."""
    mask = torch.zeros(batch, *SIZE)
    mask[:, :, : SIZE[1] // 2] = 1
    return mask


# Image to image


@every_sampler
def test_strength_one_is_text_to_image(sampler):
    empty = mgt_core.empty_state(2, GRID, MODEL.mask_id, MODEL.codebook_size)
    assert torch.equal(run(encoded(batch=2), sampler=sampler).tokens, run(empty, sampler=sampler).tokens)


@every_sampler
def test_strength_zero_returns_the_input(sampler, caplog):
    state = encoded(0.0, batch=2)
    out = run(state, sampler=sampler)
    assert torch.equal(out.tokens, state.tokens)
    assert "strength 0 leaves none of the" in caplog.text


@pytest.mark.parametrize("strength, first", [(0.99, 1), (0.75, 2), (0.5, 3), (0.3, 5), (0.7, 2)])
def test_a_run_begins_as_the_schedule_stands(strength, first):
    """Step and masked cells are those that text to image has there."""
    _, whole = steps_of(mgt_core.empty_state(1, GRID, MODEL.mask_id, MODEL.codebook_size), steps=6)
    _, late = steps_of(encoded(strength), steps=6)
    assert [step.index for step in late] == list(range(first, 6))
    masked = [[int((step.tokens == MODEL.mask_id).sum()) for step in seen] for seen in (whole, late)]
    assert masked[1] == masked[0][first:]


@pytest.mark.parametrize("sampler", [s for s in STEPPED if not mgt_core.SAMPLERS.get(s).takes_back])
def test_what_is_not_masked_again_stays(sampler):
    state = encoded(0.5, batch=2)
    out, seen = steps_of(state, sampler=sampler)
    kept = seen[0].tokens.cpu() != MODEL.mask_id
    assert kept.any() and equal(out.tokens.cpu()[kept], state.tokens.cpu()[kept])
    assert (out.revealed_at[kept] == -1).all() and (out.revealed_at[~kept] >= 2).all()


def test_the_seed_decides_what_is_masked_again():
    def start(seed):
        return steps_of(encoded(0.5, batch=2), seed=seed)[1][0].tokens == MODEL.mask_id

    assert torch.equal(start(3), start(3)) and not torch.equal(start(3), start(5))
    assert torch.equal(start(3)[1], start(4)[0])


@every_sampler
@pytest.mark.parametrize("strength", [0.6, None])
def test_batch_equals_single_runs(sampler, strength):
    """Image to image, and inpainting with a mask of its own for every image."""
    state = replace(encoded(batch=3), strength=strength)
    if strength is None:
        mask = (torch.rand(3, *GRID, generator=torch.Generator().manual_seed(1)) < 0.6).float()
        state = mgt_core.mask_tokens(state, mask)
    together = run(state, sampler=sampler, seed=20)
    for i in range(3):
        one = replace(state, tokens=state.tokens[i : i + 1], fixed=state.fixed[i : i + 1])
        assert agree(run(one, sampler=sampler, seed=20 + i).tokens[0], together.tokens[i])


def test_a_finished_run_carries_no_strength():
    assert run(encoded(0.5)).strength is None


# Inpainting


@few
@given(st.integers(0, 2**20), st.sampled_from(SAMPLERS), st.sampled_from([1.0, 0.5]), st.integers(1, 40))
def test_fixed_tokens_stay(seed, sampler, strength, pixels):
    """Whatever the mask, the sampler and the strength; and all others hold a code in the end."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(2, SIZE[0] * SIZE[1])
    mask.scatter_(1, torch.randint(mask.shape[1], (2, pixels), generator=generator), 1.0)
    state = mgt_core.mask_tokens(encoded(strength, batch=2, seed=seed), mask.view(2, *SIZE))
    out = run(state, sampler=sampler, seed=seed)
    assert torch.equal(out.tokens[state.fixed], state.tokens[state.fixed])
    assert not out.masked.any()


@pytest.mark.parametrize("size", [SIZE, (SIZE[0] * 2, SIZE[1] * 3), (7, 11), GRID, (2, 3)])
def test_a_cell_is_free_if_any_of_its_pixels_is(size):
    height, width = size
    for y, x in ((0, 0), (height - 1, width - 1), (height // 2, width // 3)):
        mask = torch.zeros(size)
        mask[y, x] = 0.004  # one step of an 8-bit mask
        free = free_cells(mask, GRID)[0]
        for i in range(GRID[0]):
            for j in range(GRID[1]):
                rows = i * height < (y + 1) * GRID[0] and (i + 1) * height > y * GRID[0]
                columns = j * width < (x + 1) * GRID[1] and (j + 1) * width > x * GRID[1]
                assert bool(free[i, j]) == (rows and columns)


def test_grow_adds_whole_cells():
    mask = torch.zeros(SIZE)
    mask[0, 0] = 1
    assert int(free_cells(mask, GRID, grow=1).sum()) == 4
    assert int(free_cells(mask, GRID, grow=2).sum()) == 9
    assert free_cells(mask, GRID, grow=9).all()


def test_the_schedule_runs_over_the_free_cells_alone():
    """Every image has a count of its own, as if it were alone."""
    mask = torch.stack([half_mask()[0], torch.ones(SIZE)])
    _, seen = steps_of(mgt_core.mask_tokens(encoded(batch=2), mask), schedule="linear", steps=4)
    masked = torch.stack([(step.tokens == MODEL.mask_id).sum((1, 2)) for step in seen]).T.tolist()
    assert masked == [[12, 9, 6, 3], [24, 18, 12, 6]]


def test_a_mask_and_a_strength_repaint_part_of_the_free_cells():
    state = mgt_core.mask_tokens(encoded(0.5), half_mask())
    _, seen = steps_of(state, schedule="linear", steps=2)
    start = seen[0].tokens == MODEL.mask_id
    assert int(start.sum()) == 6 and not start[:, :, GRID[1] // 2 :].any()


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_an_empty_mask_returns_the_input(strength, caplog):
    state = encoded(strength)
    out = run(mgt_core.mask_tokens(state, torch.zeros(1, 64, 64)))
    assert torch.equal(out.tokens, state.tokens)
    assert "returned as they are" in caplog.text


def test_a_new_mask_replaces_the_one_before():
    painted = run(mgt_core.mask_tokens(encoded(), half_mask()))
    again = mgt_core.mask_tokens(painted, 1 - half_mask())
    assert torch.equal(again.masked, painted.fixed)


# Outpainting


@few
@given(st.tuples(*[st.integers(0, 2)] * 4).filter(any), st.integers(0, 3))
def test_padding_keeps_the_old_tokens_in_place(cells, redraw):
    unit = UNIT * MODEL.grid_multiple
    sides = tuple(side * unit for side in cells)
    state = encoded(batch=2)
    padded = mgt_core.pad_tokens(MODEL, state, sides, redraw)
    left, top, right, bottom = (side * MODEL.grid_multiple for side in cells)
    assert padded.grid == (GRID[0] + top + bottom, GRID[1] + left + right)
    old = padded.tokens[:, top : top + GRID[0], left : left + GRID[1]]
    kept = old != MODEL.mask_id
    assert torch.equal(old[kept], state.tokens[kept])
    assert torch.equal(padded.fixed, ~padded.masked) and padded.strength is None
    rows = slice(redraw if top else 0, GRID[0] - (redraw if bottom else 0))
    columns = slice(redraw if left else 0, GRID[1] - (redraw if right else 0))
    expected = torch.zeros(GRID, dtype=torch.bool)
    expected[rows, columns] = True
    assert torch.equal(kept[0], expected)


def test_outpainted_picture_holds_the_old_one():
    image = pictures()
    state = mgt_core.encode_image(MODEL, CODEC, image)
    sides = (2 * UNIT, 0, 0, 4 * UNIT)
    padded = mgt_core.pad_tokens(MODEL, state, sides)
    original, mask = mgt_core.pad_image(MODEL, state, image, padded, sides)
    out = mgt_core.paste_back(original, CODEC.decode(run(padded)), mask, feather=3)
    assert out.shape[1:3] == (SIZE[0] + 4 * UNIT, SIZE[1] + 2 * UNIT)
    assert equal(out[:, : SIZE[0], 2 * UNIT :], image)


# Variations


@few
@given(st.floats(0, 1), st.sampled_from(["random", "least confident"]), st.integers(0, 2**40))
def test_variations_mask_the_share(share, order, seed):
    state = run(encoded(batch=2))
    varied = mgt_core.vary_tokens(state, share, order, seed)
    assert varied.masked.flatten(1).sum(1).tolist() == [round(24 * share)] * 2
    assert torch.equal(varied.tokens[~varied.masked], state.tokens[~varied.masked])


def test_least_confident_tokens_are_masked():
    state = run(encoded(batch=2))
    varied = mgt_core.vary_tokens(state, 0.25, "least confident")
    for confidence, masked in zip(state.confidence, varied.masked, strict=True):
        assert confidence[masked].max() <= confidence[~masked].min()


def test_confidence_of_what_stays_is_kept():
    """So that a second round does not pick what the first has just drawn."""
    state = run(encoded())
    varied = mgt_core.vary_tokens(state, 0.5, "least confident")
    again = run(varied)
    assert torch.equal(again.confidence[~varied.masked], state.confidence[~varied.masked])
    assert (again.confidence[varied.masked] < 0).all()


def test_variations_are_decided_per_image():
    state = encoded(batch=3)
    together = mgt_core.vary_tokens(state, 0.5, seed=8).masked
    alone = replace(state, tokens=state.tokens[2:], fixed=state.fixed[2:])
    assert torch.equal(together[2], mgt_core.vary_tokens(alone, 0.5, seed=10).masked[0])
    assert not torch.equal(together[0], together[1])


def test_variations_and_the_run_after_them_draw_different_numbers():
    """Else the cells masked would be those whose first draw is small, and get the first codes of the codebook."""
    empty = mgt_core.empty_state(1, (32, 32), 9, 8)
    state = replace(empty, tokens=torch.zeros_like(empty.tokens))
    first = GeneratorDraws(image_generators([0]), 1024).uniform(torch.device("cpu"))
    masked = mgt_core.vary_tokens(state, 0.5, seed=0).masked.flatten(1)
    assert abs(first[masked].mean() - 0.5) < 0.05


def test_variations_leave_fixed_tokens_alone():
    state = run(mgt_core.mask_tokens(encoded(), half_mask()))
    varied = mgt_core.vary_tokens(state, 1.0)
    assert torch.equal(varied.masked, ~state.fixed)


# Pasting back


@few
@given(st.integers(0, 2**20), st.integers(0, 5), st.booleans())
def test_untouched_pixels_stay_exactly(seed, feather, soft):
    generator = torch.Generator().manual_seed(seed)
    original, repainted = pictures(2, seed), pictures(2, seed + 1)
    mask = torch.rand(1 if soft else 2, *SIZE, generator=generator)
    mask = mask.where(mask > 0.5, 0.0) if soft else (mask > 0.3).float()
    out = mgt_core.paste_back(original, repainted, mask, feather)
    outside = (mask == 0).expand(2, *SIZE)
    assert torch.equal(out[outside], original[outside])
    if not feather:
        inside = (mask == 1).expand(2, *SIZE)
        assert torch.equal(out[inside], repainted[inside])


def test_a_stroke_thinner_than_a_pixel_counts():
    """A mask painted on a large photograph, the picture scaled since."""
    original, repainted = pictures(1, 0), pictures(1, 1)
    mask = torch.zeros(1, *(5 * side for side in SIZE))
    mask[:, 5 * 3 + 1] = 1
    out = mgt_core.paste_back(original, repainted, mask)
    expected = original.clone()
    expected[:, 3] = repainted[:, 3]
    assert torch.equal(out, expected)


def test_feather_fades_in_over_its_pixels():
    mask = torch.zeros(1, 1, 12)
    mask[..., 2:] = 1
    out = mgt_core.paste_back(torch.zeros(1, 1, 12, 3), torch.ones(1, 1, 12, 3), mask, feather=3)
    assert out[0, 0, :, 0].tolist() == [0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1]


# Bad input

CASES = [
    (
        "odd size",
        lambda: mgt_core.encode_image(MODEL, CODEC, pictures(size=(17, 32))),
        ["17", "multiples", "scale it to 32 x 16"],
    ),
    ("no picture", lambda: mgt_core.encode_image(MODEL, CODEC, torch.zeros(3, 16, 16)), ["image", "[3, 16, 16]"]),
    ("strength", lambda: encoded(1.5), ["strength", "1.5", "0 to 1"]),
    ("mask rank", lambda: mgt_core.mask_tokens(encoded(), torch.zeros(1, 1, 8, 8)), ["mask", "[1, 1, 8, 8]"]),
    ("mask batch", lambda: mgt_core.mask_tokens(encoded(), torch.ones(3, 8, 8)), ["3 of mask for 1 image;", "give 1"]),
    ("grow", lambda: mgt_core.mask_tokens(encoded(), torch.ones(8, 8), grow=-1), ["grow", "-1"]),
    ("pad", lambda: mgt_core.pad_tokens(MODEL, encoded(), (UNIT + 1, 0, 0, 0)), ["left", str(UNIT + 1), "multiples"]),
    ("negative pad", lambda: mgt_core.pad_tokens(MODEL, encoded(), (0, 0, 0, -UNIT)), ["bottom", "multiples"]),
    (
        "image of another size",
        lambda: mgt_core.pad_image(MODEL, encoded(), pictures(size=(64, 64)), encoded(), (0, 0, 0, 0)),
        ["64 x 64", f"{SIZE[1]} x {SIZE[0]}"],
    ),
    ("share", lambda: mgt_core.vary_tokens(encoded(), 2.0), ["share", "2.0"]),
    ("order", lambda: mgt_core.vary_tokens(encoded(), 0.5, "best"), ["order", "best", "random, least confident"]),
    ("confidence", lambda: mgt_core.vary_tokens(encoded(), 0.5, "least confident"), ["no confidence", "MGT Sample"]),
    (
        "paste sizes",
        lambda: mgt_core.paste_back(pictures(size=(8, 8)), pictures(size=(16, 8)), torch.ones(8, 8)),
        ["8 x 8", "8 x 16", "must agree"],
    ),
]


@pytest.mark.parametrize("action, pieces", [pytest.param(a, p, id=n) for n, a, p in CASES])
def test_bad_input_gets_one_sentence(action, pieces):
    with pytest.raises(MGTError) as raised:
        action()
    assert all(piece in str(raised.value) for piece in pieces)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("channels", [(4, 3), (3, 4), (4, 4)])
def test_transparency_beside_the_colours(channels):
    original, repainted = (torch.rand(1, 8, 8, n, generator=torch.Generator().manual_seed(n)) for n in channels)
    pasted = mgt_core.paste_back(original, repainted, torch.zeros(8, 8))
    assert torch.equal(pasted, original[..., : min(channels)])
