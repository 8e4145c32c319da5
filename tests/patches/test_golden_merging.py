"""Token merging against the authors' recorded matchings and forward passes (golden/meissonic/tome)."""

import pytest
import torch

import mgt_core
from mgt_core.backbones.hooks import Hooks
from mgt_core.loading.networks import load_backbone
from mgt_core.patches.token_merging import ActiveMerging, TokenMerging, destinations_at, match
from support.device import DEVICE
from support.golden import MEISSONIC, assert_near, label, settings, tensors

TOME = MEISSONIC / "tome"
FILES = [path.with_suffix("") for path in sorted(TOME.glob("*.json"))]
MATCHINGS = [
    pytest.param(file, name, case, id=name)
    for file in FILES
    for name, case in sorted(settings(file).get("cases", {}).items())
]
RUNS = [pytest.param(file, id=label(file)) for file in FILES if "checkpoint" in settings(file)]


def test_golden_tree_holds_matchings_and_runs():
    assert MATCHINGS and RUNS


def rows_by_token(recorded, prefix, batch):
    """Token index of every merged row of the reference: unmerged sources in its order, then destinations."""
    sources, targets = recorded[prefix + "a_idx"][0, :, 0], recorded[prefix + "b_idx"][0, :, 0]
    return torch.cat([sources[recorded[prefix + "unm_idx"][batch, :, 0]], targets])


@pytest.mark.parametrize("file, name, case", MATCHINGS)
def test_golden_matching(file, name, case):
    recorded = tensors(file)
    metric, x = recorded[f"{name}.metric"], recorded[f"{name}.x"]
    pick = recorded[f"{name}.rand_idx"][..., 0].cpu()  # as destinations are drawn
    chosen = destinations_at((case["h"], case["w"]), (case["sy"], case["sx"]), pick)
    merge = match(metric, chosen, [case["r_requested"]] * len(metric))
    assert int(chosen.sum()) == case["num_dst"] and merge.size == case["N"] - case["r_used"]
    ours = merge.merge(x)
    for b in range(len(x)):
        tokens = rows_by_token(recorded, f"{name}.", b)
        assert_near(ours[b][merge.slot[b][tokens]], recorded[f"{name}.merged"][b])
    assert_near(merge.unmerge(ours), recorded[f"{name}.unmerged"])


class RecordedMerging(ActiveMerging):
    """Takes the recorded random destinations instead of drawing its own."""

    def __init__(self, config, recorded):
        super().__init__(config)
        self.recorded, self.matchings = recorded, 0

    def choose(self, grid):
        pick = self.recorded[f"match{self.matchings}.rand_idx"][..., 0].cpu()
        self.matchings += 1
        return destinations_at(grid, self.settings.stride, pick)


@pytest.mark.parametrize("path", RUNS)
@torch.inference_mode()
def test_golden_merged_forward(path):
    """A sequence of calls on one merging state, as the authors' patched model keeps it."""
    recorded, config = tensors(path), settings(path)
    network = load_backbone(MEISSONIC / config["checkpoint"], torch.float32, DEVICE)
    condition = mgt_core.Condition(
        hidden=recorded["encoder_hidden_states"],
        pooled=recorded["pooled_projections"],
        micro=recorded["micro_conds"],
    )
    chosen = TokenMerging(ratio=config["ratio"], stride=(config["sy"], config["sx"]), blocks="joint")
    merging = RecordedMerging(chosen, recorded)
    calls = {int(key.split(".")[0].removeprefix("call")) for key in recorded if key.startswith("call")}
    assert calls
    for call in (f"call{number}" for number in sorted(calls)):
        tokens = recorded[f"{call}.tokens"]
        prepared = network.prepare(condition, tuple(tokens.shape[1:]))
        merging.begin([False] * len(tokens))
        logits = network.head(network.features(tokens, recorded[f"{call}.timestep"], prepared, Hooks(merging)))
        assert_near(logits, recorded[f"{call}.logits"].permute(0, 2, 3, 1))
    assert merging.matchings == len(config["matches"])
