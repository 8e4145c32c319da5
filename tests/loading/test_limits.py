"""What a config may say, a tokenizer, and an argument: compared with the weights, and refused in a sentence before
anything of that size is built."""

import json
import time
from functools import partial

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import mgt_core
from mgt_core.loading import building, networks
from mgt_core.loading.building import as_many_as, like, told_of
from mgt_core.loading.weights import index_weights
from support.bundles import (
    REMOVED,
    amused_bundle,
    copy_bundle,
    edit_config,
    edit_weights,
    halton_bundle,
    openmuse_bundle,
)
from support.device import HERE
from support.golden import bundles
from support.refusals import INF, NAN, check
from support.trials import is_sentence

HUGE = 10**9
SMALL = bundles()[-1]


def refused(source, *pieces, **chosen):
    """In a sentence, and at once."""
    started = time.process_time()
    check(lambda: mgt_core.load(source, **HERE, **chosen), pieces)
    assert time.process_time() - started < 2


@pytest.fixture
def bundle(tmp_path):
    return copy_bundle(tmp_path / "bundle", SMALL)


COUNTS = [
    ("transformer", "num_layers"),
    ("transformer", "num_single_layers"),
    ("vqvae", "layers_per_block"),
]


@pytest.mark.parametrize("part, name", COUNTS)
@pytest.mark.parametrize("count", [10**6, HUGE])
def test_more_layers_than_tensors_are_not_built(bundle, part, name, count):
    edit_config(bundle / part, **{name: count})
    refused(bundle, f"{part}/config.json", "many more layers than the [0-9]+ tensors")


def test_nor_those_of_a_text_encoder(bundle):
    edit_config(bundle / "text_encoder", num_hidden_layers=HUGE)
    refused(bundle, "text_encoder/config.json", "num_hidden_layers", "from 1 to 53")


@pytest.mark.parametrize("name", ["num_hidden_layers", "num_res_blocks"])
def test_nor_those_of_a_foreign_class(tmp_path, name):
    bundle = amused_bundle(tmp_path / "bundle")
    edit_config(bundle / "transformer", **{name: HUGE})
    refused(bundle, "transformer/config.json", "many more layers than")


def test_nor_those_of_other_families(tmp_path):
    folder = openmuse_bundle(tmp_path / "openmuse")
    for part, name in (("vqgan", "num_res_blocks"), ("ema_model", "num_hidden_layers")):
        edit_config(folder / part, **{name: HUGE})
        refused(folder, f"{part}/config.json", "many more layers than")
    file = halton_bundle(tmp_path / "halton")
    for heads in (HUGE, True):
        file.with_suffix(".json").write_text(json.dumps({"heads": heads}))
        refused(file, f"number of heads is {heads}")


def test_what_other_threads_build_is_not_counted():
    with as_many_as(0):
        nn.Sequential(*(nn.Linear(1, 1) for _ in range(50)))
    with pytest.raises(mgt_core.MGTError, match="more layers than the 0 tensors"), as_many_as(0):
        nn.Sequential(*(nn.Linear(1, 1) for _ in range(building.ROOM)))
    nn.Sequential(*(nn.Linear(1, 1) for _ in range(building.ROOM)))  # and no one counts any more


WIDTHS = [
    ("transformer", {"vocab_size": 10**12}),
    ("transformer", {"joint_attention_dim": 10**30}),
    ("vqvae", {"num_vq_embeddings": 2**31}),
    ("vqvae", {"block_out_channels": [4] * 100_000}),
    ("vqvae", {"latent_channels": 10**30}),
    ("text_encoder", {"vocab_size": 2**31, "hidden_size": 2**31}),
    ("text_encoder", {"max_position_embeddings": 2**31}),
]


@pytest.mark.parametrize("part, changes", WIDTHS)
def test_widths_take_no_memory(bundle, part, changes):
    edit_config(bundle / part, **changes)
    refused(bundle, part)


KINDS = [
    ("vqvae", {"layers_per_block": "2"}, "layers_per_block '2'", "whole number"),
    ("vqvae", {"block_out_channels": [4, None]}, "block_out_channels", "a list of up to 1000"),
    ("vqvae", {"lookup_from_codebook": 3}, "lookup_from_codebook 3", "true or false"),
    ("vqvae", {"vq_embed_dim": -1}, "vq_embed_dim -1", "null or a whole number"),
    ("text_encoder", {"layer_norm_eps": "x"}, "layer_norm_eps 'x'", "a number"),
    ("text_encoder", {"num_attention_heads": -1}, "num_attention_heads -1", "whole number from 0"),
    ("text_encoder", {"num_attention_heads": 0}, "text_encoder/config.json"),
    ("text_encoder", {"hidden_act": {}}, "hidden_act", "a text"),
    ("text_encoder", {"hidden_act": "magic"}, "text_encoder/config.json"),
    ("text_encoder", {"num_hidden_layers": 0}, "num_hidden_layers of .*config.json is 0"),
    ("transformer", {"downsample": [], "upsample": []}, "transformer/config.json", r"downsample \[\]", "true or false"),
    ("transformer", {"axes_dims_rope": [INF, 2, 2]}, "axes_dims_rope"),
    ("transformer", {"codebook_size": 0}, "codebook_size 0"),
    ("scheduler", {"timestep_rule": {}}, "scheduler_config.json", r"timestep_rule is \{\}"),
    ("scheduler", {"defaults": {"schedule": 3}}, "scheduler_config.json", "schedule is 3"),
    ("scheduler", {"defaults": {"known_confidence": NAN}}, "scheduler_config.json", "known_confidence is nan"),
    ("scheduler", {"mask_token_id": "x"}, "scheduler_config.json", "mask_token_id x"),
]


@pytest.mark.parametrize("part, changes, pieces", [(part, changes, pieces) for part, changes, *pieces in KINDS])
def test_values_of_another_kind(bundle, part, changes, pieces):
    edit_config(bundle / part, **changes)
    refused(bundle, *pieces)


def test_entries_that_make_no_difference(bundle):
    edit_config(bundle / "text_encoder", attention_dropout=None, num_hidden_layers=3.0, layer_norm_eps=1e-5)
    edit_config(bundle / "vqvae", sample_size=[128, 128], scaling_factor=None, force_upcast=1, norm_num_groups=4.0)
    edit_config_file(bundle / "tokenizer" / "tokenizer_config.json", {"model_max_length": 1e30})
    mgt_core.load(bundle, **HERE)


def test_entries_that_no_class_takes_are_let_be(bundle):
    """`num_labels` would make transformers write down so many names."""
    edit_config(bundle / "text_encoder", num_labels=HUGE, id2label="x", extra=[[]])
    edit_config(bundle / "vqvae", extra={"a": 1}, _use_default_values=3)
    mgt_core.load(bundle, **HERE)


def test_what_is_left_out_is_as_the_class_has_it(bundle):
    edit_config(bundle / "vqvae", scaling_factor=REMOVED, out_channels=REMOVED)
    assert mgt_core.load(bundle, **HERE).codec.network.config.out_channels == 3


@pytest.mark.parametrize("size", [0, -1, 2**20, True, "512", 0.5])
def test_sizes_of_pictures(bundle, size):
    (bundle / "model_index.json").write_text(json.dumps({"sample_size": size}))
    refused(bundle, "sample_size of .*model_index.json", "from 1 to 16384")


def test_sizes_by_the_transformer(tmp_path):
    bundle = amused_bundle(tmp_path / "bundle")
    edit_config(bundle / "transformer", sample_size=HUGE)
    refused(bundle, "bundle/transformer", "up to 16384")


# Tokenizers


def vocabulary(change):
    def damage(folder):
        words = json.loads((folder / "vocab.json").read_text())
        (folder / "vocab.json").write_text(json.dumps(change(words)))

    return damage


def settings(**changes):
    return lambda folder: edit_config_file(folder / "tokenizer_config.json", changes)


def edit_config_file(file, changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


TOKENIZERS = {
    "an id beyond the embedding": (vocabulary(lambda words: words | {"cat": 5000}), "ids up to 5000", "takes 534"),
    "more words": (settings(extra_special_tokens=["<x>", "<y>"]), "536 words", "takes 534"),
    "a list": (vocabulary(list), "/tokenizer"),
    "negative ids": (vocabulary(lambda words: words | {"cat": -1}), "/tokenizer"),
    "no start": (settings(bos_token=None), "/tokenizer"),
    "length of a text": (settings(model_max_length="77"), "/tokenizer"),
    "no room": (settings(model_max_length=2), "model_max_length 2", "above 2"),
    "length true": (settings(model_max_length=True), "model_max_length True"),
    "too many tokens": (settings(extra_special_tokens=["x" * 100] * 2000), "tokenizer_config.json has .* up to 131072"),
    "too large a file": (
        lambda folder: (folder / "merges.txt").write_bytes(b"a b\n" * 3_000_000),
        "merges.txt has 12000",
    ),
}


@pytest.mark.parametrize("case", TOKENIZERS)
def test_tokenizers(bundle, case):
    damage, *pieces = TOKENIZERS[case]
    damage(bundle / "tokenizer")
    refused(bundle, *pieces)


# Numbers that are none


@pytest.mark.parametrize("part", ["transformer", "vqvae", "text_encoder"])
@pytest.mark.parametrize("value", [NAN, INF])
def test_weights_that_are_no_numbers(bundle, part, value):
    def spoil(weights):
        max(weights.values(), key=torch.numel).view(-1)[-1] = value

    edit_weights(bundle / part, spoil)
    refused(bundle, f"{part}/.*safetensors holds numbers in .*not finite")


def test_weights_beyond_a_type(bundle):
    def spoil(weights):
        weights["project_from_hidden.weight"][0, 0] = 70000.0

    edit_weights(bundle / "transformer", spoil)
    check(lambda: mgt_core.load(bundle, **HERE | {"dtype": torch.float16}), ("not finite as torch.float16",))
    assert mgt_core.load(bundle, **HERE | {"dtype": torch.float32})


def test_states_of_a_text_that_overflow(bundle):
    text = mgt_core.load(bundle, **HERE).text
    text.network.text_model.final_layer_norm.weight.fill_(NAN)
    check(lambda: text.encode("a cat"), ("text encoder", "not finite", "final_layer_norm"))


def test_tensors_without_numbers(tmp_path):
    folder = openmuse_bundle(tmp_path / "openmuse", pickled=False)
    edit_config(folder / "vqgan", num_embeddings=1, z_channels=1)  # refused by shape
    refused(folder, "vqgan")


# Arguments, and what other libraries raise

PARTS = ("transformer", "tokenizer", "codec", "base")
NAMES = ["a\0b", "x" * 300, "y/" * 3000, "\ud800", "~nobody-at-all/x", b"demo", 3, "", [], {}, 1.5, None]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:12])
def test_arguments_that_name_nothing(name):
    model = mgt_core.load("demo", **HERE).model
    calls = {
        "model": partial(mgt_core.load, name, **HERE),
        "text_encoder": partial(mgt_core.load_text_encoder, name),
        "lora": partial(model.with_lora, name),
        "model ": partial(mgt_core.load_branch, name, model.network),
    }
    if name is not None:
        calls |= {part: partial(mgt_core.load, "demo", **HERE, **{part: name}) for part in PARTS}
    for argument, call in calls.items():
        with pytest.raises(mgt_core.MGTError, match=f"^{argument.strip()} is ") as caught:
            call()
        assert is_sentence(str(caught.value))


class PanicException(BaseException):
    """As tokenizers and safetensors raise where their Rust fails."""


@pytest.mark.parametrize(
    "error", [KeyError("x"), RecursionError(), MemoryError(), RuntimeError("a\nb"), PanicException("p")]
)
def test_whatever_is_raised_while_building(bundle, monkeypatch, error):
    def build(*arguments, **named):
        raise error

    monkeypatch.setattr("transformers.CLIPTokenizer.from_pretrained", build)
    refused(bundle, "/tokenizer does not hold a readable CLIP tokenizer")


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, SystemExit, torch.OutOfMemoryError, RuntimeError("MPS backend out of memory (1 GB)")]
)
def test_what_is_no_fault_of_a_file_goes_through(error):
    with pytest.raises(type(error) if isinstance(error, Exception) else error), told_of("a file"):
        raise error


def test_more_memory_than_there_is(bundle, monkeypatch):
    monkeypatch.setattr(nn.Module, "to_empty", lambda *a, **n: torch.empty(2**50, device="cpu"))
    refused(bundle, "the weights in .*/transformer take 0.. GB of memory")


def test_like_takes_what_examples_name():
    examples = {"a": 1, "b": 0.5, "c": (1,), "d": None}
    assert like(examples, {"a": 2, "b": 1, "c": [3], "d": None, "e": 5}) == {"a": 2, "b": 1, "c": [3], "d": None}


def test_a_branch_is_compared_too(bundle):
    network = networks.load_backbone(bundle / "transformer", torch.float32, torch.device("cpu"))
    branch = mgt_core.fresh_branch(network).state_dict()
    branch["top_down_transform"][0, 0] = NAN
    save_file(branch, bundle / "self_guidance.safetensors")
    check(
        lambda: mgt_core.load_branch(bundle, network), ("self_guidance.safetensors", "top_down_transform", "not finite")
    )


def test_shards_below_the_folder_of_their_index(tmp_path):
    (tmp_path / "parts").mkdir()
    for place in ("parts/m-1.safetensors", "m-2.safetensors"):
        save_file({place: torch.ones(1)}, tmp_path / place)
    index = {"weight_map": {"a": "parts/m-1.safetensors", "b": "./m-2.safetensors"}}
    (tmp_path / "m.safetensors.index.json").write_text(json.dumps(index))
    assert len(index_weights(tmp_path)) == 2
