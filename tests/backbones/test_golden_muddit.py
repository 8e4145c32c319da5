"""Values of the published Muddit implementation, reproduced (its pictures; captions are in tests/captioning)."""

import json

import pytest
import torch

import mgt_core
from support.device import agree, equal
from support.golden import assert_near, assert_same_codes, tensors
from support.muddit import MUDDIT, MudditTrace, muddit, muddit_traces, sizes

CASES = [
    pytest.param(size, case, id=f"{size}/{case}")
    for size in sizes()
    for case in sorted({key.split(".")[0] for key in tensors(MUDDIT / f"forward_{size}")})
]
RUNS = muddit_traces("t2i")


def test_golden_tree_holds_cases():
    assert "1024" in sizes() and CASES and RUNS


def recorded(size: str, case: str) -> tuple[dict[str, torch.Tensor], mgt_core.Condition]:
    held = tensors(MUDDIT / f"forward_{size}")
    held = {key.removeprefix(f"{case}."): value for key, value in held.items() if key.startswith(f"{case}.")}
    names = {"hidden": "encoder_hidden_states", "pooled": "pooled_projections", "micro": "micro_conds"}
    return held, mgt_core.Condition(**{name: held[key] for name, key in names.items()})


@pytest.mark.parametrize("size, case", CASES)
@torch.inference_mode()
def test_golden_forward(size, case):
    """Logits of codes and of words, and what every recorded submodule gives."""
    held, condition = recorded(size, case)
    model, seen = muddit(size).model, {}
    wanted = {key.removeprefix("act."): value for key, value in held.items() if key.startswith("act.")}
    hooks = [
        module.register_forward_hook(lambda module, inputs, output, name=name: seen.__setitem__(name, output))
        for name, module in model.network.named_modules()
    ]
    try:
        logits = model.logits(held["tokens"], condition, held["timestep"])
    finally:
        for hook in hooks:
            hook.remove()
    assert_near(logits.permute(0, 3, 1, 2), held["logits"])
    compared = 0
    for name, value in wanted.items():
        module, _, part = name.partition(".out")
        if (output := seen.get(module)) is not None:
            output = output[1 - int(part)] if part else output  # recorded text first, ours image first
            assert_near(output.permute(0, 3, 1, 2) if value.ndim == 4 else output, value)
            compared += 1
    assert compared >= len(wanted) // 2
    if "text_logits" in held:
        prepared = model.network.prepare(condition, tuple(held["tokens"].shape[1:]))
        rows = model.network.text_features(held["tokens"], held["timestep"], prepared)
        assert_near(model.network.text_head(rows)[:, held["text_positions"]], held["text_logits"])


@pytest.mark.skipif(
    not (MUDDIT / "text.json").exists(), reason="of a whole tree; the text encoder is of Meissonic's kind"
)
def test_golden_text():
    held, text = tensors(MUDDIT / "text"), muddit("1024").text
    prompts = json.loads((MUDDIT / "text.json").read_text())["prompts"]
    ids = text.tokenizer(
        prompts, return_tensors="pt", padding="max_length", truncation=True, max_length=text.max_length
    )
    assert equal(ids.input_ids, held["input_ids"])
    condition = text.encode(prompts)
    assert_near(condition.hidden, held["hidden_states_m2"])
    assert_near(condition.pooled, held["text_embeds"])


@pytest.mark.skipif(
    not (MUDDIT / "vq.safetensors").exists(), reason="of a whole tree; the codec is of Meissonic's kind"
)
def test_golden_codec():
    held, codec = tensors(MUDDIT / "vq"), muddit("1024").codec
    image = held["image"].permute(0, 2, 3, 1)
    assert_near(codec.latents(image), held["latents"])
    assert_same_codes(codec, image, held["indices"])
    decoded = held["decoded_raw"].clamp(0, 1).permute(0, 2, 3, 1)
    assert_near(codec.decode(held["dec_indices"]), decoded, scale=held["decoded_raw"])


@pytest.mark.parametrize("path", RUNS)
def test_golden_run(path):
    """A whole run by the settings that the bundle recommends where the call says none: tokens of every step, logits,
    draws, conditions and the picture, of what the tree holds."""
    trace, seen = MudditTrace(path), []
    guidance, model = trace.call["guidance_scale"], trace.pipe.model
    prompts = trace.call["prompt"]
    negative = [trace.call.get("negative_prompt", "")] * len(prompts)
    roles = {"positive": trace.pipe.text.encode(prompts, trace.size)}
    if guidance > 1:
        roles = {"negative": trace.pipe.text.encode(negative, trace.size), **roles}
    together = mgt_core.Condition.cat(list(roles.values()))
    for name, key in (("hidden", "encoder_hidden_states"), ("pooled", "pooled"), ("micro", "micro_conds")):
        if f"cond.{key}" in trace:
            assert_near(getattr(together, name), trace[f"cond.{key}"])
    out = mgt_core.sample(
        model,
        mgt_core.empty_tokens(trace.pipe, *trace.size, batch=len(prompts)),
        **roles,
        sampler=mgt_core.MaskGIT(temperature=trace.temperature, draws=trace.source),
        steps=trace.steps,
        cfg=guidance,
        callback=seen.append,
    )
    assert len(seen) == trace.steps
    for step in seen:
        at = f"step{step.index:02d}."
        assert agree(step.tokens, trace[at + "tokens_in"]) and agree(step.result.tokens, trace[at + "tokens_out"])
        told = model.timestep(step.tokens, step.index, step.total)
        assert told.unique().tolist() == trace[at + "model_timestep"].tolist()
    assert agree(out.tokens, trace["final.tokens"])
    if "final.image" in trace:
        assert_near(trace.pipe.codec.decode(out), trace["final.image"].permute(0, 2, 3, 1))


@pytest.mark.parametrize("path", RUNS)
def test_golden_draws(path):
    """At every masked cell of every step the recorded code is the one that the published draw takes of our logits."""
    trace = MudditTrace(path)
    model, guidance, prompts = trace.pipe.model, trace.call["guidance_scale"], trace.call["prompt"]
    first = trace["step00.tokens_in"]
    races = trace.races(model.codebook_size, first[0].numel(), len(first))
    positive = trace.pipe.text.encode(prompts, trace.size)
    negative = trace.pipe.text.encode([trace.call.get("negative_prompt", "")] * len(prompts), trace.size)
    for index, race in enumerate(races):
        at, told = f"step{index:02d}.", model.timestep(first, index, trace.steps)
        tokens = trace[at + "tokens_in"]
        logits = model.logits(tokens, positive, told)
        if at + "cond_logits" in trace:
            assert_near(logits.permute(0, 3, 1, 2), trace[at + "cond_logits"])
        if guidance > 1:
            logits = torch.lerp(model.logits(tokens, negative, told), logits, guidance)
        drawn = (logits.flatten(1, 2).softmax(-1) / race).argmax(-1)
        free = tokens.flatten(1) == model.mask_id
        assert agree(drawn[free], trace[at + "drawn"].flatten(1)[free])
