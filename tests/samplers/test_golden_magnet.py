"""MAGNeT's decoding against the published one: span masks, counts, single draws, and whole runs from recorded draws."""

import json

import pytest
import torch

import mgt_core
from mgt_core import Condition, GuidanceSchedule, Spans, StageSteps, TokenState, TopKTopP
from mgt_core.samplers.spans import nucleus, union_of_spans
from mgt_core.sampling.run import Run
from support.device import DEVICE
from support.golden import ROOT, assert_near, settings, tensors
from support.golden_magnet import after_projection

MAGNET = ROOT / "audio" / "magnet"
MODEL = after_projection(MAGNET)
TRACES = sorted(path.with_suffix("") for path in (MAGNET / "traces").glob("*.json"))
COUNTS = json.loads((MAGNET / "schedule.json").read_text())
CASES = json.loads((MAGNET / "span_masks.json").read_text())
DRAWS = tensors(MAGNET / "sampling")
SINGLE = sorted({name.split(".")[0] for name in DRAWS if name.endswith(".tokens")})
ARRANGEMENTS = {"nonoverlap": "nonoverlapping", "stride1": "overlapping"}
SCORINGS = {"max": "max", "prod": "product"}


def race(weights, exponential, ranked):
    """Ids that torch.multinomial takes with these exponential numbers. ranked: whether they belong to the weights in
    their order, the largest first."""
    if not ranked:
        return (weights / exponential).argmax(-1)
    ordered, order = weights.sort(dim=-1, descending=True)
    return order.gather(-1, (ordered / exponential).argmax(-1, keepdim=True))[..., 0]


class RecordedDraws:
    """Of a run that is made in stages, each of which asks for its own."""

    def __init__(self, exponential, counts, ranked):
        self.ranked, self.begun = ranked, iter(exponential.split(counts))

    def source(self, generators, cells):
        self.exponential = next(self.begun)
        return self

    def categorical(self, logits, step):
        own = self.exponential[step.index].to(logits.device)
        rows = own.gather(1, step.positions[..., None].expand(-1, -1, own.shape[-1]))
        return race(logits.softmax(-1), rows, self.ranked)


def state_of(told, recorded) -> TokenState:
    """All masked but what a prompt gives."""
    shape = len(told["texts"]), recorded["final_tokens"].shape[1], told["max_gen_len"]
    state = mgt_core.empty_state(shape[0], shape[1:], MODEL.mask_id, MODEL.codebook_size)
    prompt = recorded.get("prompt", torch.zeros(*shape[:2], 0)).long()
    tokens, fixed = state.tokens.to(DEVICE), state.fixed.to(DEVICE)
    tokens[..., : told["prompt_length"]], fixed[..., : told["prompt_length"]] = prompt, True
    return TokenState(tokens, fixed, state.mask_id, state.codebook_size)


def test_golden_tree_holds_what_is_compared():
    assert TRACES and COUNTS and len(SINGLE) >= 3
    assert any(case["fixed_masked_again"] for case in CASES)


@pytest.mark.parametrize("key", COUNTS)
def test_golden_counts(key):
    steps, total = (int("".join(filter(str.isdigit, part))) for part in key.split("."))
    assert [total, *mgt_core.SCHEDULES.get("magnet")().targets(steps, total)] == [*COUNTS[key], 0]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["case"]))
def test_golden_unions_of_spans(case):
    recorded, name = tensors(MAGNET / "span_masks"), f"case{case['case']}"
    found = union_of_spans(recorded[f"{name}.scores"].cpu()[None], case["span_len"], [case["target"]])
    assert torch.equal(found[0], recorded[f"{name}.mask"].cpu().bool())


@pytest.mark.parametrize("name", SINGLE)
def test_golden_single_draws(name):
    before, kind, share = DRAWS[f"{name}.probs_in"], name[:5], name[5:].replace("_", ".")
    logits, wanted = before.log(), DRAWS[f"{name}.tokens"]
    if kind == "top_k":
        logits = TopKTopP(int(share)).rows(logits.flatten(0, 1)).view_as(logits)
    # What is drawn from is no longer all of it under top-p; what counts is.
    assert_near(logits.softmax(-1), DRAWS[f"{name}.probs_after"])
    weights = (nucleus(logits, float(share)) if kind == "top_p" else logits).softmax(-1)
    assert torch.equal(race(weights, DRAWS[f"{name}.exponential"], kind == "top_p"), wanted.long())


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.name)
def test_golden_runs(path, monkeypatch):
    """Of all stages, free-running: tokens and masks of every step, what was drawn, with which chances, and scores."""
    told, recorded = settings(path), tensors(path)
    counts, steps = told["decoding_steps"], told["steps"]
    ranked = told["top_p"] > 0 and told["use_sampling"]
    sampler = Spans(
        told["span_len"],
        ARRANGEMENTS[told["span_arrangement"]],
        SCORINGS[told["span_scoring"]],
        told["temp"],
        told["anneal_temp"],
        told["top_p"] or 1.0,
        not told["use_sampling"],
        draws=RecordedDraws(recorded.get("exponential", recorded["sampled"]), counts, ranked).source,
    )
    guidance = GuidanceSchedule(shape="mask", outside=told["min_cfg_coef"])
    own = MODEL.with_patch(StageSteps(counts)).with_patch(guidance)
    if told["top_k"] and told["use_sampling"]:
        own = own.with_modifier(TopKTopP(told["top_k"]))
    positive, negative = (Condition(hidden=rows) for rows in recorded["cond"].chunk(2))

    seen, drawn = [], []
    draw = Run.draw
    monkeypatch.setattr(Run, "draw", lambda run, *args, **how: drawn.append(draw(run, *args, **how)) or drawn[-1])
    out = mgt_core.sample(
        own,
        state_of(told, recorded),
        positive,
        negative,
        sampler=sampler,
        steps=sum(counts),
        cfg=told["max_cfg_coef"],
        callback=seen.append,
    )
    assert torch.equal(out.tokens, recorded["final_tokens"].long())
    assert len(seen) == len(drawn) == len(steps)
    coefficients = [w for count in counts for w in own.guidances(told["max_cfg_coef"], count)]
    assert coefficients == pytest.approx([step["coef"] for step in steps], abs=1e-6)
    temperatures = [max(step["temperature"], 0.01) for step in steps]
    assert [t for count in counts for t in sampler.softness(count)] == temperatures
    spans = sampler.arranged(out.grid[1])
    for index, (before, now) in enumerate(zip(seen, drawn, strict=True)):
        assert torch.equal(before.tokens, recorded["tokens_in"][index].long())
        masked = now.step.tokens[:, 0] == MODEL.mask_id
        assert masked.sum(1).tolist() == steps[index]["masked_tokens"]
        assert bool((now.cells | ~masked).all())
        fresh = masked & now.cells
        assert torch.equal(now.tokens[fresh], recorded["sampled"][index].long()[fresh])
        chances = recorded["sampled_probs"][index]
        assert_near(now.log_probability.exp()[now.cells], chances[now.cells])
        scores, settled = spans.scores(now.log_probability), recorded["scores"][index] == -1e4
        assert torch.equal(spans.holding(masked), ~settled)
        torch.testing.assert_close(scores[~settled], recorded["scores"][index][~settled], atol=1e-4, rtol=1e-4)
