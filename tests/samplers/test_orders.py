"""Orders in which cells are revealed, and the sampler that follows them."""

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mgt_core
from mgt_core.samplers.fixed_order import arccos_targets
from support.device import agree
from support.runs import GRID, PIPE, POSITIVE, empty, few, grids_of_bools, partial, run, steps_of

CELLS = GRID[0] * GRID[1]
sides = st.integers(1, 40)


def order_of(name, grid, seed=0):
    return mgt_core.ORDERS.get(name)(grid, torch.Generator().manual_seed(seed))


# Orders


@few
@given(name=st.sampled_from(list(mgt_core.ORDERS)), height=sides, width=sides)
def test_every_order_holds_every_cell_once(name, height, width):
    order = order_of(name, (height, width))
    assert torch.equal(order.sort().values, torch.arange(height * width))


@pytest.mark.parametrize("grid", [(64, 64), (96, 64), (128, 128), (1, 512), (37, 91)])
def test_halton_covers_large_grids(grid):
    assert torch.equal(order_of("halton", grid).sort().values, torch.arange(grid[0] * grid[1]))


def radical_inverse(number: int, base: int) -> Fraction:
    value, share = Fraction(0), Fraction(1, base)
    while number:
        number, digit = divmod(number, base)
        value, share = value + digit * share, share / base
    return value


@few
@given(height=st.integers(1, 12), width=st.integers(1, 12))
def test_halton_is_exact_on_any_grid(height, width):
    """In fractions, one point after the other."""
    seen, number = [], 0
    while len(seen) < height * width:
        number += 1
        cell = int(height * radical_inverse(number, 2)) * width + int(width * radical_inverse(number, 3))
        if cell not in seen:
            seen.append(cell)
    assert order_of("halton", (height, width)).tolist() == seen


def test_halton_spreads_its_first_cells():
    """Any 16 in a row of an 8 x 8 grid's first half leave no quarter of the picture out."""
    order = order_of("halton", (8, 8))
    for start in range(0, 32, 16):
        rows, columns = order[start : start + 16] // 8 // 4, order[start : start + 16] % 8 // 4
        assert len(set(zip(rows.tolist(), columns.tolist(), strict=True))) == 4


def test_orders_do_not_hand_out_what_they_keep():
    order_of("halton", (4, 4)).zero_()
    assert int(order_of("halton", (4, 4)).sum()) == 120


# The sampler


@few
@given(
    first=grids_of_bools,
    second=grids_of_bools,
    order=st.sampled_from(list(mgt_core.ORDERS)),
    roll=st.booleans(),
    counts=st.sampled_from(["arccos", "schedule"]),
    steps=st.integers(1, 30),
)
def test_free_cells_are_revealed_in_order(first, second, order, roll, counts, steps):
    """Two images with different cells given: each step reveals the next free cells of each image's own order."""
    known = torch.cat([first, second])
    if bool(known.all()):
        return
    sampler = mgt_core.FixedOrder(order, roll, counts)
    out, seen = steps_of(partial(known), sampler=sampler, steps=steps, cfg=1.0, schedule="linear", seed=3)
    assert len(seen) == steps
    for image in range(2):
        generator = torch.Generator().manual_seed(3 + image)
        at = out.revealed_at[image].flatten()[sampler.places(GRID, generator)]
        at = at[at >= 0]
        assert torch.equal(at, at.sort().values) and len(at) == int((~known[image]).sum())
        left = [int(step.result.masked[image].sum()) for step in seen]
        targets = (
            arccos_targets(steps, len(at))
            if counts == "arccos"
            else mgt_core.SCHEDULES.get("linear")().targets(steps, len(at))
        )
        for before, target, after in zip([len(at), *left], targets, left, strict=False):
            assert after == max(target, 0) or before - after == 1 or after == before == 0 or after <= steps


def test_repainting_begins_with_as_many_cells_as_the_arccos_law_has_left():
    everywhere = torch.ones(1, *GRID, dtype=torch.bool)
    given = replace(partial(everywhere, ~everywhere), strength=0.5)
    _, seen = steps_of(given, sampler="halton", schedule="root", steps=8, cfg=1.0)
    counts = [int((step.tokens == given.mask_id).sum()) for step in seen]
    assert counts == [max(left, 8 - 4 - i) for i, left in enumerate(arccos_targets(8, CELLS)[3:7])]


@given(steps=st.integers(1, 300), total=st.integers(0, 5000))
@few
def test_arccos_counts_fall_to_nothing(steps, total):
    targets = arccos_targets(steps, total)
    assert targets[-1] == 0 and all(a >= b >= 0 for a, b in zip(targets, targets[1:], strict=False))


def test_orders_differ_and_rolls_move_them():
    by_order = {name: run(sampler=mgt_core.FixedOrder(name)).revealed_at.flatten() for name in mgt_core.ORDERS}
    assert len({tuple(at.tolist()) for at in by_order.values()}) == 3
    rolled = run(empty(batch=2), sampler=mgt_core.FixedOrder(roll=True)).revealed_at
    assert not torch.equal(rolled[0], rolled[1])
    plain = run(empty(batch=2), sampler=mgt_core.FixedOrder()).revealed_at
    assert torch.equal(plain[0], plain[1])


def test_sharpness_one_changes_nothing_and_a_sharp_one_takes_the_likeliest():
    plain = run(sampler=mgt_core.FixedOrder())
    assert agree(plain.tokens, run(sampler=mgt_core.FixedOrder(sharpness=(1.0, 1.0), power=3.0)).tokens)
    sharp = run(sampler=mgt_core.FixedOrder(sharpness=(100.0, 100.0)), cfg=1.0)
    best = mgt_core.sample(
        PIPE.model.with_modifier(mgt_core.TopKTopP(k=1)), empty(), POSITIVE, sampler="halton", steps=5, cfg=1.0, seed=7
    )
    assert (sharp.tokens == best.tokens).float().mean() > 0.8
    assert mgt_core.FixedOrder(sharpness=(1.0, 2.0), power=2.0, warmup=1).factors(3) == [0.5, 2.25, 4.0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"order": "spiral"}, "order is 'spiral', but the known ones are halton, random, raster"),
        ({"counts": "half"}, "counts is 'half'; accepted are arccos, schedule"),
        ({"sharpness": 1.0}, "sharpness is 1.0; expected two numbers"),
        ({"sharpness": (0.0, 1.0)}, "sharpness is 0.0"),
        ({"warmup": -1}, "warmup is -1"),
    ],
)
def test_settings_that_no_order_takes_are_named(settings, words):
    with pytest.raises(mgt_core.MGTError, match=words):
        mgt_core.FixedOrder(**settings)
