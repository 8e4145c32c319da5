"""Bundles, damaged: every case gets one sentence that says what is wrong with which file."""

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import mgt_core
from support.bundles import REMOVED, copy_bundle, edit_config, edit_weights, shard_weights, weights_file
from support.device import HERE
from support.golden import bundles, pipeline
from support.refusals import CODES, MASK, WIDTHS, check


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
    return {f"unet_{name}": value for name, value in weights.items()}


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
    ("another architecture", change_weights(foreign), "no architecture this pack knows", "meissonic", "unet"),
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
        "index, mask_ratio, index_share",
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


@pytest.mark.parametrize("damage, pieces", [pytest.param(d, p, id=n) for n, d, *p in BUNDLES])
def test_bad_bundles(damage, pieces, tmp_path):
    bundle = copy_bundle(tmp_path / "bundle")
    damage(bundle)
    check(lambda: mgt_core.load(bundle, **HERE), pieces)


def test_missing_bundle(tmp_path):
    check(lambda: mgt_core.load(tmp_path / "nowhere", **HERE), ("nowhere", "built-in model", "demo"))
    (tmp_path / "file").write_text("")
    check(lambda: mgt_core.load(tmp_path / "file", **HERE), ("file", "accepted are a folder"))


def test_table_is_long_enough():
    names = [name for name, *_ in BUNDLES]
    assert len(names) == len(set(names)) >= 45
