"""Halton-MaskGIT against its published implementation: blocks, logits, and the confidence sampler."""

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import mgt_core
from mgt_core.backbones.halton import HEADS, HaltonConfig, HaltonTransformer
from mgt_core.loading.networks import load_backbone
from mgt_core.sampling.run import Plan, Run
from support.golden import GAP, ROOT, Spy, tensors

TINY = ROOT / "maskgit" / "halton_tiny"
SOURCES = sorted([*TINY.glob("proj*"), *TINY.glob("proj*/model.pth")])
CPU = torch.device("cpu")


def name_of(path: Path) -> str:
    return "/".join(path.relative_to(TINY).parts)


@cache
def network(source: Path) -> HaltonTransformer:
    """Of a folder, or of a .pth file beside a config of its name."""
    return load_backbone(source, torch.float32, CPU)


@pytest.fixture(params=SOURCES, ids=name_of)
def recorded(request, tmp_path):
    source = request.param
    expected = tensors((source if source.is_dir() else source.parent) / "forward")
    if source.is_file():  # as it is published: no config.json, and here a width that no released one has
        copy = tmp_path / "ImageNet_tiny.pth"
        copy.write_bytes(source.read_bytes())
        copy.with_suffix(".json").write_text('{"heads": 4}')
        source = copy
    return network(source), expected


def labels(expected) -> torch.Tensor:
    return expected["y"].masked_fill(expected["drop_label"], mgt_core.UNCONDITIONAL)


def test_golden_logits(recorded):
    net, expected = recorded
    model = mgt_core.MGTModel(net, pixels_per_token=2)
    logits = model.logits(expected["x"], mgt_core.Condition(labels=labels(expected)), 0.0)
    assert logits.shape[-1] == net.codebook_size == net.mask_id
    assert (logits.flatten(1, 2) - expected["logits"][..., :-1]).abs().max() < GAP


def test_golden_blocks(recorded):
    net, expected = recorded
    prepared = net.prepare(mgt_core.Condition(labels=labels(expected)), net.trained_grid)
    seen = {}

    def keep(name):
        return lambda module, args, out: seen.update({f"{name}_in": args[0], f"{name}_out": out})

    hooks = [block.register_forward_hook(keep(index)) for index, block in enumerate(net.transformer["layers"])]
    hooks.append(net.transformer["layers"][0].attn.register_forward_hook(keep("attn")))
    hooks.append(net.last_norm.norm_final.register_forward_hook(keep("last")))
    features = net.features(expected["x"], torch.zeros(1), prepared)
    for hook in hooks:
        hook.remove()

    def check(ours: torch.Tensor, wanted: torch.Tensor) -> None:
        rolled = torch.cat([ours[:, 1:], ours[:, :1]], dim=1)  # the register comes last there
        assert (rolled - wanted).abs().max() < GAP * wanted.abs().max()

    check(seen["0_in"], expected["block_in.0"])
    check(seen["attn_out"], expected["attn_out.0"])
    for index in range(net.config.depth):
        check(seen[f"{index}_out"], expected[f"block_out.{index}"])
    assert (seen["last_in"].flatten(1, 2) - expected["last_norm_in"]).abs().max() < GAP * 10
    assert (features.flatten(1, 2) - expected["last_norm_out"]).abs().max() < GAP * 10
    assert (net.vocabulary(features).flatten(1, 2) - expected["logits"]).abs().max() < GAP


@pytest.mark.parametrize(
    "hidden, depth, inner, side", [(384, 6, 384, 16), (512, 12, 510, 16), (768, 12, 768, 24), (1024, 24, 1024, 24)]
)
def test_released_sizes_are_read_from_the_tensors(hidden, depth, inner, side):
    """Tiny, small, base and large; the small one has 6 heads in a width of 512, so 510 in all."""
    feed_forward = 256 * -(-int(2 * 4 * hidden / 3) // 256)
    given = HaltonConfig(hidden, inner, HEADS[hidden], depth, feed_forward, 16384, 1000, side**2, 1, 1)
    with torch.device("meta"):
        net = HaltonTransformer(given)
    shapes = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    assert HaltonTransformer.recognizes({}, shapes)
    assert HaltonTransformer.configure({}, shapes) == given


def test_an_unknown_width_without_heads_is_named(tmp_path):
    file = tmp_path / "other.pth"
    file.write_bytes((TINY / "proj1" / "model.pth").read_bytes())
    for heads in (None, '{"heads": 5}', '{"heads": "4"}'):
        if heads:
            file.with_suffix(".json").write_text(heads)
        with pytest.raises(mgt_core.MGTError, match="number of heads"):
            load_backbone(file, torch.float32, CPU)


def trace_of(name: str):
    trace = tensors(TINY / f"trace_{name}")
    return trace, json.loads((TINY / "traces.json").read_text())[name]


class RecordedDraws:
    """The recorded race and Gumbel noise of a run; the race there has a column for the mask, which never wins."""

    def __init__(self, trace):
        self.trace = trace

    def source(self, generators, cells):
        return self

    def categorical(self, logits, step):
        race = self.trace["exponential"][step.index][..., :-1]
        race = race.gather(1, step.positions[..., None].expand(-1, -1, race.shape[-1]))
        return (logits.softmax(-1) / race).argmax(-1)

    def gumbel(self, step):
        noise = self.trace.get("gumbel_f64")
        return torch.zeros(2, 64) if noise is None else noise[step.index].float()


@dataclass(frozen=True)
class Sharpen(mgt_core.Modifier):
    """The softmax temperature of the traces, which multiplies."""

    factor: float = 1.0

    def begin(self):
        return lambda logits, step: logits * self.factor


@dataclass(frozen=True)
class Counts(mgt_core.MaskSchedule):
    """Recorded number of masked cells after each step."""

    left: tuple[int, ...] = ()

    def formula(self, progress):
        return 1 - progress

    def targets(self, steps, total):
        return list(self.left)


def run_of(trace, settings, callback=None) -> tuple[mgt_core.MGTModel, dict]:
    net = network(TINY / "proj1")
    guided = mgt_core.GuidanceSchedule(shape="rising", outside=1.0)  # w i / (S - 1), as 1 + w here
    model = mgt_core.MGTModel(net, pixels_per_token=2).with_guidance(guided)
    model = model.with_modifier(Sharpen(factor=settings["sm_temp"]))
    first = settings["r_temp"] if settings["randomize"] == "linear" else 0.0
    return model, {
        "sampler": mgt_core.MaskGIT((first, 0.0), draws=RecordedDraws(trace).source),
        "schedule": Counts(left=tuple(64 - count for count in settings["topk"])),
        "steps": settings["step"],
        "cfg": 1.0 + settings["w"],
    }


def conditions(trace) -> tuple[mgt_core.Condition, mgt_core.Condition]:
    none = torch.full_like(trace["labels"], mgt_core.UNCONDITIONAL)
    return mgt_core.Condition(labels=trace["labels"]), mgt_core.Condition(labels=none)


def test_golden_run_of_the_confidence_sampler():
    trace, settings = trace_of("confidence_none_cosine")
    model, choices = run_of(trace, settings)
    state = mgt_core.empty_state(2, (8, 8), model.mask_id, model.codebook_size)
    steps = []
    out = mgt_core.sample(model, state, *conditions(trace), callback=steps.append, **choices)
    for index, step in enumerate(steps):
        assert torch.equal(step.tokens.flatten(1), trace["tokens_in"][index]), f"step {index}"
        assert torch.equal(step.result.tokens.flatten(1), trace["tokens_out"][index]), f"step {index}"
    assert torch.equal(out.tokens.flatten(1), trace["tokens_out"][-1])


@pytest.mark.parametrize("name", ["confidence_linear", "confidence_none_cosine"])
def test_golden_steps_of_the_confidence_sampler(name):
    """From the recorded tokens of each step. The published sampler redraws known cells too; where a cell was
    masked, both agree on the code and on whether it is kept, but for the few where it draws the mask itself."""
    trace, settings = trace_of(name)
    model, choices = run_of(trace, settings)
    positive, negative = conditions(trace)
    for index in range(settings["step"]):
        tokens = trace["tokens_in"][index]
        state = mgt_core.empty_state(2, (8, 8), model.mask_id, model.codebook_size)
        spy, sampler = Spy(), choices["sampler"]
        temperatures = sampler.temperatures(choices["steps"])
        plan = Plan(choices["schedule"], choices["steps"], choices["cfg"], (0, 1), temperatures, sampler.draws)
        run = Run(replace(model, modifiers=(spy, *model.modifiers)), state, positive, negative, plan)
        masked = tokens == model.mask_id
        drawn = run.draw(index, tokens, masked.sum(1).tolist())
        kept, where = sampler.surest(run, drawn), drawn.step.positions
        logits = trace["logits_cfg" if "logits_cfg" in trace else "logits_cond"][index][..., :-1]
        logits = logits.gather(1, where[..., None].expand(-1, -1, logits.shape[-1]))
        assert (spy.seen["logits"] - logits).abs().max() < GAP
        predicted = trace["pred_code"][index]
        codes = masked & (predicted != model.mask_id)
        assert torch.equal(drawn.tokens[codes], predicted[codes]), f"step {index}"
        cells = masked & (trace["pred_code"][index] != model.mask_id)
        assert torch.equal(kept.tokens[cells], trace["tokens_out"][index][cells]), f"step {index}"
        assert cells.sum() >= masked.sum() - 2


def test_both_copies_of_the_tied_weight_are_one():
    held = load_file(TINY / "proj1" / "model.safetensors")
    ours = network(TINY / "proj1").state_dict()
    assert torch.equal(held["head.weight"], ours["tok_emb.weight"]) and "head.weight" not in ours
    assert ours.keys() == {name for name in held if not name.startswith("head.")} | {"head_bias"}


@pytest.mark.parametrize("proj", ["proj1", "proj2"])
def test_merging_changes_the_network_and_ratio_zero_does_not(proj):
    net = network(TINY / proj)
    model = mgt_core.MGTModel(net, pixels_per_token=2)
    state = mgt_core.empty_state(2, net.trained_grid, net.mask_id, net.codebook_size)
    condition = mgt_core.Condition(labels=torch.tensor([1, 2]))

    def run(**merging) -> torch.Tensor:
        merged = model.with_token_merging(**merging) if merging else model
        return mgt_core.sample(merged, state, condition, steps=4, cfg=1.0).tokens

    assert torch.equal(run(ratio=0.0), run())
    assert not torch.equal(run(ratio=0.5), run())
