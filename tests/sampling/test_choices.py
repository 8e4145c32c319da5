"""Design choices of inference in the library: alone and together, in batches, and where they change nothing."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mgt_core
from mgt_core import (
    DifferentialSampling,
    EntropyTemperature,
    GuidanceReuse,
    GuidanceSchedule,
    MaskedZSampling,
    MaskGIT,
    Momentum,
    NoiseRegularization,
    StepSkipping,
    TokenCache,
    TokenMerging,
    TopKTopP,
    ZSampling,
)
from mgt_core.patches.guidance_schedule import GUIDANCE_SHAPES
from mgt_core.presets import attached
from support.device import agree
from support.runs import GRID, PIPE, condition, empty, grids_of_bools, partial

CELLS = GRID[0] * GRID[1]
few = settings(max_examples=10, deadline=None, derandomize=True, database=None)
CURVE = mgt_core.CustomCurve(((0, 1), (0.3, 0.9), (0.6, 0.5), (1, 0)))

# name -> (what to attach, sampler, schedule)
TECHNIQUES = {
    "noise": ([NoiseRegularization()], "maskgit", "cosine"),
    "noise constant": ([NoiseRegularization(1.0, "constant", start=0.2, end=0.7)], "maskgit", "cosine"),
    "differential": ([DifferentialSampling()], "maskgit", "cosine"),
    "differential masked": ([DifferentialSampling(positions="masked")], "maskgit", "cosine"),
    "differential in zigzag": ([DifferentialSampling(positions="masked")], "masked_zsampling", "cosine"),
    "entropy": ([EntropyTemperature()], "maskgit", "cosine"),
    "top-k": ([TopKTopP(k=7)], "maskgit", "cosine"),
    "top-p": ([TopKTopP(p=0.6)], "maskgit", "cosine"),
    "guidance interval": ([GuidanceSchedule(0.3, 0.8)], "maskgit", "cosine"),
    "guidance rising": ([GuidanceSchedule(shape="rising", outside=0.0)], "maskgit", "cosine"),
    "masked zigzag": ([], MaskedZSampling(start=0.2, end=0.8), "cosine"),
    "masked zigzag, inversion 1": ([], MaskedZSampling(inversion_cfg=1.0, candidates=0.5), "cosine"),
    "zigzag": ([], "zsampling", "cosine"),
    "momentum": ([], "momentum", "cosine"),
    "masking again": ([], MaskGIT(40.0, known_confidence=20.0), "cosine"),
    "momentum, masking again": ([], Momentum(40.0, known_confidence=20.0), "cosine"),
    "temperature shape": ([], MaskGIT((20.0, 0.0), temperature_shape="late"), "cosine"),
    "curve": ([], "maskgit", CURVE),
    "merging": ([TokenMerging()], "maskgit", "cosine"),
    "merging, joint attention": ([TokenMerging(blocks="joint", part="attention", random=False)], "maskgit", "cosine"),
    "merging, single MLP": ([TokenMerging(0.3, (1, 2), blocks="single", part="mlp", start=0.2)], "maskgit", "cosine"),
    "merging, one block": ([TokenMerging(first_block=1, last_block=1, refresh=3)], "maskgit", "cosine"),
    "merging known tokens": ([TokenMerging(0.7, blocks="all", known_only=True)], "maskgit", "cosine"),
    "merging in zigzag": ([TokenMerging(seed=3)], "masked_zsampling", "cosine"),
    "cache": ([TokenCache()], "maskgit", "cosine"),
    "cache, half, a part of the run": ([TokenCache(0.5, 2, start=0.2, end=0.9)], "maskgit", "cosine"),
    "cache, nothing critical": ([TokenCache(0.0, 3)], "maskgit", "cosine"),
    "cache in zigzag": ([TokenCache(0.5)], "masked_zsampling", "cosine"),
    "guidance reuse": ([GuidanceReuse()], "maskgit", "cosine"),
    "guidance reuse, a part of the run": ([GuidanceReuse(3, start=0.2, end=0.8)], "maskgit", "cosine"),
    "guidance reuse in zigzag": ([GuidanceReuse()], MaskedZSampling(inversion_cfg=2.0), "cosine"),
    "skipping": ([StepSkipping()], "maskgit", "cosine"),
    "skipping, no block first, a part of the run": ([StepSkipping(3, 0, start=0.2, end=0.8)], "maskgit", "cosine"),
    "skipping in zigzag": ([StepSkipping(3)], "masked_zsampling", "cosine"),
    "skipping, merging, cache, reuse": (
        [StepSkipping(start=0.2), TokenMerging(0.5, blocks="all"), TokenCache(0.5, 3), GuidanceReuse(3)],
        "maskgit",
        "cosine",
    ),
    "merging, cache, reuse, interval": (
        [TokenMerging(), TokenCache(0.5, 3), GuidanceReuse(), GuidanceSchedule(0.1, 0.9)],
        "maskgit",
        "cosine",
    ),
    "all together": (
        [
            TokenMerging(0.4),
            TokenCache(0.6, 2),
            GuidanceReuse(),
            StepSkipping(),
            NoiseRegularization(0.5),
            EntropyTemperature(),
            DifferentialSampling(0.5),
            TopKTopP(k=20, p=0.9),
            GuidanceSchedule(0.1, 0.9, "cosine rising"),
        ],
        MaskedZSampling(temperature_shape="cosine"),
        CURVE,
    ),
}
every_technique = pytest.mark.parametrize("name", TECHNIQUES)

# Settings that leave the tokens of vanilla MaskGIT as they are, at guidance 3.
NEUTRAL = {
    "noise amplitude 0": NoiseRegularization(0.0),
    "noise never": NoiseRegularization(start=0.4, end=0.4),
    "differential share 0": DifferentialSampling(0.0),
    "differential share 0, masked": DifferentialSampling(0.0, "masked"),
    "differential never": DifferentialSampling(start=0.0, end=0.0),
    "entropy scale 0 floor 1": EntropyTemperature(0.0, floor=1.0),
    "entropy never": EntropyTemperature(start=1.0, end=1.0),
    "top-k 0 top-p 1": TopKTopP(0, 1.0),
    "top-k of all": TopKTopP(PIPE.model.codebook_size, 1.0),
    "truncation never": TopKTopP(1, 0.1, start=0.5, end=0.5),
    "merging ratio 0": TokenMerging(0.0),
    "merging never": TokenMerging(start=0.5, end=0.5),
    "merging in no block": TokenMerging(first_block=900),
    "merging windows beyond the grid": TokenMerging(stride=(9, 9)),
    "cache share 1": TokenCache(1.0),
    "cache always refreshed": TokenCache(0.1, every=1),
    "cache never": TokenCache(start=0.5, end=0.5),
    "guidance reuse every step": GuidanceReuse(1),
    "guidance reuse never": GuidanceReuse(start=0.5, end=0.5),
    "skipping no evaluation": StepSkipping(1),
    "skipping never": StepSkipping(start=0.5, end=0.5),
    "guidance full and constant": GuidanceSchedule(),
    "guidance never, outside as inside": GuidanceSchedule(0.5, 0.5, outside=3.0),
    "guidance rising from itself": GuidanceSchedule(shape="rising", outside=3.0),
}
NEEDED = {
    "self_guidance": {"branch": mgt_core.fresh_branch(PIPE.model.network)},
    "rescoring": {"rescorer": PIPE.model},
}
# What every part says of itself.
for registry in (mgt_core.MODIFIERS, mgt_core.PATCHES):
    for name, kind in ((name, registry.get(name)) for name in registry):
        # Those that the model cannot have are tried with the models that can.
        if kind.neutral is not None and not {getattr(kind, "needs", "")} - {"", *PIPE.model.network.supports}:
            NEUTRAL[f"{name} as it says"] = kind(**kind.neutral, **NEEDED.get(name, {}))
NEUTRAL_SAMPLERS = {
    name: kind(**kind.neutral)
    for name, kind in ((name, mgt_core.SAMPLERS.get(name)) for name in mgt_core.SAMPLERS)
    if kind.neutral is not None
}
NEUTRAL_SAMPLERS |= {
    "masked zigzag never": MaskedZSampling(start=0.5, end=0.5),
    "zigzag never": ZSampling(start=0.0, end=0.0),
}


def sample(state, parts=(), sampler="maskgit", schedule="cosine", positive=None, negative=None, **chosen):
    positive = condition(seed=1) if positive is None else positive
    negative = condition(seed=2) if negative is None else negative
    chosen = {"steps": 5, "cfg": 3.0, "seed": 7} | chosen
    model = attached(PIPE.model, parts)
    return mgt_core.sample(model, state, positive, negative, sampler=sampler, schedule=schedule, **chosen)


def technique(name, state, **chosen):
    parts, sampler, schedule = TECHNIQUES[name]
    return sample(state, parts, sampler, schedule, **chosen)


def single(state, i):
    return replace(state, tokens=state.tokens[i : i + 1], fixed=state.fixed[i : i + 1])


def row(whole, i):
    return mgt_core.Condition(hidden=whole.hidden[i : i + 1], pooled=whole.pooled[i : i + 1])


# Batches and runs


@every_technique
def test_batch_equals_single_runs(name):
    """Three images with prompts and given cells of their own."""
    given_cells = torch.stack([torch.arange(CELLS).reshape(GRID) % d == 0 for d in (3, 50, 7)])
    given_cells[1] = False
    state = partial(given_cells)
    positive, negative = condition(seed=3, batch=3), condition(seed=4, batch=3)
    together = technique(name, state, positive=positive, negative=negative, seed=40)
    for i in range(3):
        prompts = {"positive": row(positive, i), "negative": row(negative, i)}
        alone = technique(name, single(state, i), **prompts, seed=40 + i)
        assert agree(together.tokens[i], alone.tokens[0])
        assert agree(together.revealed_at[i], alone.revealed_at[0])


@few
@given(
    first=grids_of_bools, second=grids_of_bools, name=st.sampled_from(list(TECHNIQUES)), seed=st.integers(0, 2**64 - 1)
)
def test_batch_of_any_masks_equals_single_runs(first, second, name, seed):
    state = partial(torch.cat([first, second]))
    together = technique(name, state, steps=4, seed=seed)
    for i in range(2):
        alone = technique(name, single(state, i), steps=4, seed=(seed + i) % 2**64)
        assert agree(together.tokens[i], alone.tokens[0])


@every_technique
def test_runs_leave_nothing_for_each_other(name):
    """The same settings object again, with runs of another grid and batch in between and inside."""
    first = technique(name, empty(batch=2))
    technique(name, empty((2, 4), batch=3), steps=3, seed=1)
    inside = []

    def between(step):
        inside.append(technique(name, empty((2, 4)), steps=2, seed=2).tokens)

    again = technique(name, empty(batch=2), callback=between)
    assert torch.equal(first.tokens, again.tokens) and torch.equal(first.confidence, again.confidence)
    assert all(torch.equal(tokens, inside[0]) for tokens in inside)


@every_technique
@pytest.mark.parametrize("steps", [1, 2, CELLS])
def test_any_number_of_steps_fills_the_grid(name, steps):
    given_cells = torch.arange(CELLS).reshape(1, *GRID) < 5
    state = partial(given_cells)
    out = technique(name, state, steps=steps)
    assert not bool(out.masked.any())
    assert torch.equal(out.tokens[given_cells], state.tokens[given_cells])
    assert bool(out.confidence.isfinite().all())
    assert int(out.revealed_at.max()) == steps - 1


@every_technique
def test_techniques_do_something(name):
    batch = empty(batch=4)
    vanilla, changed = sample(batch), technique(name, batch)
    assert not torch.equal(vanilla.tokens, changed.tokens)


# Where nothing changes


@pytest.mark.parametrize("name", NEUTRAL)
@pytest.mark.parametrize("steps", [1, 2, CELLS])
def test_neutral_modifiers_give_the_vanilla_tokens(name, steps):
    vanilla, neutral = (sample(empty(batch=2), parts, steps=steps) for parts in ([], [NEUTRAL[name]]))
    assert agree(vanilla.tokens, neutral.tokens)
    assert agree(vanilla.revealed_at, neutral.revealed_at)


@pytest.mark.parametrize("name", NEUTRAL_SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, CELLS])
def test_neutral_samplers_give_the_vanilla_tokens(name, steps):
    vanilla = sample(empty(batch=2), steps=steps)
    neutral = sample(empty(batch=2), sampler=NEUTRAL_SAMPLERS[name], steps=steps)
    assert agree(vanilla.tokens, neutral.tokens)
    assert agree(vanilla.confidence, neutral.confidence)


@pytest.mark.parametrize("candidates", [0.0, 0.3, 1.0])
def test_zigzags_leave_given_cells_alone(candidates):
    """However few cells may be redrawn on the way back."""
    given_cells = torch.arange(CELLS).reshape(1, *GRID) < 5
    state = partial(given_cells)
    counts = []
    sampler = MaskedZSampling(candidates=candidates)
    out = sample(state, sampler=sampler, steps=4, callback=lambda step: counts.append(int(step.result.masked.sum())))
    assert torch.equal(out.tokens[given_cells], state.tokens[given_cells])
    assert counts == mgt_core.SCHEDULES.get("cosine")().counts(4, CELLS - 5)


@pytest.mark.parametrize("sampler", [MaskedZSampling(), ZSampling()])
def test_the_last_step_is_no_zigzag(sampler):
    assert agree(sample(empty(), steps=1).tokens, sample(empty(), sampler=sampler, steps=1).tokens)


@few
@given(
    names=st.permutations(list(NEUTRAL)),
    sampler=st.sampled_from([MaskGIT(), *NEUTRAL_SAMPLERS.values()]),
    known=grids_of_bools,
    steps=st.sampled_from([1, 2, 3, CELLS]),
    seed=st.integers(0, 2**64 - 1),
)
def test_all_neutral_together_in_any_order(names, sampler, known, steps, seed):
    state = partial(known)
    vanilla = sample(state, steps=steps, seed=seed)
    together = sample(state, [NEUTRAL[name] for name in names], sampler, steps=steps, seed=seed)
    assert agree(vanilla.tokens, together.tokens)


# Composition and cost


def test_modifiers_act_in_the_order_attached():
    """Noise before top-k 1 decides the token; after it there is nothing left to decide."""
    noise, best = NoiseRegularization(50.0, "constant"), TopKTopP(k=1)
    plain, after, before = (sample(empty(), parts).tokens for parts in ([best], [best, noise], [noise, best]))
    assert torch.equal(plain, after)
    assert not torch.equal(plain, before)


def test_attachments_are_listed_in_order_on_a_copy():
    noise, best = NoiseRegularization(), TopKTopP(k=1)
    model = PIPE.model.with_modifier(noise).with_guidance(GuidanceSchedule()).with_modifier(best)
    assert [line.partition("(")[0] for line in model.attached()] == [
        "GuidanceSchedule",
        "NoiseRegularization",
        "TopKTopP",
    ]
    assert model.attached()[1:] == [repr(noise), repr(best)]
    assert PIPE.model.attached() == []
    assert model.network is PIPE.model.network


@pytest.mark.parametrize(
    ("sampler", "calls"),
    [
        (MaskGIT(), 6),
        (Momentum(), 6),
        (ZSampling(), 11),
        (MaskedZSampling(), 16),
        (ZSampling(start=0.5), 8),
        (MaskedZSampling(end=0.5), 12),
        (MaskedZSampling(start=0.5, end=0.5), 6),
    ],
)
@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_calls_are_counted(sampler, calls, cfg):
    seen = []
    sample(empty(batch=2), sampler=sampler, steps=6, cfg=cfg, callback=seen.append)
    assert seen[-1].calls == calls


@pytest.mark.parametrize("positions", ["all", "masked"])
def test_differential_needs_a_step_before(positions):
    """In the first step there is nothing to compare with, so a run of one step is vanilla."""
    vanilla = sample(empty(), steps=1)
    assert agree(vanilla.tokens, sample(empty(), [DifferentialSampling(1.0, positions)], steps=1).tokens)


def test_differential_ignores_cells_that_are_in_the_table_for_others():
    """With positions "masked", another modifier that asks for every cell changes nothing."""
    state = partial(torch.arange(CELLS).reshape(1, *GRID) % 4 == 0)
    for sampler in ("maskgit", "masked_zsampling"):
        own = sample(state, [DifferentialSampling(positions="masked")], sampler)
        both = sample(state, [DifferentialSampling(positions="masked"), DifferentialSampling(0.0)], sampler)
        assert agree(own.tokens, both.tokens)


@pytest.mark.parametrize("shape", GUIDANCE_SHAPES)
def test_guidance_reaches_both_ends_of_its_interval(shape):
    for start, end, total in [(0.55, 1.0, 100), (0.0, 0.55, 100), (0.2, 0.8, 10)]:
        steps = range(round(start * total), round(end * total))
        values = [GuidanceSchedule(start, end, shape).guidance(9.0, k, total) for k in steps]
        assert min(values) >= 1 and max(values) == 9 and (shape == "constant" or min(values) == 1)
