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
from support.bundles import published_halton
from support.device import DEVICE, agree, equal
from support.golden import ROOT, Spy, assert_near, settings, tensors

TINY = ROOT / "maskgit" / "halton_tiny"
FOLDERS = sorted(path.parent for path in TINY.glob("*/forward.safetensors"))
SOURCES = [(folder, how) for folder in FOLDERS for how in ("folder", "file")]
TOLD = settings(TINY / "traces")
TRACES = sorted(path.stem.removeprefix("trace_") for path in TINY.glob("trace_confidence_*.safetensors"))


def name_of(path: Path) -> str:
    return "/".join(path.relative_to(TINY).parts)


def test_golden_tree_holds_cases():
    assert FOLDERS and TRACES and any(map(alike, TRACES))


@cache
def network(source: Path) -> HaltonTransformer:
    """Of a folder, or of a .pth file beside a config of its name."""
    return load_backbone(source, torch.float32, DEVICE)


@pytest.fixture(params=SOURCES, ids=lambda source: f"{source[0].name}-{source[1]}")
def recorded(request, tmp_path):
    """A network and what it gives; as a file, it is as it is published: without config.json, and no released width."""
    folder, how = request.param
    source = folder if how == "folder" else published_halton(folder, tmp_path / "ImageNet_tiny.pth")
    return network(source), tensors(folder / "forward")


def labels(expected) -> torch.Tensor:
    return expected["y"].masked_fill(expected["drop_label"], mgt_core.UNCONDITIONAL)


def test_golden_logits(recorded):
    net, expected = recorded
    model = mgt_core.MGTModel(net, pixels_per_token=2)
    logits = model.logits(expected["x"], mgt_core.Condition(labels=labels(expected)), 0.0)
    assert logits.shape[-1] == net.codebook_size == net.mask_id
    assert_near(logits.flatten(1, 2), expected["logits"][..., :-1])


def test_golden_blocks(recorded):
    """What every layer gives, so that a slip is found where it happens: in a whole tree."""
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

    outs = {f"block_out.{index}": seen[f"{index}_out"] for index in range(net.config.depth)}
    for name, ours in {"block_in.0": seen["0_in"], "attn_out.0": seen["attn_out"], **outs}.items():
        if name in expected:
            assert_near(ours.roll(-net.config.registers, dims=1), expected[name])  # the registers come last there
    if "last_norm_in" in expected:
        assert_near(seen["last_in"].flatten(1, 2), expected["last_norm_in"])
    assert_near(features.flatten(1, 2), expected["last_norm_out"])
    assert_near(net.vocabulary(features).flatten(1, 2), expected["logits"])


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
    file, width = published_halton(FOLDERS[0], tmp_path / "other.pth"), network(FOLDERS[0]).config.hidden
    file.with_suffix(".json").unlink()
    for heads in (None, width + 1, "4"):
        if heads is None and width in HEADS:
            continue
        if heads is not None:
            file.with_suffix(".json").write_text(json.dumps({"heads": heads}))
        with pytest.raises(mgt_core.MGTError, match="number of heads"):
            load_backbone(file, torch.float32, DEVICE)


def trace_of(name: str) -> tuple[dict[str, torch.Tensor], dict]:
    return tensors(TINY / f"trace_{name}"), TOLD[name]


@cache
def sampled() -> Path:
    """Folder of the network that the traces are of: of those that fit, the one whose logits are nearest."""
    trace, _ = trace_of(TRACES[0])
    wanted, gaps = recorded_logits(trace)[0][..., :-1], {}  # guidance rises from none
    for folder in FOLDERS:
        net = network(folder)
        if (net.cells, net.codebook_size) == wanted.shape[1:]:
            tokens = trace["tokens_in"][0].unflatten(1, net.trained_grid)
            ours = mgt_core.MGTModel(net, pixels_per_token=2).logits(tokens, conditions(trace)[0], 0.0)
            gaps[folder] = float((ours.flatten(1, 2) - wanted).abs().max())
    return min(gaps, key=gaps.get)


def recorded_logits(trace) -> torch.Tensor:
    """[S, B, N, K + 1], guided where they were."""
    return trace["logits_cfg" if "logits_cfg" in trace else "logits_cond"]


def shares_of_the_mask(trace, told) -> torch.Tensor:
    """[S, B, N] log of what the probability of a code is less for that of the mask token, which ours does not have."""
    return (-(recorded_logits(trace) * told["sm_temp"]).softmax(-1)[..., -1]).log1p()


@cache
def alike(name: str) -> int:
    """Steps until the published sampler does what ours does not: draw the mask token, another code for a known cell,
    or leave out a cell that is surer but for the probability of the mask token."""
    trace, told = trace_of(name)
    before, after, predicted = trace["tokens_in"], trace["tokens_out"], trace["pred_code"]
    mask = trace["exponential"].shape[-1] - 1
    masked = before == mask
    other = ((~masked & (before != after)) | (predicted == mask)).flatten(1).any(1)
    sureness = (recorded_logits(trace) * told["sm_temp"]).log_softmax(-1).gather(-1, predicted[..., None])[..., 0]
    if "gumbel_f64" in trace:
        falling = told["r_temp"] * (1 - torch.arange(told["step"], device=DEVICE) / (told["step"] - 1))
        sureness = sureness + falling[:, None, None] * trace["gumbel_f64"]
    sureness = sureness - shares_of_the_mask(trace, told)
    kept = sureness.masked_fill(~masked | ~trace["replace_mask"], torch.inf).amin(-1)
    left = sureness.masked_fill(~masked | trace["replace_mask"], -torch.inf).amax(-1)
    other |= (kept <= left).any(1)
    return int((other.cumsum(0) == 0).sum())


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
        if "gumbel_f64" not in self.trace:
            return torch.zeros_like(step.tokens.flatten(1), dtype=torch.float32)
        return self.trace["gumbel_f64"][step.index].float()


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


def run_of(trace, settings) -> tuple[mgt_core.MGTModel, dict]:
    net = network(sampled())
    guided = mgt_core.GuidanceSchedule(shape="rising", outside=1.0)  # w i / (S - 1), as 1 + w here
    model = mgt_core.MGTModel(net, pixels_per_token=2).with_guidance(guided)
    model = model.with_modifier(Sharpen(factor=settings["sm_temp"]))
    first = settings["r_temp"] if settings["randomize"] == "linear" else 0.0
    return model, {
        "sampler": mgt_core.MaskGIT((first, 0.0), draws=RecordedDraws(trace).source),
        "schedule": Counts(left=tuple(net.cells - count for count in settings["topk"])),
        "steps": settings["step"],
        "cfg": 1.0 + settings["w"],
    }


def canvas(model, trace) -> mgt_core.TokenState:
    return mgt_core.empty_state(len(trace["labels"]), model.network.trained_grid, model.mask_id, model.codebook_size)


def conditions(trace) -> tuple[mgt_core.Condition, mgt_core.Condition]:
    none = torch.full_like(trace["labels"], mgt_core.UNCONDITIONAL)
    return mgt_core.Condition(labels=trace["labels"]), mgt_core.Condition(labels=none)


@pytest.mark.parametrize("name", [name for name in TRACES if alike(name)])
def test_golden_run_of_the_confidence_sampler(name):
    """A whole run, as far as both samplers do the same."""
    trace, settings = trace_of(name)
    model, choices = run_of(trace, settings)
    steps = []
    out = mgt_core.sample(model, canvas(model, trace), *conditions(trace), callback=steps.append, **choices)
    assert len(steps) == len(trace["tokens_in"])
    for index, step in enumerate(steps[: alike(name)]):
        assert agree(step.tokens.flatten(1), trace["tokens_in"][index]), f"step {index}"
        assert agree(step.result.tokens.flatten(1), trace["tokens_out"][index]), f"step {index}"
    assert torch.equal(out.tokens, steps[-1].result.tokens)


@pytest.mark.parametrize("name", TRACES)
def test_golden_steps_of_the_confidence_sampler(name):
    """From the recorded tokens of each step. The published sampler redraws known cells too; where a cell was
    masked, both agree on the code and on whether it is kept, but for the few where it draws the mask itself, each of
    which may take the place of another cell. Its probabilities count the mask token, which ours are told here."""
    trace, settings = trace_of(name)
    shares = shares_of_the_mask(trace, settings)
    model, choices = run_of(trace, settings)
    positive, negative = conditions(trace)
    for index in range(settings["step"]):
        tokens = trace["tokens_in"][index]
        state = canvas(model, trace)
        spy, sampler = Spy(), choices["sampler"]
        temperatures = sampler.temperatures(choices["steps"])
        plan = Plan(
            choices["schedule"], choices["steps"], choices["cfg"], range(state.batch), temperatures, sampler.draws
        )
        run = Run(replace(model, modifiers=(spy, *model.modifiers)), state, positive, negative, plan)
        masked = tokens == model.mask_id
        drawn = run.draw(index, tokens, masked.sum(1).tolist())
        drawn = replace(drawn, log_probability=drawn.log_probability + shares[index])
        kept, where = sampler.surest(run, drawn), drawn.step.positions
        logits = recorded_logits(trace)[index][..., :-1]
        logits = logits.gather(1, where[..., None].expand(-1, -1, logits.shape[-1]))
        assert_near(spy.seen["logits"], logits)
        predicted = trace["pred_code"][index]
        codes = masked & (predicted != model.mask_id)
        assert codes.sum() > masked.sum() / 2
        assert agree(drawn.tokens[codes], predicted[codes]), f"step {index}"
        others = (codes & (kept.tokens != trace["tokens_out"][index])).sum(1)
        assert (others <= (masked & ~codes).sum(1)).all(), f"step {index}"


def test_both_copies_of_the_tied_weight_are_one():
    held = load_file(sampled() / "model.safetensors")
    ours = network(sampled()).state_dict()
    assert equal(ours["tok_emb.weight"], held["head.weight"]) and "head.weight" not in ours
    assert ours.keys() == {name for name in held if not name.startswith("head.")} | {"head_bias"}


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_merging_changes_the_network_and_ratio_zero_does_not(folder):
    net = network(folder)
    model = mgt_core.MGTModel(net, pixels_per_token=2)
    state = mgt_core.empty_state(2, net.trained_grid, net.mask_id, net.codebook_size)
    condition = mgt_core.Condition(labels=torch.tensor([1, 2]))

    def run(**merging) -> torch.Tensor:
        merged = model.with_token_merging(**merging) if merging else model
        return mgt_core.sample(merged, state, condition, steps=4, cfg=1.0).tokens

    assert torch.equal(run(ratio=0.0), run())
    assert not torch.equal(run(ratio=0.5), run())
