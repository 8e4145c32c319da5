"""Orders of revealing and the sampler that follows them; the one-step sampler."""

import json
import math
from dataclasses import dataclass, replace
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mgt_core
from mgt_core.backbones.hooks import NO_PATCHES
from mgt_core.samplers.fixed_order import arccos_targets
from support.golden import ROOT, tensors
from support.recorded import Recorded
from support.runs import GRID, NEGATIVE, PIPE, POSITIVE, condition, empty, few, grids_of_bools, partial, run, steps_of

HALTON = ROOT / "maskgit" / "halton_tiny"
TRACES = sorted(path.with_suffix("") for path in HALTON.glob("trace_halton_*.safetensors"))
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


def test_golden_halton_orders(golden):
    recorded = tensors(HALTON / "halton_orders")
    assert recorded
    for name, cells in recorded.items():
        side = int(name.removeprefix("order_"))
        assert torch.equal(order_of("halton", (side, side)), cells[:, 0] * side + cells[:, 1])


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
    sampler = mgt_core.Ordered(order, roll, counts)
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


def test_golden_arccos_counts(golden):
    for name, counts in json.loads((ROOT / "maskgit" / "schedules.json").read_text())[
        "halton_sampler_cumulative_tokens"
    ].items():
        steps, side = (int("".join(filter(str.isdigit, part))) for part in name.split("/"))
        assert [max(i + 1, side**2 - left) for i, left in enumerate(arccos_targets(steps, side**2))] == counts


def test_orders_differ_and_rolls_move_them():
    by_order = {name: run(sampler=mgt_core.Ordered(name)).revealed_at.flatten() for name in mgt_core.ORDERS}
    assert len({tuple(at.tolist()) for at in by_order.values()}) == 3
    rolled = run(empty(batch=2), sampler=mgt_core.Ordered(roll=True)).revealed_at
    assert not torch.equal(rolled[0], rolled[1])
    plain = run(empty(batch=2), sampler=mgt_core.Ordered()).revealed_at
    assert torch.equal(plain[0], plain[1])


def test_sharpness_one_changes_nothing_and_a_sharp_one_takes_the_likeliest():
    plain = run(sampler=mgt_core.Ordered())
    assert torch.equal(plain.tokens, run(sampler=mgt_core.Ordered(sharpness=(1.0, 1.0), power=3.0)).tokens)
    sharp = run(sampler=mgt_core.Ordered(sharpness=(100.0, 100.0)), cfg=1.0)
    best = mgt_core.sample(
        PIPE.model.with_modifier(mgt_core.TopKTopP(k=1)), empty(), POSITIVE, sampler="halton", steps=5, cfg=1.0, seed=7
    )
    assert (sharp.tokens == best.tokens).float().mean() > 0.8
    assert mgt_core.Ordered(sharpness=(1.0, 2.0), power=2.0, warmup=1).factors(3) == [0.5, 2.25, 4.0]


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
        mgt_core.Ordered(**settings)


@dataclass
class RecordedDraws:
    recorded: dict

    def source(self, generators, cells):
        return self

    def categorical(self, logits, step):
        """Where the published run drew the mask token, which no model of ours can, another code."""
        race = self.recorded["exponential"][step.index]
        chances = logits.softmax(-1)
        if "topk_indices" in self.recorded:
            ids = self.rows(self.recorded["topk_indices"][step.index], step)
            drawn = ids.gather(-1, (chances.gather(-1, ids) / self.rows(race, step)).argmax(-1, keepdim=True))[..., 0]
        else:
            drawn = (chances / self.rows(race, step)).argmax(-1)
        return drawn.masked_fill(drawn == 48, 0)

    @staticmethod
    def rows(table, step):
        return table.gather(1, step.positions[..., None].expand(-1, -1, table.shape[-1]))


def seed_that_rolls(offsets):
    """A seed whose images are rolled as recorded."""

    def offset(seed):
        return int(torch.randint(64, (), generator=torch.Generator().manual_seed(seed)))

    drawn = [offset(seed) for seed in range(20_000)]
    return next(s for s in range(len(drawn) - 1) if drawn[s : s + 2] == offsets)


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.name)
def test_golden_halton_runs(path):
    """Token for token from the recorded logits and draws, with guidance, and with top-k and rolled orders."""
    told = json.loads((HALTON / "traces.json").read_text())[path.name.removeprefix("trace_")]
    recorded = tensors(path)
    model = mgt_core.MGTModel(Recorded(recorded, told["step"]), pixels_per_token=2)
    if told["top_k"] > 0:
        model = model.with_modifier(mgt_core.TopKTopP(told["top_k"]))
    sampler = mgt_core.Ordered(
        roll=told["randomize"],
        sharpness=(told["sm_temp_min"], told["sm_temp_max"]),
        power=told["temp_pow"],
        warmup=told["temp_warmup"],
        draws=RecordedDraws(recorded).source,
    )
    assert sampler.factors(told["step"]) == pytest.approx(told["softmax_multiplier"], abs=1e-6)
    seen = []
    out = mgt_core.sample(
        model,
        mgt_core.empty_state(2, (8, 8), 48, 49),
        mgt_core.Condition(labels=recorded["labels"]),
        mgt_core.Condition(labels=torch.tensor([-1])),
        sampler=sampler,
        steps=told["step"],
        cfg=1.0 + told["w"],
        seed=seed_that_rolls(recorded["roll_offset"].tolist()) if told["randomize"] else 0,
        callback=seen.append,
    )
    assert [int((~step.result.masked[0]).sum()) for step in seen] == told["cumulative_tokens"]
    assert int((recorded["tokens_out"][-1] == 48).sum()) == told["sampled_mask_token"]
    for index, step in enumerate(seen):
        assert torch.equal(step.tokens.eq(48) & ~step.result.masked, recorded["step_mask"][index])
    drawn_mask = (recorded["pred_code"] == 48) & recorded["step_mask"]
    expected = recorded["tokens_out"][-1].masked_fill(drawn_mask.any(0), 0)
    assert torch.equal(out.tokens, expected)


# One step


def test_one_step_is_one_call_over_every_free_cell():
    known = torch.arange(CELLS).reshape(1, *GRID) % 5 == 0
    state = partial(known)
    out, seen = steps_of(state, sampler="one_step", steps=1, cfg=1.0)
    assert len(seen) == 1 and (seen[0].calls, seen[0].passes) == (1, 1)
    assert torch.equal(out.tokens[known], state.tokens[known]) and not bool(out.masked.any())


def test_a_longer_run_says_that_one_step_is_made(caplog):
    out, seen = steps_of(sampler="one_step", steps=4, cfg=1.0)
    assert len(seen) == 1 and "makes one step" in caplog.text
    assert torch.equal(out.tokens, run(sampler="one_step", steps=1, cfg=1.0).tokens)


@pytest.mark.parametrize("masked", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("rule", ["index", "mask_ratio"])
def test_one_step_starts_as_described(masked, rule, monkeypatch):
    """The network is told timestep 0, or the share masked; the share is masked, the rest are codes all over."""
    asked = {}
    network = PIPE.model.network

    def features(tokens, timestep, prepared, patches=NO_PATCHES):
        asked.update(tokens=tokens, timestep=timestep, patches=patches)
        return type(network).features(network, tokens, timestep, prepared, patches)

    monkeypatch.setattr(network, "features", features)
    sampler = mgt_core.OneStep(masked=masked, noise=0.0)
    model = PIPE.model.with_timestep_rule(rule)
    mgt_core.sample(model, empty((8, 8)), POSITIVE, sampler=sampler, steps=1, cfg=1.0, seed=1)
    share = float((asked["tokens"] == PIPE.model.mask_id).float().mean())
    assert share == round(masked * 64) / 64
    codes = asked["tokens"][asked["tokens"] != PIPE.model.mask_id]
    assert len(codes) == 0 or (int(codes.max()) < PIPE.model.codebook_size and len(codes.unique()) > len(codes) // 2)
    assert asked["patches"].perturb is None
    assert asked["timestep"].tolist() == ([0.0] if rule == "index" else [share])


def test_embedding_noise_keeps_the_variance_and_is_the_images_own():
    seen = []
    network = PIPE.model.network
    prepared = network.prepare(PIPE.model.complete(POSITIVE, 1, (4, 6), "given"), (4, 6))

    def perturb(embeddings):
        seen.append(embeddings)
        return embeddings

    tokens = torch.zeros(1, 4, 6, dtype=torch.long)
    plain = network.features(tokens, torch.zeros(1), prepared)
    heeded = network.features(tokens, torch.zeros(1), prepared, replace(NO_PATCHES, perturb=perturb))
    assert torch.equal(plain, heeded) and seen[0].shape[:3] == (1, 4, 6)
    from mgt_core.samplers.one_step import noisy

    sample = torch.randn(2, 16, 16, 64, generator=torch.Generator().manual_seed(0))
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
