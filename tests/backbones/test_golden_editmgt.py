"""Values of the published EditMGT, reproduced: networks, text, traces and local guidance (golden/kin/editmgt)."""

import json
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest
import torch

import mgt_core
from mgt_core import Condition, ReferencePicture
from mgt_core.backbones.meissonic.reference import Beside
from mgt_core.modifiers.base import Modifier
from mgt_core.patches.local_guidance import LocalMaps, cell_scores, rescaled, smoothed
from mgt_core.patches.reference import RunReference
from support.device import DEVICE, agree, equal
from support.editmgt import ROOT, edit_pipeline
from support.golden import RecordedDraws, Trace, assert_near, settings, tensors

VARIANTS = sorted(path.parent.name for path in ROOT.glob("editmgt*/config.json"))
FORWARD = [(v, c) for v in VARIANTS for c in sorted({k.split(".")[0] for k in tensors(ROOT / f"forward_{v}")})]
LOCAL = tensors(ROOT / "local")
TRACES = [pytest.param(path.with_suffix(""), id=path.stem) for path in sorted(ROOT.glob("traces/*.json"))]


class EditTrace(Trace):
    """A recorded run of the reference, of its variant of the network."""

    def __init__(self, path):
        self.settings, self.tensors = settings(path), tensors(path)
        self.pipe = edit_pipeline(self.settings["variant"])
        self.call = self.settings["call"]
        self.steps, self.cfg = self.call["num_inference_steps"], float(self.call["guidance_scale"])
        self.size = (self.call["height"], self.call["width"])
        for step in range(self.steps - 1):
            noise = self.tensors[f"step{step:02d}.uniform"].clamp_min(1e-20).log().neg().clamp_min(1e-20).log().neg()
            self.tensors[f"step{step:02d}.gumbel"] = noise

    def prompts(self, key):
        own = super().prompts(key)
        return own * len(super().prompts("prompt")) if len(own) == 1 else own or [""]

    def state(self):
        tokens = self["step00.tokens_in"].cpu()
        network = self.pipe.model.network
        return mgt_core.TokenState(tokens, tokens != network.mask_id, network.mask_id, network.codebook_size)

    def references(self) -> mgt_core.TokenState:
        pictures = [v.cpu() for n, v in sorted(self.tensors.items()) if n.startswith("init.reference_u8_")]
        return mgt_core.encode_image(self.pipe.model, self.pipe.codec, torch.stack(pictures).float() / 255)


@dataclass(frozen=True)
class Seen(Modifier):
    """Keeps the guided logits of every step."""

    neutral = {}

    logits: list = field(default_factory=list)

    def begin(self):
        def keep(logits, step):
            self.logits.append((step.positions, logits))
            return logits

        return keep


def test_golden_tree_holds_cases():
    assert VARIANTS and FORWARD and TRACES


def case_of(variant, case) -> dict[str, torch.Tensor]:
    held = tensors(ROOT / f"forward_{variant}")
    return {k.removeprefix(case + "."): v for k, v in held.items() if k.startswith(case + ".")}


@torch.inference_mode()
def logits_of(network, recorded) -> torch.Tensor:
    condition = Condition(
        recorded["encoder_hidden_states"], recorded["pooled_projections"], recorded["micro_conds"].float()
    )
    prepared = network.prepare(condition, tuple(recorded["tokens"].shape[1:]))
    if "reference_tokens" in recorded:
        strength = float(recorded["reference_strength"])
        prepared = network.with_reference(prepared, recorded["reference_tokens"], strength)
    return network.head(network.features(recorded["tokens"], recorded["timestep"].float(), prepared))


@pytest.mark.parametrize(("variant", "case"), FORWARD)
def test_golden_forward(variant, case):
    """Logits, and where they were recorded what comes out of every block: text, image and reference."""
    recorded, network, seen = case_of(variant, case), edit_pipeline(variant).model.network, {}

    def note(name):
        def keep(module, inputs, output):
            beside = [value.rows for value in inputs if isinstance(value, Beside)]  # as the block leaves them
            if module.__class__.__name__ == "JointBlock":
                image, text = output
                output = [text, image, *beside]
            elif module.__class__.__name__ == "SingleBlock":
                output = [output, *beside]
            seen[name] = output

        return keep

    handles = [m.register_forward_hook(note(n)) for n, m in network.named_modules()]
    try:
        assert_near(logits_of(network, recorded), recorded["logits"].permute(0, 2, 3, 1))
    finally:
        for handle in handles:
            handle.remove()
    for name in (name for name in recorded if name.startswith("act.")):
        module, _, part = name.removeprefix("act.").partition(".out")
        output = seen["connector.projector" if module == "connector" else module]
        output = output[int(part)] if part else output
        assert_near(output[:, ::8] if output.shape[1] >= 256 else output, recorded[name])


def test_golden_text():
    text, recorded = edit_pipeline(VARIANTS[0]).text, tensors(ROOT / "text")
    prompts = json.loads((ROOT / "text.json").read_text())["prompts"]
    ids = [text._framed([i for i, _ in text._parts(prompt, False, False)[0]]) for prompt in prompts]
    assert equal(torch.tensor(ids, device=DEVICE), recorded["llm_input_ids"])
    condition = text.encode(prompts)
    if "llm_hidden_states_m2" in recorded:  # else proven by logits of runs, which begin with prompts
        assert_near(condition.hidden, recorded["llm_hidden_states_m2"])
    assert_near(condition.pooled, recorded["clip_text_embeds"])


@pytest.mark.parametrize("path", TRACES)
def test_golden_run(path):
    """A whole run with recorded draws: what the network gets, logits and tokens of every step, and the picture."""
    trace, seen, steps = EditTrace(path), Seen(), []
    model = trace.pipe.model.with_modifier(seen)
    if "reference_tokens" in trace:
        references = trace.references()
        patch = ReferencePicture(references.tokens, float(trace.call.get("reference_strength", 1)))
        model = model.with_patch(patch)
        run = RunReference(patch)
        run.started(SimpleNamespace(state=trace.state()))
        assert equal(run.tokens, trace["reference_tokens"].cpu())  # inpainting has them masked
    conditions = trace.conditions()
    both = Condition.cat([conditions[role] for role in (["negative"] if trace.cfg > 1 else []) + ["positive"]])
    assert_near(both.pooled, trace["cond.pooled"])
    assert equal(both.micro, trace["cond.micro_conds"])
    out = mgt_core.sample(
        model,
        trace.state(),
        **conditions,
        sampler=mgt_core.MaskGIT((2.0, 0.0), draws=RecordedDraws(trace).source),
        schedule="cosine",
        steps=trace.steps,
        cfg=trace.cfg,
        callback=steps.append,
    )
    assert len(steps) == trace.steps
    for step in steps:
        at = f"step{step.index:02d}."
        assert agree(step.tokens, trace[at + "tokens_in"]) and agree(step.result.tokens, trace[at + "tokens_out"])
        positions, logits = seen.logits[step.index]
        if at + "cond_logits" in trace:
            wanted = trace[at + "cond_logits"]
            if trace.cfg > 1:
                wanted = torch.lerp(trace[at + "uncond_logits"], wanted, trace.cfg)
            wanted = wanted.flatten(2).transpose(1, 2)
            assert_near(logits, wanted.gather(1, positions[..., None].expand(-1, -1, wanted.shape[-1])))
    assert agree(out.tokens, trace["final.tokens"])
    if "final.image" in trace:
        assert_near(trace.pipe.codec.decode(out), trace["final.image"].permute(0, 2, 3, 1))


@torch.inference_mode()
def test_golden_maps():
    """Attention of the text during the conditional half, without the reference: of all its rows, and of some."""
    recorded, said = LOCAL, settings(ROOT / "local")
    pipe = edit_pipeline("editmgt")
    network, grid = pipe.model.network, tuple(recorded["map.reference_tokens"].shape[1:])
    unit = pipe.model.pixels_per_token
    size = (grid[0] * unit, grid[1] * unit)
    conditions = [pipe.text.encode(said[role], size=size) for role in ("negative", "prompt")]
    tokens = torch.full((2, *grid), network.mask_id, device=DEVICE)
    before, _ = network.block_counts
    for name, rows in (("all", ()), ("query", tuple(recorded["map.query_positions"].tolist()))):
        first, last = (block - before for block in (said["blocks"][0], said["blocks"][-1]))
        maps = LocalMaps(first, last, rows)
        prepared = network.prepare(Condition.cat(conditions), grid)
        prepared = network.with_reference(prepared, recorded["map.reference_tokens"], said["strength"])
        call = mgt_core.patches.base.Call(network, (("negative", 0), ("positive", 0)), tokens, None)
        time = torch.tensor([float(said["steps"] - 1)], device=DEVICE)
        features = network.features(tokens, time, prepared, maps.hooks(mgt_core.backbones.hooks.NO_HOOKS, call))
        if "map.logits" in recorded:
            assert_near(network.head(features), recorded["map.logits"].permute(0, 2, 3, 1))
        torch.testing.assert_close(maps.read().flatten(1), recorded[f"map.mean_{name}"], atol=1e-6, rtol=0)


def test_golden_smoothing():
    side = round(LOCAL["scores.raw"].shape[1] ** 0.5)
    raw = LOCAL["scores.raw"].unflatten(1, (side, side))
    ours = {"rescaled": rescaled(raw), "smoothed": smoothed(rescaled(raw)), "upsampled": cell_scores(raw, (64, 64))}
    recorded = {name.removeprefix("scores."): v for name, v in LOCAL.items() if name.startswith("scores.")}
    assert "smoothed" in recorded
    for name in recorded.keys() & ours.keys():
        torch.testing.assert_close(ours[name].flatten(1), recorded[name], atol=1e-6, rtol=0)


@pytest.mark.skipif("step.drawn" not in LOCAL, reason="of the whole tree; tests/patches/test_reference.py has the rule")
def test_golden_local_step():
    """A step whose scores are given: tokens of the reference where the text does not look, by their own probability."""
    recorded, said = LOCAL, settings(ROOT / "local")
    tokens, logits = recorded["step.tokens_in"], recorded["step.model_output"].flatten(2).transpose(1, 2)
    grid, steps, mask = tuple(tokens.shape[1:]), said["steps"], said["mask_id"]
    index = steps - 1 - int(recorded["step.timestep"])
    run = RunReference(ReferencePicture(recorded["step.reference_tokens"], local_guidance=0.3))
    local = float(recorded["step.local_guidance"])
    run.settings, run.mask_id = replace(run.settings, local_guidance=local), mask
    run.clean = run.settings.tokens.flatten(1)
    run.maps = LocalMaps(0, 0)
    run.maps.last_read = recorded["scores.raw"].unflatten(1, grid)
    step = mgt_core.Step(index, steps, tokens, positions=torch.arange(tokens[0].numel(), device=DEVICE)[None])
    flat = tokens.flatten(1)
    masked = flat == mask
    ids = torch.where(masked, run.chosen(recorded["step.drawn"][None], step), flat)
    uniform = recorded["step.uniform"]
    noise = -(-uniform.clamp_min(1e-20).log()).clamp_min(1e-20).log()
    score = logits.log_softmax(-1).gather(2, ids.clamp_max(logits.shape[-1] - 1)[..., None])[..., 0]
    confidence = torch.where(masked, score, torch.inf) + recorded["step.temperature"] * noise
    targets = mgt_core.SCHEDULES.get("cosine")().targets(steps, flat.shape[1])
    left = [min(targets[index], int(masked.sum()) - 1)]
    again = mgt_core.sampling.step.least_confident(confidence, masked, left)
    assert agree(ids.masked_fill(again, mask).unflatten(1, grid), recorded["step.tokens_out"])
