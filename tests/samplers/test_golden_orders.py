"""Halton orders, counts and whole runs against the published sampler's."""

import json
from dataclasses import dataclass

import pytest
import torch

import mgt_core
from mgt_core.samplers.fixed_order import arccos_targets
from support.golden import ROOT, tensors
from support.recorded import Recorded

HALTON = ROOT / "maskgit" / "halton_tiny"
TRACES = sorted(path.with_suffix("") for path in HALTON.glob("trace_halton_*.safetensors"))


def test_golden_halton_orders(golden):
    recorded = tensors(HALTON / "halton_orders")
    assert recorded
    for name, cells in recorded.items():
        side = int(name.removeprefix("order_"))
        order = mgt_core.ORDERS.get("halton")((side, side), torch.Generator())
        assert torch.equal(order, cells[:, 0] * side + cells[:, 1])


def test_golden_arccos_counts(golden):
    for name, counts in json.loads((ROOT / "maskgit" / "schedules.json").read_text())[
        "halton_sampler_cumulative_tokens"
    ].items():
        steps, side = (int("".join(filter(str.isdigit, part))) for part in name.split("/"))
        assert [max(i + 1, side**2 - left) for i, left in enumerate(arccos_targets(steps, side**2))] == counts


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
    sampler = mgt_core.FixedOrder(
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
