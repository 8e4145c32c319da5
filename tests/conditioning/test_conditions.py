"""Several conditions at once: what the network predicts for them together, and what is refused."""

import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mgt_core import Condition, ConditionPart, Conditions, GuidanceSchedule, MGTError
from mgt_core.patches.base import Moment
from mgt_core.sampling.guided import AT_ONCE, GuidedNetwork
from support.device import DEVICE, agree
from support.node_runs import run as node
from support.pack import ALIAS
from support.runs import GRID, NEGATIVE, PIPE, POSITIVE, SAMPLERS, condition, empty, run, steps_of

regions = sys.modules[f"{ALIAS}.nodes.conditioning_regions"]
every_sampler = pytest.mark.parametrize("sampler", SAMPLERS)
few = settings(max_examples=8, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate])

OTHER, LONG = condition(seed=5), condition(seed=6, length=9)
LEFT = torch.zeros(1, *GRID)
LEFT[:, :, : GRID[1] // 2] = 1


def together(*parts) -> Conditions:
    return Conditions(tuple(part if isinstance(part, ConditionPart) else ConditionPart(part) for part in parts))


def logits(positive, negative, cfg, at=(0, 1), positions=None):
    """[B, M, V] of the network on a state that is half filled."""
    state = empty()
    tokens = state.tokens.to(DEVICE, copy=True)
    tokens[:, ::2] = 3
    given = [PIPE.model.complete(c, 1, GRID, "given").to(DEVICE) for c in (positive, negative)]
    positions = None if positions is None else positions.to(DEVICE)
    network = GuidedNetwork(PIPE.model.network, *given, GRID)
    with torch.inference_mode():
        return network.logits(tokens, torch.tensor([3.0], device=DEVICE), cfg, positions, Moment(*at)).cpu()


def of(condition) -> torch.Tensor:
    return logits(condition, NEGATIVE, 1.0)


def close(a, b):
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@every_sampler
def test_one_part_is_the_condition_itself(sampler):
    plain = run(sampler=sampler)
    for weight in (1.0, 0.3, torch.full((1, *GRID), 2.0)):
        parts = together(ConditionPart(POSITIVE, weight))
        assert agree(run(positive=parts, negative=together(NEGATIVE), sampler=sampler).tokens, plain.tokens)


@few
@given(st.floats(0.1, 5), st.floats(0.1, 5), st.floats(0, 4))
def test_parts_are_averaged_by_weight(a, b, cfg):
    mixed = together(ConditionPart(POSITIVE, a), ConditionPart(OTHER, b))
    share = a / (a + b)
    expected = share * of(POSITIVE) + (1 - share) * of(OTHER)
    close(logits(mixed, NEGATIVE, cfg), torch.lerp(of(NEGATIVE), expected, cfg))


def test_tables_of_weights_work_cell_by_cell():
    right = 1 - LEFT
    mixed = together(ConditionPart(POSITIVE, LEFT * 0.7), ConditionPart(OTHER, right * 2), ConditionPart(LONG, LEFT))
    here = LEFT.flatten(1)[..., None]
    left = (0.7 * of(POSITIVE) + of(LONG)) / 1.7
    expected = torch.where(here > 0, left, of(OTHER))
    close(of(mixed), expected)
    positions = torch.tensor([[0, 5, 7, 23]])
    some = logits(mixed, NEGATIVE, 1.0, positions=positions)
    close(some, expected.gather(1, positions[..., None].expand(-1, -1, expected.shape[-1])))


@pytest.mark.parametrize("index, expected", [(0, POSITIVE), (1, POSITIVE), (2, OTHER), (3, OTHER)])
def test_parts_act_in_their_time(index, expected):
    mixed = together(ConditionPart(POSITIVE, end=0.5), ConditionPart(OTHER, start=0.5))
    close(logits(mixed, NEGATIVE, 1.0, at=(index, 4)), of(expected))


def test_what_no_part_reaches_takes_the_other_sides_prediction():
    """So that guidance does nothing there; on either side."""
    here = LEFT.flatten(1)[..., None] > 0
    masked = together(ConditionPart(POSITIVE, LEFT))
    guided = torch.lerp(of(NEGATIVE), of(POSITIVE), 3.0)
    close(logits(masked, NEGATIVE, 3.0), torch.where(here, guided, of(NEGATIVE)))
    close(logits(masked, NEGATIVE, 1.0), torch.where(here, of(POSITIVE), of(NEGATIVE)))
    close(logits(POSITIVE, together(ConditionPart(NEGATIVE, LEFT)), 3.0), torch.where(here, guided, of(POSITIVE)))
    late = together(ConditionPart(POSITIVE, start=0.5))
    close(logits(late, NEGATIVE, 3.0, at=(0, 4)), of(NEGATIVE))
    close(logits(late, NEGATIVE, 3.0, at=(2, 4)), guided)


@every_sampler
def test_every_sampler_takes_parts(sampler):
    mixed = together(ConditionPart(POSITIVE, LEFT), ConditionPart(OTHER, end=0.5), ConditionPart(LONG, start=0.25))
    out = run(positive=mixed, sampler=sampler)
    assert not out.masked.any()
    assert not torch.equal(out.tokens, run(sampler=sampler).tokens)


@every_sampler
def test_batch_equals_single_runs(sampler):
    """With a table of weights of its own for every image."""
    tables = torch.rand(3, *GRID, generator=torch.Generator().manual_seed(2))
    mixed = together(ConditionPart(POSITIVE, tables), OTHER)
    whole = run(empty(batch=3), mixed, sampler=sampler, seed=11)
    for i in range(3):
        alone = run(empty(), together(ConditionPart(POSITIVE, tables[i : i + 1]), OTHER), sampler=sampler, seed=11 + i)
        assert agree(whole.tokens[i], alone.tokens[0])


def test_patches_keep_working():
    model = PIPE.model.with_token_merging(0.3).with_guidance(GuidanceSchedule(0.2, 0.8))
    pipe = replace(PIPE, model=model)
    assert not run(positive=together(POSITIVE, ConditionPart(LONG, LEFT)), pipe=pipe).masked.any()


# Cost


@pytest.mark.parametrize(
    "positive, calls, passes",
    [
        (together(POSITIVE, OTHER), 1, 3),
        (together(POSITIVE, LONG), 2, 3),
        (together(*[POSITIVE] * (AT_ONCE + 1)), 2, AT_ONCE + 2),
        (together(ConditionPart(POSITIVE, end=0.0), OTHER), 1, 2),
    ],
)
def test_calls_and_passes_are_counted(positive, calls, passes):
    _, seen = steps_of(positive=positive)
    assert (seen[0].calls, seen[0].passes) == (calls, passes)


def test_parts_that_do_not_act_cost_nothing():
    _, seen = steps_of(positive=together(POSITIVE, ConditionPart(OTHER, start=0.6)), steps=5)
    assert [step.passes for step in seen] == [2, 4, 6, 9, 12]


def test_a_longer_prompt_is_not_padded():
    """Filling up the shorter prompt, to save a call, would change the picture."""
    padded = Condition(torch.cat([POSITIVE.hidden, NEGATIVE.hidden[:, :4]], 1), POSITIVE.pooled)
    assert (of(padded) - of(POSITIVE)).abs().max() > 0.01


# What is refused


REFUSED = {
    "no part": (lambda: Conditions(()), "one or more"),
    "weight": (lambda: ConditionPart(POSITIVE, -1.0), "condition weight is -1.0"),
    "table": (lambda: ConditionPart(POSITIVE, torch.ones(2, 2)), r"table of shape \[2, 2\]"),
    "negative table": (lambda: ConditionPart(POSITIVE, -LEFT), "values from 0"),
    "time": (lambda: ConditionPart(POSITIVE, start=0.8, end=0.2), "starts at 0.8 and ends at 0.2"),
    "another grid": (
        lambda: run(positive=together(ConditionPart(POSITIVE, torch.ones(1, 2, 2)))),
        "positive condition has weights of shape",
    ),
    "another model": (
        lambda: run(positive=together(replace(POSITIVE, hidden=torch.zeros(1, 3, 7)))),
        "made for another model",
    ),
    "neither reaches": (
        lambda: run(positive=together(ConditionPart(POSITIVE, LEFT)), negative=together(ConditionPart(NEGATIVE, LEFT))),
        "at step 1 of 5 neither",
    ),
    "neither in time": (
        lambda: run(
            positive=together(ConditionPart(POSITIVE, end=0.5)), negative=together(ConditionPart(NEGATIVE, end=0.5))
        ),
        "at step 4 of 5 neither",
    ),
    "the other is missing": (
        lambda: run(positive=together(ConditionPart(POSITIVE, LEFT)), negative=None, cfg=1.0),
        "the negative one stands in, and none was given",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_sentence(case):
    action, words = REFUSED[case]
    with pytest.raises(MGTError, match=words) as error:
        action()
    assert "\n" not in str(error.value)


# CONDITIONING as ComfyUI's nodes write it


def test_mask_becomes_the_share_of_each_cell():
    mask = torch.zeros(32, 48)
    mask[:4, :8] = 1
    weight = regions.weight_from({"mask": mask, "mask_strength": 0.5, "strength": 3.0}, "positive", (4, 6), 8)
    expected = torch.zeros(1, 4, 6)
    expected[0, 0, 0] = 0.5 * 0.5 * 3
    close(weight, expected)


@pytest.mark.parametrize(
    "area, box",
    [
        (("percentage", 0.5, 0.5, 0.0, 0.5), (slice(0, 2), slice(3, 6))),
        (("percentage", 1.0, 1.0, 0.0, 0.0), (slice(0, 4), slice(0, 6))),
        (("percentage", 0.0, 1.0, 0.75, 0.0), (slice(3, 4), slice(0, 6))),
        ((2, 9, 1, 4), (slice(1, 3), slice(4, 6))),
    ],
)
def test_area_becomes_a_box(area, box):
    weight = regions.weight_from({"area": area}, "positive", (4, 6), 8)
    expected = torch.zeros(1, 4, 6)
    expected[0][box] = 1
    assert torch.equal(weight, expected)


def test_area_fades_in_from_inner_edges():
    """Over a quarter of its side at the most, as ComfyUI has it."""
    weight = regions.weight_from({"area": ("percentage", 1.0, 0.5, 0.0, 0.5)}, "positive", (4, 32), 8)
    assert weight[0, 0].tolist() == [0] * 16 + [0.25, 0.5, 0.75] + [1] * 13
    plain = regions.weight_from(
        {"area": ("percentage", 1.0, 0.5, 0.0, 0.5), "mask": torch.ones(1, 8, 8)}, "", (4, 32), 8
    )
    assert plain[0, 0].tolist() == [0] * 16 + [1] * 16


def test_the_hosts_nodes_reach_the_sampler():
    """Through the stand-ins of the runner, whose results are those of ComfyUI's nodes."""
    from runner.host_nodes import NODES

    def host(name, **inputs):
        return NODES[name][0]().run(**inputs)[0]

    def text(words):
        return node("MGTTextEncode", text=words, text_encoder=PIPE.text)[0]

    cat, hat = text("a cat"), text("a hat")
    left = host("ConditioningSetMask", conditioning=cat, mask=LEFT[0], strength=1.0, set_cond_area="default")
    changed = {
        "combined": host("ConditioningCombine", conditioning_1=cat, conditioning_2=hat),
        "averaged": host(
            "ConditioningAverage", conditioning_to=cat, conditioning_from=hat, conditioning_to_strength=0.3
        ),
        "joined": host("ConditioningConcat", conditioning_to=cat, conditioning_from=hat),
        "zero": host("ConditioningZeroOut", conditioning=cat),
        "early": host("ConditioningSetTimestepRange", conditioning=cat, start=0.0, end=0.5),
        "masked": left,
        "regions": host("ConditioningCombine", conditioning_1=left, conditioning_2=hat),
        "stronger": host(
            "ConditioningCombine",
            conditioning_1=host("ConditioningSetAreaStrength", conditioning=cat, strength=2.0),
            conditioning_2=hat,
        ),
    }
    inputs = {"model": PIPE.model, "negative": text(""), "steps": 4, "cfg": 3.0}
    inputs |= {"schedule": node("MGTMaskSchedule")[0], "sampler": node("MGTSamplerMaskGIT")[0]}
    unit = PIPE.model.pixels_per_token
    inputs["tokens"] = node("MGTEmptyTokens", model=PIPE.model, width=8 * unit, height=8 * unit)[0]
    results = {name: node("MGTSample", **inputs, positive=c)[0].tokens for name, c in {"plain": cat, **changed}.items()}
    assert len({tuple(tokens.flatten().tolist()) for tokens in results.values()}) == len(results)
    same = host("ConditioningSetAreaStrength", conditioning=cat, strength=2.0)
    assert torch.equal(node("MGTSample", **inputs, positive=same)[0].tokens, results["plain"])


def test_the_one_step_sampler_is_checked_as_one_step():
    late = together(ConditionPart(POSITIVE, start=0.5))
    with pytest.raises(MGTError, match="at step 1 of 1 neither"):
        run(empty(), late, together(ConditionPart(NEGATIVE, start=0.5)), sampler="one_step", steps=4, cfg=2.0)
