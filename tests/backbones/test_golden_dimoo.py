"""Values of the published Lumina-DiMOO implementation, reproduced (see golden/unified/dimoo/README.md)."""

import json

import pytest
import torch

import mgt_core
from mgt_core.sampling.run import Run
from mgt_core.sampling.step import at_temperature, least_confident
from mgt_core.types import NO_WORD
from support.device import DEVICE, agree, equal
from support.golden import Spy, assert_near, pipeline, tensors
from support.golden_dimoo import FOLDER, Trace, gumbel, plan_of, seen_through, trace_names

FORWARD = tensors(FOLDER / "forward")
CASES = sorted({key.rpartition(".")[0] for key in FORWARD if ".logits" in key} - {"batch2"})
ACTIVATIONS = sorted(key for key in FORWARD if ".act." in key)
PLAIN = [name for name in trace_names() if not name.startswith("cache")]
SAMPLING = tensors(FOLDER / "sampling")
MODULES = {"q_proj": "qkv_proj", "k_proj": "qkv_proj", "v_proj": "qkv_proj", "out": ""}  # else by the same name


@pytest.fixture(scope="module")
def pipe():
    return pipeline(FOLDER)


def logits_of(pipe, tokens, prompt):
    """[h * w, K]"""
    return pipe.model.logits(tokens, mgt_core.Condition(prompt=prompt[None]), 0.0).flatten(0, 2)


def recorded_logits(network, case):
    """[n, K], of the codes."""
    if f"{case}.logits_image" in FORWARD:
        return FORWARD[f"{case}.logits_image"]
    return FORWARD[f"{case}.logits"][:, network.code_offset : network.code_offset + network.codebook_size]


def test_golden_tree_holds_cases():
    assert CASES and ACTIVATIONS and len(PLAIN) >= 3
    assert any(Trace(name).state.fixed.any() for name in PLAIN)


def test_golden_prompts(pipe):
    for held in json.loads((FOLDER / "prompts.json").read_text()):
        assert pipe.text.encode("").prompt.tolist() == [held["uncond_ids"]]
        if held["prompt"]:  # theirs of no words at all is no prompt here
            assert pipe.text.encode(held["prompt"]).prompt.tolist() == [held["cond_ids"]]
            negative = pipe.text.encode([held["prompt"], ""]).prompt
            assert (
                negative[1].tolist() == [NO_WORD] * (negative.shape[1] - len(held["uncond_ids"])) + held["uncond_ids"]
            )


@pytest.mark.parametrize("case", CASES)
def test_golden_forward(pipe, case):
    network = pipe.model.network
    prompt, places, tokens = seen_through(network, FORWARD[f"{case}.ids"])
    assert_near(logits_of(pipe, tokens, prompt), recorded_logits(network, case)[places])


@torch.inference_mode()
def test_golden_batch(pipe):
    """Two sequences in one call, whatever stands in them: the second is no picture."""
    network, ids = pipe.model.network, FORWARD["batch2.ids"]
    x, tables = network.embedded(ids), network.rotary(tuple(range(ids.shape[1]))).to(ids.device)
    for block in network.blocks:
        x = block(x, tables, None)
    assert_near(network.head(network.ln_f(x)), FORWARD["batch2.logits_image"])


@pytest.mark.parametrize("key", ACTIVATIONS)
def test_golden_activations(pipe, key):
    """Outputs of every recorded submodule, words first in ours, so that a slip is found where it happens."""
    case, name = key.split(".act.")
    network, (prompt, places, tokens) = pipe.model.network, seen_through(pipe.model.network, FORWARD[f"{case}.ids"])
    block, _, part = name.partition(".")
    path = "ln_f" if name == "ln_f" else f"blocks.{block.removeprefix('block')}.{MODULES.get(part, part)}".rstrip(".")
    seen = []
    handle = network.get_submodule(path).register_forward_hook(lambda module, inputs, output: seen.append(output))
    try:
        logits_of(pipe, tokens, prompt)
    finally:
        handle.remove()
    ours, wanted = seen[0][0], FORWARD[key]
    if MODULES.get(part) == "qkv_proj":
        ours = ours.chunk(3, dim=-1)["qkv".index(part[0])]
    assert_near(ours[-len(places) :], wanted[places])


def test_golden_layout(pipe):
    """Rows and their ends, and the grid of every size, whose sides theirs rounds down and ours refuses."""
    layout = json.loads((FOLDER / "layout.json").read_text())
    network, at = pipe.model.network, pipe.model.network.config.marks
    for held in layout["add_break_line"]:
        grid = held["h"], held["w"]
        *_, last = held["out"]
        rows = [place == last for place in held["out"]]
        frame = network.frame(grid)
        assert frame[:2] == [at["answer"], at["picture"]] and frame[-2:] == [at["picture_end"], at["answer_end"]]
        assert [entry == at["row_end"] for entry in frame[2:-2]] == rows
    for held in layout["vq_params"]:
        count, _, height, width = held["out"]
        size = held["height"], held["width"]
        if any(side % pipe.codec.scale for side in size):
            with pytest.raises(mgt_core.MGTError, match="takes multiples of"):
                pipe.model.grid_for(*size)
            size = height * pipe.codec.scale, width * pipe.codec.scale
        assert pipe.model.grid_for(*size) == (height, width) and height * width == count


@pytest.mark.parametrize("key", sorted(key for key in SAMPLING if key.startswith("keep.")))
def test_golden_counts(key):
    """How many stay masked, before they are bounded by how many there are."""
    _, total, steps = key.split(".")
    total, steps = int(total[1:]), int(steps[1:])
    *ours, last = mgt_core.SCHEDULES.get("cosine")().targets(steps, total)
    assert [max(1, count) for count in ours] + [last] == SAMPLING[key].tolist()


@pytest.mark.parametrize("key", sorted(key for key in SAMPLING if key.startswith("sample.") and ".t" in key))
def test_golden_draw(key):
    """The draw at a temperature, in the type that the logits had."""
    kind, temperature = key.split(".")[1], float(key.split(".t")[1].removesuffix(".ids"))
    logits, noise = SAMPLING[f"sample.{kind}.logits"], gumbel(SAMPLING[f"sample.{kind}.u"])
    choose = at_temperature(lambda logits, step: (logits + noise).argmax(-1), temperature)
    assert equal(choose(logits, None), SAMPLING[key])


@pytest.mark.parametrize("key", sorted(key for key in SAMPLING if key.startswith("mask.") and ".t" in key))
def test_golden_masking(key):
    """Which of a row's cells are masked again: the least sure ones. In bfloat16 numbers are often alike, and theirs
    masks none of those that are as sure as the first one it keeps, where ours masks as many as it is to."""
    kind, rest = key.split(".")[1], key.split(".t")[1]
    temperature, most = float(rest.split(".k")[0]), int(rest.split(".k")[1])
    probabilities, noise = SAMPLING[f"mask.{kind}.probs"], gumbel(SAMPLING[f"mask.{kind}.u"])
    sure = probabilities.clamp_min(1e-20).log() + temperature * noise
    cells = sure.shape[1]
    counts = [min(cells - 1, max(0, count)) for count in (most, most - 1)]
    ours = least_confident(sure, torch.ones_like(sure, dtype=torch.bool), counts)
    theirs = SAMPLING[key].bool()
    for row, count in enumerate(counts):
        cut = sure[row].sort().values[count]
        assert equal(ours[row] & (sure[row] < cut), theirs[row])
        assert kind == "bf16" or equal(ours[row], theirs[row])


@pytest.mark.parametrize("name", PLAIN)
@torch.inference_mode()
def test_golden_steps(name):
    """Every step from its recorded input: logits, draws, confidence and what is masked again."""
    trace, spy = Trace(name), Spy()
    sampler, model = trace.sampler(), trace.pipe.model.with_modifier(spy)
    run = Run(model, trace.state, **trace.conditions, plan=plan_of(trace, sampler))
    for held in trace.told["steps"]:
        index = held["step"]
        before = trace.tokens(trace.at(index, "ids_in")).flatten(1)
        drawn = run.draw(index, before, [held["masked_in"]])
        where = drawn.step.positions
        if (guided := trace.at(index, "guided_logits")) is not None:
            assert_near(spy.seen["logits"][0], guided)
        assert agree(drawn.tokens.gather(1, where)[0], trace.at(index, "sampled"))
        confidence = drawn.log_probability + sampler.temperature[0] * run.draws.gumbel(drawn.step)
        assert_near(confidence.gather(1, where)[0], trace.at(index, "confidence"))
        kept = run.keep(drawn, confidence, [held["masked_out"]])
        assert agree((kept.tokens == model.mask_id).gather(1, where)[0], trace.at(index, "masking").bool())


@pytest.mark.parametrize("name", PLAIN)
def test_golden_run(name):
    """A whole run through the public API with recorded draws: ids at every step, and at the end."""
    trace, seen = Trace(name), []
    out = mgt_core.sample(
        trace.pipe.model,
        trace.state,
        **trace.conditions,
        sampler=trace.sampler(),
        schedule="cosine",
        steps=trace.steps,
        cfg=trace.cfg,
        callback=seen.append,
    )
    assert agree(out.tokens, trace.tokens(trace["final_ids"]))
    network = trace.pipe.model.network
    assert agree(out.tokens.flatten() + network.code_offset, trace["vq_ids"])
    for index in range(trace.told["steps_run"]):
        assert agree(seen[index].tokens, trace.tokens(trace.at(index, "ids_in")))


def test_settings_of_a_run_are_the_published_ones(pipe):
    """inference_t2i.py: 64 steps, cfg_scale 4, one temperature of 1 that does not change."""
    run = mgt_core.settle(pipe.model, mgt_core.empty_tokens(pipe, 64, 64))
    assert (run.steps, run.cfg) == (64, 5.0)
    assert run.sampler.temperatures(4) == run.sampler.draw_temperatures(4) == [1.0] * 4
    cooler = mgt_core.settle(pipe.model, mgt_core.empty_tokens(pipe, 64, 64), temperature=(0.5, 0.5))
    assert cooler.sampler.draw_temperatures(2) == [0.5, 0.5]


def test_golden_codec(pipe):
    held = tensors(FOLDER / "vq")
    for name in sorted({key.split(".")[0] for key in held if key.endswith(".indices")}):
        image = held[f"{name}.image_u8"].permute(0, 2, 3, 1) / 255
        assert_near(pipe.codec.latents(image), held[f"{name}.latents"])
        assert equal(pipe.codec.encode(image), held[f"{name}.indices"])
        decoded = pipe.codec.decode(held[f"{name}.dec_indices"])[0]
        assert ((decoded * 255).round() - held[f"{name}.decoded_u8"]).abs().max() <= 1
        for key, ids in ((f"{name}.decoded_raw", "dec_indices"), (f"{name}.roundtrip_raw", "indices")):
            if key in held:
                ours = pipe.codec.decode(held[f"{name}.{ids}"])
                assert_near(ours, held[key].clamp(0, 1).permute(0, 2, 3, 1), scale=held[key])


PAINT = {held["case"]: held for held in json.loads((FOLDER / "paint.json").read_text())}
PAINTED = sorted({int(key.split(".")[0][5:]) for key in tensors(FOLDER / "vq") if key.endswith(".tokens")})


@pytest.mark.parametrize("case", PAINTED)
def test_golden_painting(pipe, case):
    """MGT Encode Image and MGT Mask Tokens give the ids of `encode_img_with_paint`, where a cell is free that the
    rectangle covers by more than half."""
    from PIL import Image

    held, told = tensors(FOLDER / "vq"), PAINT[case]
    pixels, network = held[f"paint{case}.image_u8"], pipe.model.network
    (height, width), scale = pixels.shape[:2], pipe.codec.scale
    size = height // scale * scale, width // scale * scale
    resized = Image.fromarray(pixels.cpu().numpy()).resize(size[::-1], Image.Resampling.LANCZOS)
    image = torch.frombuffer(bytearray(resized.tobytes()), dtype=torch.uint8).view(1, *size, 3).to(DEVICE) / 255
    tall, wide = round(height * told["mask_h_ratio"]), round(width * told["mask_w_ratio"])
    down, right = size[0] / height, size[1] / width
    top, left = round((height - tall) // 2 * down), round((width - wide) // 2 * right)
    inside = torch.zeros(1, 1, *size)
    inside[..., top : top + round(tall * down), left : left + round(wide * right)] = 1
    if told["mask_mode"] == "outpainting":
        inside = 1 - inside
    cells = torch.nn.functional.avg_pool2d(inside, scale)[:, 0] > 0.5
    state = mgt_core.mask_tokens(mgt_core.encode_image(pipe.model, pipe.codec, image), cells.float())
    ids, at = held[f"paint{case}.tokens"], network.config.marks
    rows = ids.view(size[0] // scale, -1)
    assert (rows[:, -1] == 126084).all() and at["row_end"] != 126084  # published ids in the recording
    recorded = torch.where(rows[:, :-1] == 126336, network.mask_id, rows[:, :-1] - 126356)
    assert equal(state.tokens[0], recorded)
