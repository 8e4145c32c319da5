"""Halton orders, counts and whole runs against the published sampler's."""

from dataclasses import dataclass

import pytest
import torch

import mgt_core
from mgt_core.samplers.fixed_order import arccos_targets
from support.device import DEVICE, agree, equal
from support.golden import ROOT, settings, tensors
from support.recorded import Recorded

HALTON = ROOT / "maskgit" / "halton_tiny"
ARCCOS = settings(ROOT / "maskgit" / "schedules")["halton_sampler_cumulative_tokens"]
TRACES = sorted(path.with_suffix("") for path in HALTON.glob("trace_halton_*.safetensors"))


def test_golden_tree_holds_orders_and_runs():
    assert ARCCOS and TRACES


def test_golden_halton_orders():
    recorded = tensors(HALTON / "halton_orders")
    assert recorded
    for name, cells in recorded.items():
        side = int(name.removeprefix("order_"))
        order = mgt_core.ORDERS.get("halton")((side, side), torch.Generator())
        assert equal(order, cells[:, 0] * side + cells[:, 1])


def test_golden_arccos_counts():
    for name, counts in ARCCOS.items():
        steps, side = (int("".join(filter(str.isdigit, part))) for part in name.split("/"))
        assert [max(i + 1, side**2 - left) for i, left in enumerate(arccos_targets(steps, side**2))] == counts


@dataclass
class RecordedDraws:
    recorded: dict
    mask_id: int

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
        return torch.where(drawn == self.mask_id, logits[..., : self.mask_id].argmax(-1), drawn)

    @staticmethod
    def rows(table, step):
        return table.gather(1, step.positions[..., None].expand(-1, -1, table.shape[-1]))


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.name)
def test_golden_halton_runs(path, monkeypatch):
    """Token for token from the recorded logits and draws, with guidance, and with top-k and rolled orders."""
    told = settings(HALTON / "traces")[path.name.removeprefix("trace_")]
    recorded = tensors(path)
    net = Recorded(recorded, told["step"]).to(DEVICE)
    model, mask = mgt_core.MGTModel(net, pixels_per_token=2), net.mask_id
    if told["top_k"] > 0:
        model = model.with_modifier(mgt_core.TopKTopP(told["top_k"]))
    sampler = mgt_core.FixedOrder(
        roll=told["randomize"],
        sharpness=(told["sm_temp_min"], told["sm_temp_max"]),
        power=told["temp_pow"],
        warmup=told["temp_warmup"],
        draws=RecordedDraws(recorded, mask).source,
    )
    assert sampler.factors(told["step"]) == pytest.approx(told["softmax_multiplier"], abs=1e-6)
    # Where in the order each image begins is all that the run draws itself.
    offsets = iter(recorded["roll_offset"].cpu())
    monkeypatch.setattr(torch, "randint", lambda cells, shape, generator: next(offsets))
    seen = []
    out = mgt_core.sample(
        model,
        mgt_core.empty_state(len(recorded["labels"]), net.trained_grid, mask, net.codebook_size),
        mgt_core.Condition(labels=recorded["labels"]),
        mgt_core.Condition(labels=torch.tensor([-1])),
        sampler=sampler,
        steps=told["step"],
        cfg=1.0 + told["w"],
        callback=seen.append,
    )
    assert [int((~step.result.masked[0]).sum()) for step in seen] == told["cumulative_tokens"]
    assert int((recorded["tokens_out"][-1] == mask).sum()) == told["sampled_mask_token"]
    for index, step in enumerate(seen):
        assert agree(step.tokens.cpu().eq(mask) & ~step.result.masked, recorded["step_mask"][index])
    drawn_mask = (recorded["pred_code"] == mask) & recorded["step_mask"]
    codes = ~drawn_mask.any(0).cpu()
    assert codes.any() and agree(out.tokens[codes], recorded["tokens_out"][-1][codes])
