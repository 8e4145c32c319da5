"""Values of the published Meissonic implementation, reproduced (see golden/meissonic/README.md)."""

import json

import pytest
import torch

import mgt_core
from support.device import agree, equal
from support.golden import (
    RecordedDraws,
    Spy,
    Trace,
    assert_near,
    assert_same_codes,
    label,
    pipeline,
    recorded_bundles,
    run_of,
    tensors,
    traces,
)

FORWARD_CASES = [
    pytest.param(folder, case, id=f"{label(folder)}/{case}")
    for folder in recorded_bundles()
    for case in sorted({key.split(".")[0] for key in tensors(folder / "forward")})
]
BUNDLES = [pytest.param(folder, id=label(folder)) for folder in recorded_bundles()]
ACTIVATIONS = [  # of a bundle that holds any, and of which case
    pytest.param(folder, case, id=f"{label(folder)}/{case}")
    for folder in recorded_bundles()
    for case in sorted({key.split(".")[0] for key in tensors(folder / "forward") if ".act." in key})
]
VANILLA = [pytest.param(path, id=label(path)) for path in traces("vanilla")]


def test_golden_tree_holds_cases():
    assert BUNDLES and FORWARD_CASES and ACTIVATIONS and VANILLA


@pytest.mark.parametrize("folder, case", FORWARD_CASES)
def test_golden_forward(folder, case):
    recorded = recorded_case(folder, case)
    assert_near(logits_of(folder, recorded), recorded["logits"].permute(0, 2, 3, 1))


def recorded_case(folder, case) -> dict[str, torch.Tensor]:
    return {k.removeprefix(case + "."): v for k, v in tensors(folder / "forward").items() if k.startswith(case + ".")}


def logits_of(folder, recorded) -> torch.Tensor:
    condition = mgt_core.Condition(
        hidden=recorded["encoder_hidden_states"],
        pooled=recorded["pooled_projections"],
        micro=recorded["micro_conds"],
    )
    return pipeline(folder).model.logits(recorded["tokens"], condition, recorded["timestep"])


@pytest.mark.parametrize("folder, case", ACTIVATIONS)
def test_golden_activations(folder, case):
    """Outputs of every recorded submodule, so that a slip is found where it happens."""
    recorded = recorded_case(folder, case)
    wanted = {k.removeprefix("act."): v for k, v in recorded.items() if k.startswith("act.")}
    network, seen = pipeline(folder).model.network, {}

    def note(name):
        return lambda module, inputs, output: seen.__setitem__(name, output)

    handles = [m.register_forward_hook(note(n)) for n, m in network.named_modules()]
    try:
        logits_of(folder, recorded)
    finally:
        for handle in handles:
            handle.remove()
    compared = 0
    for name, value in wanted.items():
        module, _, part = name.partition(".out")
        output = seen.get(module)
        if module.startswith("transformer_blocks"):
            output = output[1 - int(part)]  # recorded text first, ours image first
        if output is not None:
            assert_near(output.reshape(value.shape), value)
            compared += 1
    assert compared >= len(wanted) // 2


@pytest.mark.parametrize("folder", BUNDLES)
def test_golden_text(folder):
    text, recorded = pipeline(folder).text, tensors(folder / "text")
    prompts = json.loads((folder / "text.json").read_text())["prompts"]
    ids = text.tokenizer(
        prompts, return_tensors="pt", padding="max_length", truncation=True, max_length=text.max_length
    )
    assert equal(ids.input_ids, recorded["input_ids"])
    condition = text.encode(prompts)
    assert_near(condition.hidden, recorded["hidden_states_m2"])
    assert_near(condition.pooled, recorded["text_embeds"])


@pytest.mark.parametrize("folder", BUNDLES)
def test_golden_codec(folder):
    codec, recorded = pipeline(folder).codec, tensors(folder / "vq")
    image = recorded["image"].permute(0, 2, 3, 1)
    assert_near(codec.latents(image), recorded["latents"])
    assert_same_codes(codec, image, recorded["indices"])
    pairs = {"decoded_raw": "dec_indices", "roundtrip_raw": "indices"}
    for image_key, ids_key in pairs.items():
        if image_key in recorded:
            expected = recorded[image_key].clamp(0, 1).permute(0, 2, 3, 1)
            assert_near(codec.decode(recorded[ids_key]), expected, scale=recorded[image_key])


@pytest.mark.parametrize("path", VANILLA)
def test_golden_conditions(path):
    """Text, pooled and micro-conditions as the pipeline assembled them."""
    trace = Trace(path)
    conditions = trace.conditions()
    roles = ["negative", "positive"] if trace.cfg > 1 else ["positive"]
    ours = mgt_core.Condition.cat([conditions[role] for role in roles])
    for name, key in (("pooled", "pooled"), ("hidden", "encoder_hidden_states"), ("micro", "micro_conds")):
        assert_near(getattr(ours, name), trace[f"cond.{key}"])


@pytest.mark.parametrize("path", VANILLA)
@torch.inference_mode()
def test_golden_vanilla_steps(path):
    """Every step from its recorded input: logits, counts, draws, confidence and tokens."""
    trace = Trace(path)
    spy, sampler = Spy(), mgt_core.MaskGIT(temperature=trace.temperature)
    run = run_of(trace, trace.pipe.model.with_modifier(spy), trace.state(), sampler, RecordedDraws(trace))
    for phase in trace.phases():
        index = int(phase.removeprefix("step"))
        at = f"{phase}."
        tokens_in = trace[at + "tokens_in"].flatten(1)
        assert run.timestep(tokens_in, index).unique().tolist() == trace[at + "model_timestep"].tolist()
        before = (tokens_in == run.model.mask_id).sum(1).tolist()
        drawn = run.draw(index, tokens_in, before)
        kept = sampler.surest(run, drawn)
        where = drawn.step.positions

        def cells(name, where=where, at=at):
            return trace[at + name].reshape(where.shape[0], -1).gather(1, where)

        guided = trace[at + "guided_logits"].flatten(2).transpose(1, 2)
        guided = guided.gather(1, where[..., None].expand(-1, -1, guided.shape[-1]))
        assert_near(spy.seen["logits"], guided)
        assert agree(drawn.tokens.gather(1, where), cells("x0"))
        assert agree(kept.tokens, trace[at + "tokens_out"].flatten(1))
        if at + "mask_len" in trace:
            masked_after = (kept.tokens == run.model.mask_id).sum(1, keepdim=True)
            assert torch.equal(masked_after, trace[at + "mask_len"])
            torch.testing.assert_close(torch.tensor([run.temperatures[index]]), trace[at + "temperature"].cpu())
            confidence = (drawn.log_probability + run.noise(drawn)).gather(1, where)
            assert_near(confidence, cells("confidence"))
            assert agree(~kept.kept.gather(1, where), cells("masking").bool())


@pytest.mark.parametrize("path", VANILLA)
def test_golden_vanilla_run(path):
    """A whole run through the public API with recorded draws: tokens at every step, and the image."""
    trace = Trace(path)
    seen = []
    out = mgt_core.sample(
        trace.pipe.model,
        trace.state(),
        **trace.conditions(),
        sampler=mgt_core.MaskGIT(temperature=trace.temperature, draws=RecordedDraws(trace).source),
        schedule=trace.schedule,
        steps=trace.steps,
        cfg=trace.cfg,
        callback=seen.append,
    )
    assert agree(out.tokens, trace["final.tokens"])
    for step in seen:
        key = f"step{step.index:02d}.tokens_"
        assert agree(step.tokens, trace[key + "in"]) and agree(step.result.tokens, trace[key + "out"])
    if "final.image" in trace:
        assert_near(trace.pipe.codec.decode(out), trace["final.image"].permute(0, 2, 3, 1))
