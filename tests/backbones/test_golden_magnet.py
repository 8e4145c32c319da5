"""MAGNeT's network against its published implementation: rows, layers and logits of every stage."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from safetensors.torch import load_file

import mgt_core
from mgt_core.backbones.magnet.blocks import near_frames
from mgt_core.backbones.magnet.network import MAGNeT
from mgt_core.loading.networks import load_backbone
from support.device import DEVICE
from support.golden import ROOT, settings, tensors

FOLDER = ROOT / "audio" / "magnet"
FORWARD = load_file(FOLDER / "forward.safetensors")
CASES = sorted(name.removesuffix(".logits") for name in FORWARD if name.endswith(".logits"))
ALLOWED = [n for n in load_file(FOLDER / "sampling.safetensors") if n.startswith("attn_allowed.context")]
TEXTS = [case["name"] for case in settings(FOLDER / "conditioning")]
NEAR = {"atol": 1e-4, "rtol": 0}
LAYER = "transformer.layers.{}"


@cache
def network() -> MAGNeT:
    return load_backbone(FOLDER / "state_dict.bin", torch.float32, DEVICE)


@cache
def told() -> MAGNeT:
    """The same for texts that are projected already, as they are recorded."""
    own, width = network(), network().config.dim
    told = MAGNeT(replace(own.config, text_width=width)).eval().requires_grad_(False).to(DEVICE)
    prefix = "condition_provider.conditioners.description.output_proj."
    identity = {prefix + "weight": torch.eye(width), prefix + "bias": torch.zeros(width)}
    told.load_state_dict(own.state_dict() | identity)
    return told


def run(case: str) -> tuple[MAGNeT, torch.Tensor, dict[str, torch.Tensor]]:
    """The network at a recorded stage, its features, and what its parts made of their input."""
    name, stage = case.split(".stage")
    tokens, text = FORWARD[f"{name}.tokens"].to(DEVICE), FORWARD[f"{name}.cond"].to(DEVICE)
    view, made = told().at_stage(int(stage), tokens), {}
    parts = dict(view.named_modules())
    handles = []
    for index in range(view.config.layers):
        layer = LAYER.format(index)
        for part, recorded in (("self_attn", "self_attn"), ("cross_attention", "cross_attention"), ("linear2", "ff")):
            handles.append(parts[f"{layer}.{part}"].register_forward_hook(keep(made, f"layer{index}.{recorded}")))
        handles.append(parts[layer].register_forward_hook(keep(made, f"layer{index}.out")))
    handles.append(parts[LAYER.format(0)].register_forward_pre_hook(lambda _, given: made.update(input=given[0])))
    prepared = view.prepare(mgt_core.Condition(hidden=text), (1, tokens.shape[2]))
    features = view.features(tokens[:, int(stage) : int(stage) + 1], torch.zeros(1), prepared)
    for handle in handles:
        handle.remove()
    return view, features, made | {"out_norm": view.out_norm(features[:, 0])}


def keep(made: dict, name: str):
    return lambda module, given, out: made.update({name: out})


def test_golden_tree_holds_cases():
    assert {case[-1] for case in CASES} >= {"0", "2", "3"} and ALLOWED and len(TEXTS) > 3


@pytest.mark.parametrize("case", CASES)
def test_golden_logits(case):
    """Every head is recorded, whatever the stage, which decides how far frames look."""
    view, features, _ = run(case)
    recorded = FORWARD[f"{case}.logits"].to(DEVICE)
    stage = int(case[-1])
    torch.testing.assert_close(view.head(features)[:, 0], recorded[:, stage], **NEAR)
    for book, head in enumerate(view.linears):
        torch.testing.assert_close(head(view.out_norm(features[:, 0])), recorded[:, book], **NEAR)


@pytest.mark.parametrize("case", CASES)
def test_golden_layers(case):
    """What is recorded of them: more in a whole tree than in the project's own."""
    *_, made = run(case)
    recorded = {n.removeprefix(f"{case}."): v for n, v in FORWARD.items() if n.startswith(f"{case}.")}
    recorded.pop("logits")
    assert recorded.keys() <= made.keys()
    for name, wanted in recorded.items():
        torch.testing.assert_close(made[name], wanted.to(DEVICE), **NEAR)


@pytest.mark.parametrize("name", ALLOWED)
def test_golden_reach(name):
    wanted = load_file(FOLDER / "sampling.safetensors")[name].bool()
    assert torch.equal(near_frames(len(wanted), int(name.removeprefix("attn_allowed.context"))), wanted)


@pytest.mark.parametrize(("frames", "reach"), [(1, 0), (1, 5), (7, 0), (7, 2), (7, 6), (7, 2**20)])
def test_reach_at_the_ends(frames, reach):
    wanted = [[abs(own - other) <= reach for other in range(frames)] for own in range(frames)]
    assert near_frames(frames, reach).tolist() == wanted


@pytest.mark.parametrize("case", TEXTS)
def test_golden_text(case):
    """Rows without a word are zero, the projection's bias and all."""
    recorded = {n: v for n, v in tensors(FOLDER / "conditioning").items() if n.startswith(f"{case}.")}
    hidden, there = recorded[f"{case}.t5_last_hidden"], recorded[f"{case}.attention_mask"]
    text, visible, _ = network().text_of(mgt_core.Condition(hidden=hidden * there[..., None]))
    torch.testing.assert_close(text, recorded[f"{case}.cond"], **NEAR)
    assert visible is None and not text[there == 0].any()
