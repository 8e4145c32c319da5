"""Bad input: every case gets one sentence that names the input, what it held and what is accepted."""

import json
import os
import re
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mgt_core
from support.bundles import REMOVED, copy_bundle, edit_config, edit_weights, shard_weights, weights_file
from support.golden import bundles, pipeline

PIPE = pipeline(bundles()[0])  # downsampling layout: both sides of its grid are even
UNIT = PIPE.model.pixels_per_token * PIPE.model.grid_multiple
MASK, CODES = PIPE.model.mask_id, PIPE.model.codebook_size
WIDTHS = PIPE.model.network.condition_widths
LONGEST = 400  # characters, with a temporary path in them
NAN, INF = float("nan"), float("inf")


def condition(batch=1, length=4, **changes) -> mgt_core.Condition:
    fields = {"hidden": torch.ones(batch, length, WIDTHS["hidden"]), "pooled": torch.ones(batch, WIDTHS["pooled"])}
    return mgt_core.Condition(**fields | changes)


def state(batch=1, grid=(2, 4), **changes) -> mgt_core.TokenState:
    return replace(mgt_core.empty_state(batch, grid, MASK, CODES), **changes)


def sample(model=PIPE.model, tokens=None, positive=None, negative=None, **changes):
    return lambda: mgt_core.sample(
        model,
        state() if tokens is None else tokens,
        condition() if positive is None else positive,
        condition() if negative is None else negative,
        **{"steps": 2, "cfg": 3.0} | changes,
    )


def with_tokens(**changes):
    """Sampling of a state that is itself bad, or becomes so by `changes`."""
    return lambda: sample(tokens=state(**changes))()


def with_conditions(**roles: Callable[[], object]):
    return lambda: mgt_core.sample(
        PIPE.model,
        state(batch=3),
        **{role: roles.get(role, condition)() for role in ("positive", "negative")},
        steps=2,
        cfg=3.0,
    )


def size(height, width=UNIT, batch=1):
    return lambda: mgt_core.empty_tokens(PIPE, height=height, width=width, batch=batch)


def filled(value, shape=(1, 2, 4)) -> torch.Tensor:
    return torch.full(shape, value)


CALLS = [
    # sizes
    ("size between units", size(UNIT - 1), f"height is {UNIT - 1} pixels", f"multiples of {UNIT}"),
    ("size zero", size(0), "height is 0"),
    ("size negative", size(-UNIT), f"height is -{UNIT}"),
    ("size of the other unit", size(UNIT, UNIT + UNIT // 2), f"width is {UNIT + UNIT // 2}", f"multiples of {UNIT}"),
    ("size float", size(float(UNIT)), f"height is {float(UNIT)}"),
    ("size text", size(str(UNIT)), f"height is '{UNIT}'"),
    ("size absurd", size(UNIT * 10**6), f"height is {UNIT * 10**6}", "to 16384"),
    ("batch zero", size(UNIT, batch=0), "batch is 0", "from 1 to"),
    ("batch negative", size(UNIT, batch=-1), "batch is -1"),
    ("batch huge", size(UNIT, batch=10**6), "batch is 1000000", "to 4096"),
    ("batch fraction", size(UNIT, batch=1.5), "batch is 1.5"),
    ("odd grid", with_tokens(grid=(3, 4)), "3 x 4", "multiple of 2"),
    # settings of a run
    ("steps zero", sample(steps=0), "steps is 0", "from 1 to"),
    ("steps negative", sample(steps=-1), "steps is -1"),
    ("steps fraction", sample(steps=1.5), "steps is 1.5"),
    ("steps bool", sample(steps=True), "steps is True"),
    ("steps absurd", sample(steps=10**9), "steps is 1000000000"),
    ("cfg nan", sample(cfg=NAN), "cfg is nan", "numbers from 0"),
    ("cfg inf", sample(cfg=INF), "cfg is inf"),
    ("cfg negative", sample(cfg=-1.0), "cfg is -1.0"),
    ("cfg text", sample(cfg="7"), "cfg is '7'"),
    ("cfg none", sample(cfg=None), "cfg is None"),
    ("temperature negative", sample(temperature=-1.0), "temperature is -1.0", "numbers from 0"),
    ("temperature nan", sample(temperature=(2.0, NAN)), "temperature is nan"),
    ("temperature of three", sample(temperature=(1, 2, 3)), r"temperature is \(1, 2, 3\)", "one number or two"),
    ("temperature text", sample(temperature="hot"), "temperature is 'hot'"),
    ("seed negative", sample(seed=-1), "seed is -1", "whole numbers from 0"),
    ("seed too big", sample(seed=2**64), f"seed is {2**64}"),
    ("seed float", sample(seed=1.0), "seed is 1.0"),
    ("sampler unknown", sample(sampler="magic"), "sampler is 'magic'", "maskgit"),
    ("sampler no sampler", sample(sampler=3), "sampler is 3"),
    ("schedule unknown", sample(schedule="zigzag"), "schedule is 'zigzag'", "cosine, linear"),
    ("schedule number", sample(schedule=3), "schedule is 3"),
    ("callback not callable", sample(callback="print"), "callback is 'print'"),
    ("model is a pipeline", sample(model=PIPE), "model is Pipeline", r"\.model of a loaded bundle"),
    ("modifier is a text", lambda: PIPE.model.with_modifier("noise"), "'noise'", "modifier"),
    ("timestep rule unknown", lambda: PIPE.model.with_timestep_rule("time"), "'time'", "index and mask_ratio"),
    # tokens
    ("tokens are a tensor", sample(tokens=filled(MASK)), "tokens are Tensor", "TokenState"),
    ("tokens of another mask", with_tokens(mask_id=MASK + 1), f"mask id {MASK + 1}", f"this model {MASK}"),
    ("tokens of another codebook", with_tokens(codebook_size=CODES * 2), f"{CODES * 2} codes", f"and {CODES}"),
    ("id too large", with_tokens(tokens=filled(CODES)), f"the id {CODES}", f"0 to {CODES - 1}"),
    ("id negative", with_tokens(tokens=filled(-1)), "the id -1"),
    ("fixed cell masked", with_tokens(fixed=filled(True)), "fixed cell holds the mask"),
    ("tokens of rank two", lambda: state(tokens=filled(1, (2, 4))), r"shape \[2, 4\]", r"\[batch, height, width\]"),
    ("tokens float", lambda: state(tokens=filled(1.0)), "tokens .* torch.float32", "torch.int64"),
    ("tokens a list", lambda: state(tokens=[[[1]]]), "tokens .* list"),
    ("fixed of another shape", lambda: state(fixed=filled(False, (1, 2, 2))), r"fixed has shape \[1, 2, 2\]"),
    ("fixed of numbers", lambda: state(fixed=filled(0)), "fixed .* torch.int64", "torch.bool"),
    # conditions
    ("no positive", with_conditions(positive=lambda: None), "needs a positive condition"),
    ("no negative", with_conditions(negative=lambda: None), "needs a negative condition"),
    ("condition is a text", with_conditions(positive=lambda: "a cat"), "positive condition is str", "text.encode"),
    ("condition is empty", with_conditions(positive=mgt_core.Condition), "condition is empty"),
    (
        "condition without pooled",
        with_conditions(negative=lambda: condition(pooled=None)),
        "negative condition lacks pooled",
    ),
    (
        "condition of another model",
        with_conditions(positive=lambda: condition(hidden=torch.ones(1, 4, WIDTHS["hidden"] + 1))),
        f"hidden of width {WIDTHS['hidden'] + 1}",
        f"takes {WIDTHS['hidden']}",
        "another model",
    ),
    (
        "pooled of another model",
        with_conditions(negative=lambda: condition(pooled=torch.ones(1, 7))),
        "negative .* pooled of width 7",
    ),
    (
        "micro of four",
        with_conditions(positive=lambda: condition(micro=torch.ones(1, 4))),
        "micro of width 4",
        "takes 5",
    ),
    ("two prompts, three images", with_conditions(positive=lambda: condition(2)), "2 prompts for 3 images", "1 or 3"),
    (
        "fields of different batch",
        with_conditions(positive=lambda: condition(2, pooled=torch.ones(3, WIDTHS["pooled"]))),
        "different batch sizes",
        "'hidden': 2",
    ),
    (
        "hidden of rank two",
        lambda: condition(hidden=torch.ones(4, WIDTHS["hidden"])),
        "hidden of shape",
        "3 dimensions",
    ),
    ("hidden a list", lambda: condition(hidden=[1.0]), "hidden of list"),
    (
        "inf in a condition",
        with_conditions(positive=lambda: condition(pooled=torch.full((1, WIDTHS["pooled"]), INF))),
        "positive condition has pooled",
        "not finite",
    ),
    (
        "nan in a condition",
        with_conditions(negative=lambda: condition(hidden=torch.full((1, 4, WIDTHS["hidden"]), NAN))),
        "negative condition has hidden",
        "not finite",
    ),
    # prompts, codec, plain logits, schedules
    ("no prompts", lambda: PIPE.text.encode([]), r"prompts are \[\]", "one or more texts"),
    ("prompts of numbers", lambda: PIPE.text.encode(["a", 1]), r"prompts are \['a', 1\]"),
    ("prompts none", lambda: PIPE.text.encode(None), "prompts are None"),
    ("decode masked cells", lambda: PIPE.codec.decode(state()), "8 of 8 cells are still masked"),
    (
        "decode unknown ids",
        lambda: PIPE.codec.decode(filled(PIPE.codec.codebook_size)),
        f"0 to {PIPE.codec.codebook_size - 1}",
    ),
    ("decode negative ids", lambda: PIPE.codec.decode(filled(-3)), "from -3 to -3"),
    ("decode rank two", lambda: PIPE.codec.decode(filled(1, (2, 2))), r"shape \[2, 2\]", r"\[batch, height, width\]"),
    ("decode floats", lambda: PIPE.codec.decode(filled(1.0)), "torch.float32", "whole numbers"),
    (
        "encode channels first",
        lambda: PIPE.codec.encode(torch.ones(1, 3, 64, 64)),
        r"\[1, 3, 64, 64\]",
        r"\[batch, height, width, 3\]",
    ),
    (
        "encode odd size",
        lambda: PIPE.codec.encode(torch.ones(1, 65, 64, 3)),
        r"\[1, 65, 64, 3\]",
        f"multiples of {PIPE.codec.scale}",
    ),
    ("encode nothing", lambda: PIPE.codec.encode(torch.ones(1, 0, 64, 3)), r"\[1, 0, 64, 3\]"),
    (
        "encode bytes",
        lambda: PIPE.codec.encode(torch.ones(1, 64, 64, 3, dtype=torch.uint8)),
        "torch.uint8",
        "floats in 0 to 1",
    ),
    ("logits of rank two", lambda: PIPE.model.logits(filled(1, (1, 4)), condition(), 0), r"shape \[1, 4\]"),
    ("logits of unknown ids", lambda: PIPE.model.logits(filled(MASK + 1), condition(), 0), f"the id {MASK + 1}"),
    (
        "logits at three times",
        lambda: PIPE.model.logits(filled(1), condition(), torch.zeros(3)),
        "3 values for 1 images",
    ),
    ("progress beyond the end", lambda: mgt_core.SCHEDULES.get("cosine")().ratio(1.5), "progress is 1.5", "0 to 1"),
    # load's own arguments
    ("model none", lambda: mgt_core.load(None), "model is 'None'", "demo"),
    ("model empty", lambda: mgt_core.load(""), "model is ''"),
    ("model of a lost home", lambda: mgt_core.load("~nobody-here/model"), "~nobody-here/model"),
    ("device unknown", lambda: mgt_core.load("demo", device="abacus"), "device is 'abacus'", "cpu"),
    ("device absent", lambda: mgt_core.load("demo", device="cuda:99"), "device is 'cuda:99'"),
    ("device without values", lambda: mgt_core.load("demo", device="meta"), "device is 'meta'"),
    ("dtype int8", lambda: mgt_core.load("demo", dtype=torch.int8), "dtype is torch.int8", "torch.float16"),
    ("dtype text", lambda: mgt_core.load("demo", dtype="float16"), "dtype is 'float16'", "torch.float16"),
]


# Bundles: a copy of a good one, damaged, then loaded


def replace_weights(content: Callable[[bytes], bytes], part="transformer"):
    def damage(bundle: Path):
        file = weights_file(bundle / part)
        file.write_bytes(content(file.read_bytes()))

    return damage


def header(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text + b"\0" * 64


def change_weights(change, part="transformer"):
    return lambda bundle: edit_weights(bundle / part, change)


def change_config(part="transformer", **changes):
    return lambda bundle: edit_config(bundle / part, **changes)


def write(name: str, text: str | bytes):
    def damage(bundle: Path):
        (bundle / name).write_bytes(text.encode() if isinstance(text, str) else text)

    return damage


def remove(name: str):
    def damage(bundle: Path):
        path = bundle / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def pickle_only(bundle: Path):
    file = weights_file(bundle / "transformer")
    file.unlink()
    torch.save({}, file.with_suffix(".bin"))


class Harmful:
    def __reduce__(self):
        return os.getcwd, ()


def pickle_with(content: Callable[[], object], keep: int | None = None):
    """The transformer's weights as a pickle of `content()`, cut after `keep` bytes."""

    def damage(bundle: Path):
        pickle_only(bundle)
        file = next((bundle / "transformer").glob("*.bin"))
        torch.save(content(), file)
        file.write_bytes(file.read_bytes()[:keep])

    return damage


def foreign(weights):
    return {f"unet.{name}": value for name, value in weights.items()}


def lose_shard(bundle: Path):
    shard_weights(bundle / "transformer", 3)[1].unlink()


def index_of(text: str):
    def damage(bundle: Path):
        shard_weights(bundle / "transformer", 2)
        (index,) = (bundle / "transformer").glob("*.index.json")
        index.write_text(text)

    return damage


def resized(name: str, shape: tuple[int, ...]):
    return change_weights(lambda weights: weights | {name: torch.zeros(shape)})


def fewer_codes(bundle: Path):
    edit_config(bundle / "vqvae", num_vq_embeddings=CODES // 2)

    def shrink(weights):
        name = "quantize.embedding.weight"
        return weights | {name: weights[name][: CODES // 2].clone()}

    edit_weights(bundle / "vqvae", shrink)


def text_encoder_of_another(bundle: Path):
    shutil.rmtree(bundle / "text_encoder")
    other = next(b for b in bundles() if pipeline(b).text.network.config.projection_dim != WIDTHS["pooled"])
    shutil.copytree(other / "text_encoder", bundle / "text_encoder")


def too_many_words(bundle: Path):
    file = bundle / "tokenizer" / "vocab.json"
    words = json.loads(file.read_text())
    file.write_text(json.dumps(words | {f"word{i}": len(words) + i for i in range(100)}))


EMBEDDINGS = "embed.embeddings.weight"
ROPE = [4, 6, 6]

BUNDLES = [
    # files
    ("no transformer folder", remove("transformer"), "no subfolder transformer", "vqvae"),
    ("no vqvae folder", remove("vqvae"), "no subfolder vqvae"),
    ("no tokenizer folder", remove("tokenizer"), "no subfolder tokenizer"),
    ("no config", remove("transformer/config.json"), "transformer/config.json is missing"),
    ("config is no JSON", write("transformer/config.json", "layers: 3"), "config.json is not valid JSON"),
    ("config is binary", write("transformer/config.json", b"\xff\xfe\x00"), "config.json is not valid JSON"),
    ("config is a list", write("transformer/config.json", "[1]"), "config.json holds list", "JSON object"),
    ("model index is no JSON", write("model_index.json", "{"), "model_index.json is not valid JSON"),
    # what the config says
    ("config lacks entries", change_config(vocab_size=REMOVED, num_layers=REMOVED), "lacks num_layers, vocab_size"),
    (
        "rope of another width",
        change_config(axes_dims_rope=[4, 4, 6]),
        r"axes_dims_rope \[4, 4, 6\]",
        "add up to attention_head_dim 16",
    ),
    ("rope odd", change_config(axes_dims_rope=[5, 5, 6]), r"axes_dims_rope \[5, 5, 6\]", "three even numbers"),
    ("rope of two", change_config(axes_dims_rope=[8, 8]), "three even numbers"),
    ("rope none", change_config(axes_dims_rope=None), "axes_dims_rope None"),
    ("pooled width", change_config(pooled_projection_dim=64), "pooled_projection_dim 64", "= 48"),
    ("downsample alone", change_config(upsample=False), "only one of downsample and upsample"),
    ("guidance embedding", change_config(guidance_embeds=True), "guidance_embeds true"),
    ("no room for the mask", change_config(vocab_size=CODES), f"vocab_size {CODES}", f"exceed codebook_size {CODES}"),
    ("negative layers", change_config(num_layers=-1), "num_layers -1"),
    ("layers as text", change_config(num_layers="2"), "num_layers '2'"),
    ("layers as bool", change_config(num_single_layers=True), "num_single_layers True"),
    ("more layers than weights", change_config(num_single_layers=4), "lack 14 of", r"single_transformer_blocks\.3"),
    (
        "fewer layers than weights",
        change_config(num_single_layers=2),
        "hold 14 tensors",
        r"single_transformer_blocks\.2",
    ),
    (
        "other codebook",
        change_config(vocab_size=CODES * 2 + 1, codebook_size=CODES * 2),
        "shapes",
        rf"\[{CODES * 2 + 1}, 48\]",
    ),
    # weights
    ("no weights", lambda b: weights_file(b / "transformer").unlink(), "holds no weights", r"\.safetensors"),
    ("an empty pickle", pickle_only, "no architecture"),
    ("a pickle of a list", pickle_with(lambda: [torch.zeros(3)]), "no architecture"),
    ("a pickle with code", pickle_with(lambda: {"x": Harmful()}), "not a readable file of tensors"),
    ("a cut pickle", pickle_with(lambda: {"x": torch.zeros(99)}, 300), "not a readable file of tensors"),
    ("truncated", replace_weights(lambda data: data[:-1000]), "is truncated", "bytes of"),
    ("truncated in the header", replace_weights(lambda data: data[:100]), "not a readable safetensors", "100 bytes"),
    ("zero bytes", replace_weights(lambda data: b""), "not a readable safetensors", "0 bytes"),
    ("random bytes", replace_weights(lambda data: os.urandom(5000)), "not a readable safetensors"),
    (
        "header too long",
        replace_weights(lambda data: struct.pack("<Q", 2**40) + data[8:]),
        "not a readable safetensors",
    ),
    ("header no JSON", replace_weights(lambda data: header(b"{tensors}")), "header cannot be parsed"),
    ("header a list", replace_weights(lambda data: header(b"[1, 2]")), "header cannot be parsed"),
    (
        "header without shapes",
        replace_weights(lambda data: header(b'{"a": {"dtype": "F32"}}')),
        "header cannot be parsed",
        "shape",
    ),
    ("bytes too many", replace_weights(lambda data: data + b"\0" * 32), "not a readable safetensors"),
    ("missing key", change_weights(lambda w: {n: v for n, v in w.items() if n != EMBEDDINGS}), "lack 1 of", EMBEDDINGS),
    ("extra key", change_weights(lambda w: w | {"extra.weight": torch.ones(1)}), "hold 1 tensors", "extra.weight"),
    ("mis-shaped key", resized(EMBEDDINGS, (5, 48)), EMBEDDINGS, r"\[5, 48\]", rf"expected \[{MASK + 1}, 48\]"),
    (
        "whole numbers for weights",
        change_weights(lambda w: w | {EMBEDDINGS: w[EMBEDDINGS].to(torch.int8)}),
        EMBEDDINGS,
        "torch.int8",
    ),
    ("missing shard", lose_shard, "lacks 1 of 3 shards", "00002-of-00003"),
    ("index without map", index_of('{"metadata": {}}'), "no weight_map"),
    ("index of numbers", index_of('{"weight_map": {"a": 1}}'), "no weight_map"),
    ("another architecture", change_weights(foreign), "no architecture this pack knows", "meissonic", "unet."),
    # parts that do not belong together
    (
        "mask of another model",
        change_config("scheduler", mask_token_id=8255),
        "mask_token_id 8255",
        f"the transformer {MASK}",
    ),
    (
        "rule unknown",
        change_config("scheduler", timestep_rule="sigma"),
        "timestep_rule is 'sigma'",
        "index and mask_ratio",
    ),
    ("defaults a list", change_config("scheduler", defaults=[1]), r"defaults \[1\]", "settings by name"),
    ("fewer codes than tokens", fewer_codes, f"has {CODES // 2} codes", f"transformer {CODES}", "different models"),
    ("vqvae that cannot be", change_config("vqvae", block_out_channels="wide"), "vqvae/config.json"),
    (
        "vqvae of unknown blocks",
        change_config("vqvae", down_block_types=["Magic"] * 4),
        "vqvae/config.json",
        "can be built",
    ),
    ("vqvae weights cut", replace_weights(lambda data: data[:-9], "vqvae"), "is truncated"),
    ("text encoder of another", text_encoder_of_another, "gives pooled states of width", f"takes {WIDTHS['pooled']}"),
    ("text encoder of texts", change_config("text_encoder", hidden_size="wide"), "text_encoder/config.json"),
    ("no vocabulary", remove("tokenizer/vocab.json"), "vocab.json is missing"),
    ("vocabulary corrupt", write("tokenizer/vocab.json", "not\njson"), "readable CLIP tokenizer"),
    ("more words than embeddings", too_many_words, "634 words", "takes 534"),
]


def check(action: Callable[[], object], pieces: tuple[str, ...]) -> None:
    with pytest.raises(mgt_core.MGTError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message and ". " not in message and not message.endswith("."), f"not one sentence: {message}"
    assert 10 < len(message) < LONGEST, f"{len(message)} characters: {message}"
    for piece in pieces:
        assert re.search(piece, message), f"{piece!r} is not in: {message}"


@pytest.mark.parametrize("action, pieces", [pytest.param(a, p, id=n) for n, a, *p in CALLS])
def test_bad_calls(action, pieces):
    check(action, pieces)


@pytest.mark.parametrize("damage, pieces", [pytest.param(d, p, id=n) for n, d, *p in BUNDLES])
def test_bad_bundles(damage, pieces, tmp_path):
    bundle = copy_bundle(tmp_path / "bundle")
    damage(bundle)
    check(lambda: mgt_core.load(bundle, device="cpu"), pieces)


def test_missing_bundle(tmp_path):
    check(lambda: mgt_core.load(tmp_path / "nowhere"), ("nowhere", "built-in model", "demo"))
    (tmp_path / "file").write_text("")
    check(lambda: mgt_core.load(tmp_path / "file"), ("file", "accepted are a folder"))


def test_table_is_long_enough():
    names = [name for name, *_ in CALLS + BUNDLES]
    assert len(names) == len(set(names)) >= 45


# Numbers that break on the way


def broken(tmp_path, name: str, value: float) -> mgt_core.MGTModel:
    bundle = copy_bundle(tmp_path / "bundle")
    edit_weights(bundle / "transformer", lambda w: w[name].view(-1)[:1].fill_(value) and None)
    return mgt_core.load(bundle, device="cpu", dtype=torch.float32).model


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_nan_weights_are_named(tmp_path, cfg):
    name = "single_transformer_blocks.1.proj_mlp.weight"
    check(sample(broken(tmp_path, name, NAN), cfg=cfg), ("step 1 of 2", "not finite", f"weights of {re.escape(name)}"))


def test_layer_that_overflows_is_named(tmp_path):
    name = "project_from_hidden.weight"
    model = broken(tmp_path, name, 3e38)
    model.network.project_from_hidden.weight.fill_(3e38)
    check(sample(model), ("step 1 of 2", "not finite", "output of project_from_hidden"))
    assert not any(module._forward_hooks for module in model.network.modules())


def test_step_of_a_later_failure_is_named():
    class Spoil(mgt_core.Modifier):
        def begin(self):
            return lambda logits, step: logits * (NAN if step.index == 1 else 1)

    check(sample(PIPE.model.with_modifier(Spoil())), ("step 2 of 2", "a modifier"))


def test_next_run_after_an_error_is_unaffected():
    good = sample()().tokens
    check(sample(cfg=NAN), ("cfg",))
    assert torch.equal(good, sample()().tokens)
