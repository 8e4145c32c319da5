"""Self-Guidance against UnlockMGM: the branch's forward pass, whole runs, and one training batch."""

import math
from functools import cache

import pytest
import torch

import mgt_core
from mgt_core.loading.networks import load_backbone
from mgt_core.sampling.guided import GuidedNetwork
from mgt_core.self_guidance.files import load_branch
from mgt_core.self_guidance.objective import branch_loss, first_pass, mask_some, propose, substitute
from support.device import DEVICE, agree
from support.golden import GAP, ROOT, assert_near, settings, tensors

FOLDERS = sorted(path.parent for path in (ROOT / "maskgit").glob("openmuse_*/config.json"))
RUNS = sorted(path.with_suffix("") for path in (ROOT / "maskgit").glob("openmuse_*/trace_generate_sg_*.safetensors"))
BATCHES = sorted(path.with_suffix("") for path in (ROOT / "maskgit").glob("openmuse_*/train_corr*.safetensors"))
GUIDED = "guided_logits_s"  # and the scale
SCALES = [
    pytest.param(folder, float(key.removeprefix(GUIDED)), id=f"{folder.name}-{key.removeprefix(GUIDED)}")
    for folder in FOLDERS
    for key in sorted(tensors(folder / "forward"))
    if key.startswith(GUIDED)
]
WHERE = torch.zeros(1, device=DEVICE)  # the network reads no timestep


def name_of(path):
    return path.name


@cache
def network(folder):
    with torch.inference_mode(False):  # whichever test comes first
        return load_backbone(folder, torch.float32, DEVICE)


def relative(ours, recorded):
    return float((ours - recorded).abs().max() / recorded.abs().max())


def test_golden_cases_are_found():
    assert FOLDERS and RUNS and SCALES
    held = [tensors(path) for path in BATCHES]
    # A batch to take the gradient of, and one with an image of which nothing is visible.
    assert any("gen_loss" in batch for batch in held) and any((batch["num_unmasked"] == 0).any() for batch in held)


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
@torch.inference_mode()
def test_golden_branch(folder):
    net, recorded = network(folder), tensors(folder / "forward")
    branch = load_branch(folder, net).to(DEVICE)
    prepared = net.prepare(mgt_core.Condition(labels=recorded["class_ids"]), net.trained_grid)
    tokens = recorded["tokens"].unflatten(1, net.trained_grid)
    hidden = first_pass(net, tokens, WHERE, prepared)
    states = []
    features = branch.second_pass(net, hidden, tokens, WHERE, prepared, states)
    logits = branch.training_logits(net, features).flatten(1, 2)
    assert_near(logits, recorded["toast_logits"][:, 1:])
    if "cls_anchor" in recorded:
        anchor = branch.anchor(net, prepared)
        assert_near(anchor, recorded["cls_anchor"].flatten(1))
        for index, down in enumerate(branch.top_down(hidden, anchor)):
            assert_near(down, recorded[f"top_down_feat.{index}"])
            if (name := f"toast_layer_out.{index}") in recorded:
                assert_near(states[index + 1], recorded[name])


@pytest.mark.parametrize("folder, scale", SCALES)
@torch.inference_mode()
def test_golden_guided_logits(folder, scale):
    net, recorded = network(folder), tensors(folder / "forward")
    condition = mgt_core.Condition(labels=recorded["class_ids"])
    model = mgt_core.MGTModel(net, pixels_per_token=2).with_self_guidance(load_branch(folder, net), scale)
    guided = GuidedNetwork(net, condition, None, net.trained_grid, model.run_patches())
    logits = guided.logits(recorded["tokens"].unflatten(1, net.trained_grid), WHERE, 1.0)
    assert relative(logits, recorded[f"{GUIDED}{scale:g}"]) < GAP
    assert (guided.calls, guided.passes) == ((2, 2) if scale else (1, 1))


class RecordedDraws:
    def __init__(self, recorded):
        self.recorded = recorded

    def source(self, generators, cells):
        return self

    def categorical(self, logits, step):
        race = self.recorded["exponential"][step.index]
        race = race.gather(1, step.positions[..., None].expand(-1, -1, race.shape[-1]))
        return (logits.softmax(-1) / race).argmax(-1)

    def gumbel(self, step):
        return self.recorded["gumbel"][step.index]


@pytest.mark.parametrize("path", RUNS, ids=name_of)
def test_golden_runs(path):
    """Token for token, at a temperature so hot that known tokens are masked again, and at a usual one."""
    told = settings(path.parent / "traces")[path.name.removeprefix("trace_")]
    recorded, net = tensors(path), network(path.parent)
    model = mgt_core.MGTModel(net, pixels_per_token=2)
    model = model.with_self_guidance(load_branch(path.parent, net), float(told["guidance_scale"]))
    sampler = mgt_core.MaskGIT(
        (told["temperature_initial"], 0.0),
        temperature_shape="compounding",
        known_confidence=math.log(torch.finfo(torch.float32).max),
        draws=RecordedDraws(recorded).source,
    )
    assert sampler.temperatures(told["timesteps"]) == pytest.approx(told["temperature"])
    seen = []
    out = mgt_core.sample(
        model,
        mgt_core.empty_state(len(recorded["class_ids"]), net.trained_grid, net.mask_id, net.codebook_size),
        mgt_core.Condition(labels=recorded["class_ids"]),
        sampler=sampler,
        steps=told["timesteps"],
        cfg=1.0,
        callback=seen.append,
    )
    remasked = []
    for index, step in enumerate(seen):
        before, after = step.tokens.cpu().flatten(1), step.result.tokens.flatten(1)
        assert agree(before, recorded["tokens_in"][index])
        if index < len(seen) - 1:
            assert agree(after, recorded["tokens_out"][index])
        remasked.append(((before != net.mask_id) & (after == net.mask_id)).sum(1).tolist())
    assert agree(out.tokens.flatten(1), recorded["final_tokens"])
    assert remasked == told["known_tokens_remasked_per_step"]
    assert (seen[-1].calls, seen[-1].passes) == (2 * told["timesteps"], 2 * told["timesteps"])


@pytest.mark.parametrize("path", BATCHES, ids=name_of)
def test_golden_training_batch(path):
    """Corrupted input, labels, losses and gradients of one batch of the published training."""
    recorded, net = tensors(path), network(path.parent)
    branch = load_branch(path.parent, net).to(DEVICE).requires_grad_(True)
    labels, grid = recorded["class_ids"], net.trained_grid
    prepared = net.prepare(mgt_core.Condition(labels=labels), grid)
    masked = recorded["masked_input_ids"][:, 1:]
    if "mask_rand_perm" in recorded:
        drawn = (recorded["mask_rand_timestep"], recorded["mask_rand_perm"])
        assert torch.equal(mask_some(recorded["gt_tokens"], net.mask_id, *drawn), masked)
    proposed = propose(net, (len(labels), *grid), prepared, recorded["proposal_exponential"], flat=True)
    assert torch.equal(proposed, recorded["proposal_ids"])
    ranks = recorded["rank_uniform"].clone()
    # Where nothing is visible all ranks tie upstream, and the sort picks one: hand ours the one that was picked.
    nothing = recorded["num_unmasked"] == 0
    ranks[nothing] = (~recorded["substitute_mask"][nothing]).float()
    shown, wanted = substitute(masked, proposed, net.mask_id, ranks)
    assert torch.equal(shown, recorded["substituted_input_ids"][:, 1:])
    assert torch.equal(wanted, recorded["final_labels"][:, 1:])
    loss = branch_loss(branch, net, shown.unflatten(1, grid), wanted, WHERE, prepared)
    assert_near(loss.restoration, recorded["loss_corr"])
    assert_near(loss.variation, recorded["loss_var"])
    assert_near(loss.total, recorded["loss_total"])
    if "gen_loss" in recorded:  # the plain objective, on the masked input
        plain = branch_loss(branch, net, masked.unflatten(1, grid), recorded["masked_labels"][:, 1:], WHERE, prepared)
        assert_near(plain.restoration, recorded["gen_loss"])
        assert_near(plain.variation, recorded["gen_loss_var"])
    loss.total.backward()
    gradients = {key.removeprefix("grad."): value for key, value in recorded.items() if key.startswith("grad.")}
    if gradients:
        assert gradients.keys() == dict(branch.named_parameters()).keys()
    for name, value in gradients.items():
        assert relative(branch.get_parameter(name).grad, value) < GAP, name
    assert all(p.grad is None for p in net.parameters())
