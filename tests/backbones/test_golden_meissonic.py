"""Values of the published Meissonic implementation, reproduced (see golden/meissonic/README.md)."""

import json

import pytest
import torch

import mgt_core
from support.golden import GAP, RecordedDraws, Spy, Trace, bundles, label, pipeline, run_of, tensors, traces

FORWARD_CASES = [
    pytest.param(folder, case, id=f"{label(folder)}/{case}")
    for folder in bundles()
    for case in sorted({key.split(".")[0] for key in tensors(folder / "forward")})
]
BUNDLES = [pytest.param(folder, id=label(folder)) for folder in bundles()]
VANILLA = [pytest.param(path, id=label(path)) for path in traces("vanilla")]


def test_golden_tree_holds_cases():
    assert BUNDLES and FORWARD_CASES and VANILLA


@pytest.mark.parametrize("folder, case", FORWARD_CASES)
def test_golden_forward(folder, case):
    recorded = {
        k.removeprefix(case + "."): v for k, v in tensors(folder / "forward").items() if k.startswith(case + ".")
    }
    condition = mgt_core.Condition(
        hidden=recorded["encoder_hidden_states"],
        pooled=recorded["pooled_projections"],
        micro=recorded["micro_conds"],
    )
    logits = pipeline(folder).model.logits(recorded["tokens"], condition, recorded["timestep"])
    torch.testing.assert_close(logits, recorded["logits"].permute(0, 2, 3, 1), atol=GAP, rtol=0)


@pytest.mark.parametrize("folder", BUNDLES)
def test_golden_activations(folder):
    """Outputs of every recorded submodule, so that a slip is found where it happens."""
    recorded = tensors(folder / "forward")
    wanted = {k.removeprefix("sq.act."): v for k, v in recorded.items() if k.startswith("sq.act.")}
    if not wanted:
        pytest.skip("no activations recorded for this bundle")
    network, seen = pipeline(folder).model.network, {}

    def note(name):
        return lambda module, inputs, output: seen.__setitem__(name, output)

    handles = [m.register_forward_hook(note(n)) for n, m in network.named_modules()]
    try:
        condition = mgt_core.Condition(
            hidden=recorded["sq.encoder_hidden_states"],
            pooled=recorded["sq.pooled_projections"],
            micro=recorded["sq.micro_conds"],
        )
        pipeline(folder).model.logits(recorded["sq.tokens"], condition, recorded["sq.timestep"])
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
            torch.testing.assert_close(output.reshape(value.shape), value, atol=GAP, rtol=1e-4)
            compared += 1
    assert compared >= len(wanted) // 2


@pytest.mark.parametrize("folder", BUNDLES)
def test_golden_text(folder):
    text, recorded = pipeline(folder).text, tensors(folder / "text")
    prompts = json.loads((folder / "text.json").read_text())["prompts"]
    ids = text.tokenizer(
        prompts, return_tensors="pt", padding="max_length", truncation=True, max_length=text.max_length
    )
    assert torch.equal(ids.input_ids, recorded["input_ids"])
    condition = text.encode(prompts)
    torch.testing.assert_close(condition.hidden, recorded["hidden_states_m2"], atol=GAP, rtol=0)
    torch.testing.assert_close(condition.pooled, recorded["text_embeds"], atol=GAP, rtol=0)


@pytest.mark.parametrize("folder", BUNDLES)
def test_golden_codec(folder):
    codec, recorded = pipeline(folder).codec, tensors(folder / "vq")
    image = recorded["image"].permute(0, 2, 3, 1)
    torch.testing.assert_close(codec.latents(image), recorded["latents"], atol=GAP, rtol=0)
    assert torch.equal(codec.encode(image), recorded["indices"])
    pairs = {"decoded_raw": "dec_indices", "roundtrip_raw": "indices"}
    for image_key, ids_key in pairs.items():
        if image_key in recorded:
            expected = recorded[image_key].clamp(0, 1).permute(0, 2, 3, 1)
            torch.testing.assert_close(codec.decode(recorded[ids_key]), expected, atol=GAP, rtol=0)


@pytest.mark.parametrize("path", VANILLA)
def test_golden_conditions(path):
    """Text, pooled and micro-conditions as the pipeline assembled them."""
    trace = Trace(path)
    conditions = trace.conditions()
    roles = ["negative", "positive"] if trace.cfg > 1 else ["positive"]
    ours = mgt_core.Condition.cat([conditions[role] for role in roles])
    for name, key in (("pooled", "pooled"), ("hidden", "encoder_hidden_states"), ("micro", "micro_conds")):
        torch.testing.assert_close(getattr(ours, name), trace[f"cond.{key}"], atol=GAP, rtol=0)


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
        torch.testing.assert_close(spy.seen["logits"], guided, atol=GAP, rtol=0)
        assert torch.equal(drawn.tokens.gather(1, where), cells("x0"))
        assert torch.equal(kept.tokens, trace[at + "tokens_out"].flatten(1))
        if at + "mask_len" in trace:
            masked_after = (kept.tokens == run.model.mask_id).sum(1, keepdim=True)
            assert torch.equal(masked_after, trace[at + "mask_len"])
            torch.testing.assert_close(torch.tensor([run.temperatures[index]]), trace[at + "temperature"])
            confidence = (drawn.log_probability + run.noise(drawn)).gather(1, where)
            torch.testing.assert_close(confidence, cells("confidence"), atol=GAP, rtol=0)
            assert torch.equal(~kept.kept.gather(1, where), cells("masking").bool())


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
    assert torch.equal(out.tokens, trace["final.tokens"])
    for step in seen:
        key = f"step{step.index:02d}.tokens_"
        assert torch.equal(step.tokens, trace[key + "in"]) and torch.equal(step.result.tokens, trace[key + "out"])
    image = trace.pipe.codec.decode(out)
    torch.testing.assert_close(image, trace["final.image"].permute(0, 2, 3, 1), atol=GAP, rtol=0)
