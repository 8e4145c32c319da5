"""Names that wrappers, trainings and files put before and into those of a network are seen through, and no others."""

import logging
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import mgt_core
from mgt_core.backbones.branch import fresh_branch
from mgt_core.loading import layouts, wrappers
from mgt_core.loading.bundle import load_text_encoder
from mgt_core.loading.layouts import remembered
from mgt_core.loading.part import kind_of, read_part
from mgt_core.loading.stored import Stored
from mgt_core.loading.weights import index_weights, shapes_of
from mgt_core.loading.wrappers import INNER, OUTER, unwrapped
from mgt_core.registry import BACKBONES, CODECS, TEXT_ENCODERS
from support.bundles import amused_bundle, copy_bundle, halton_bundle, openmuse_bundle, weights_file
from support.device import HERE
from support.golden import bundles
from support.quantized import quantized, tokens, with_model

Weights = dict[str, torch.Tensor]
Change = Callable[[Weights], dict]


def file_of(bundle: Path, part: str) -> Path:
    return weights_file(bundle / part)


# Family -> what makes a bundle of it, and the file in it that has its weights.
FAMILIES: dict[str, Callable[[Path], Path]] = {
    "meissonic": lambda home: file_of(copy_bundle(home), "transformer"),
    "amused": lambda home: file_of(amused_bundle(home), "transformer"),
    "openmuse": lambda home: file_of(openmuse_bundle(home, pickled=False), "ema_model"),
    "halton": halton_bundle,
    "vqmodel": lambda home: file_of(copy_bundle(home), "vqvae"),
    "maskgit vqgan": lambda home: file_of(openmuse_bundle(home, pickled=False), "vqgan"),
    "llamagen": lambda home: halton_bundle(home).with_name("vq_ds16_c2i.pt"),
    "clip": lambda home: file_of(copy_bundle(home), "text_encoder"),
}


def weights_of(file: Path) -> Weights:
    if file.suffix == ".safetensors":
        return load_file(file)
    held = torch.load(file, weights_only=True)
    return next((held[key] for key in ("model", "model_state_dict") if key in held), held)


def rewritten(file: Path, change: Change, pickled: bool) -> Path:
    """The same weights under other names, in one of the two formats; returns their file."""
    held = change({name: value.clone() for name, value in weights_of(file).items()})
    file.unlink()
    return saved(held, file, pickled)


def saved(held: dict, file: Path, pickled: bool) -> Path:
    target = file.with_suffix(".pt" if pickled else ".safetensors")
    torch.save(held, target) if pickled else save_file(held, target)
    return target


def below(prefix: str) -> Change:
    return lambda held: {prefix + name: value for name, value in held.items()}


def inside(word: str) -> Change:
    """As a wrapper of single blocks leaves it: behind every number, else before the last word."""

    def change(held: Weights) -> Weights:
        return {put_inside(name, word): value for name, value in held.items()}

    return change


def put_inside(name: str, word: str) -> str:
    *words, last = name.split(".")
    found = [one for part in words for one in ([part, word] if part.isdigit() else [part])]
    return ".".join([*found, last] if len(found) > len(words) else [*words, word, last])


def trainable(held: Weights) -> Weights:
    """As dict(network.named_parameters()) is saved."""
    return {name: torch.nn.Parameter(value, value.is_floating_point()) for name, value in held.items()}


def zeros(held: Weights) -> Weights:
    return {name: torch.zeros_like(value) for name, value in held.items()}


def beside_raw(raw: str, mean: str) -> Change:
    """Raw weights, here zeros, and their averages."""
    return lambda held: {**below(raw)(zeros(held)), **below(mean)(held)}


ONE = torch.ones((), dtype=torch.int64)
BEFORE = ("module.", "_orig_mod.", "model.", "model.diffusion_model.", "transformer.", "net.", "network.", "ema.")
OF_NO_TABLE = ("unet.", "my_trainer.wrapped.", "pipe.transformer._orig_mod.")
SEVERAL = (
    "_orig_mod.module.",
    "module._orig_mod.",
    "model._orig_mod.",
    "ema_model.module._orig_mod.",
    "state_dict.model.",
)
WAYS: dict[str, Change] = {
    **{prefix: below(prefix) for prefix in (*BEFORE, *SEVERAL, *OF_NO_TABLE)},
    **{f"inside {word}": inside(word) for word in ("_orig_mod", "_fsdp_wrapped_module._checkpoint_wrapped_module")},
    "an average beside": beside_raw("model.", "model_ema."),
    "an average of what stands bare": beside_raw("", "ema."),
    "torch's average": lambda held: {**below("module.")(held), "n_averaged": ONE},
    "counts of an average": lambda held: {**below("model_ema.")(held), "model_ema.num_updates": ONE},
    "a loss beside": lambda held: {**held, "loss.discriminator.main.0.weight": torch.ones(2)},
}
KEYS = (
    *("ema", "state_dict_ema", "ema_state_dict", "params_ema", "model", "state_dict", "model_state_dict", "module"),
    *("net", "generator", "params", "of no table"),
)
PICKLED: dict[str, Change] = {
    **{
        f"key {key}": lambda held, key=key: {key: held, "epoch": 3}
        for key in (*KEYS, "params", "ema_state_dict", "odd")
    },
    "keys within keys": lambda held: {
        "model": {"module": held},
        "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}},
    },
    "a key and words": lambda held: {"state_dict": below("model._orig_mod.")(held), "hyper_parameters": {"width": 4}},
    "two keys": lambda held: {"model": zeros(held), "ema": held},
    "an average of keys": lambda held: {"model": zeros(held), "ema": {"decay": 0.9, "model": below("module.")(held)}},
    "an average that holds both": lambda held: {
        "model": zeros(held),
        "ema": {**below("online_model.")(zeros(held)), **below("ema_model.")(held), "initted": ONE, "step": ONE},
    },
    "what a codec is trained against": lambda held: {"generator": held, "discriminator": {"0.weight": torch.ones(2)}},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_in_every_wrapper(tmp_path, family):
    """The same tensors by the same names, in both formats."""
    file = FAMILIES[family](tmp_path)
    wanted, values = read_part(file.parent if file.suffix == ".safetensors" else file), weights_of(file)
    file.unlink()
    for way, pickled in [*((way, False) for way in WAYS), *((way, True) for way in {**WAYS, **PICKLED})]:
        held = {**WAYS, **PICKLED}[way]({name: value.clone() for name, value in values.items()})
        found = read_part(saved(held, file, pickled)).stored
        assert found.keys() == wanted.stored.keys() and kind_of({}, shapes_of(found)) is wanted.kind, (way, pickled)
        assert all(torch.equal(at(held, entry.name), values[name]) for name, entry in found.items()), (way, pickled)


def at(held: dict, name: str) -> torch.Tensor:
    *keys, name = name.split(wrappers.BELOW)
    for key in keys:
        held = held[key]
    return held[name]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_wrapped_loads_as_the_same_network(tmp_path, family):
    """All the way: built, filled and compared."""
    networks = []
    for number, (way, pickled) in enumerate(
        ((below(""), False), (PICKLED["an average of keys"], True), (trainable, True))
    ):
        home = tmp_path / str(number)
        file = FAMILIES[family](home)
        source = home if file.suffix == ".safetensors" else home / "ImageNet_tiny.pth"
        file = rewritten(file, way, pickled)
        pipe = mgt_core.load(source if source.exists() else file, **HERE)
        networks.append((pipe.model.network, pipe.codec.network, *([pipe.text.network] if pipe.text else ())))
    for plain, *wrapped in zip(*networks):
        for same in (network.state_dict() for network in wrapped):
            assert all(torch.equal(value, same[name]) for name, value in plain.state_dict().items())


@cache
def names_of(kind: type) -> list[str]:
    """Names of the tensors of a network in its golden bundle."""
    folder = bundles()[0] / {BACKBONES: "transformer", CODECS: "vqvae", TEXT_ENCODERS: "text_encoder"}[kind]
    return sorted(index_weights(folder))


def stored(names) -> dict[str, Stored]:
    return {name: Stored(Path("a.safetensors"), name, (1,), 0, 4) for name in names}


@given(
    registry=st.sampled_from([BACKBONES, CODECS, TEXT_ENCODERS]),
    before=st.lists(st.sampled_from([*OUTER, *INNER, "ema", "ema_model", "model_ema"]), max_size=6),
    inner=st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(sorted(INNER))), max_size=20),
)
@settings(max_examples=100, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink))
def test_any_words_in_any_order(registry, before, inner):
    """Words before all names and words in some of them come off, and nothing else does."""
    names = names_of(registry)
    found = {name: name.split(".") for name in names}
    for place, word in inner:
        words = found[names[place % len(names)]]
        words.insert(place % (len(words) + 1), word)
    wrapped = {".".join([*before, *words]): name for name, words in found.items()}
    told = unwrapped(stored(wrapped), lambda held: set(names) <= held.keys())
    assert {name: wrapped[entry.name] for name, entry in told.items()} == {name: name for name in names}


@given(names=st.lists(st.text("abmodelem_.:/\0", max_size=30), max_size=30, unique=True))
@settings(max_examples=200, deadline=None)
def test_any_names_at_all(names):
    """What comes out is of what went in, whatever is wanted of it."""
    for fits in (None, lambda held: False, lambda held: True):
        told = unwrapped(stored(names), fits)
        assert {entry.name for entry in told.values()} <= set(names)
        assert bool(told) == bool(names)


def test_a_name_that_begins_with_such_a_word_stays():
    names = ("model.a", "model.b.module.c", "transformer.layers.0.d")
    wanted = set(names)
    assert unwrapped(stored(names), lambda held: held.keys() == wanted).keys() == wanted
    halton = {"tok_emb.weight", "transformer.layers.0.attn.wq.weight"}
    for before in ("", "transformer.", "transformer.transformer."):
        found = unwrapped(stored(before + name for name in halton), lambda held: halton <= held.keys())
        assert found.keys() == halton


def test_averages_that_are_not_whole(tmp_path, caplog):
    """Raw weights are read in their place, and it is said."""
    caplog.set_level(logging.INFO)
    file = file_of(copy_bundle(tmp_path / "partial"), "transformer")
    wanted = load_file(file).keys()
    file = rewritten(file, lambda held: {**below("model.")(held), **below("ema.")(dict(list(held.items())[3:]))}, True)
    found = read_part(file.parent).stored
    assert found.keys() == wanted and all(entry.name.startswith("model.") for entry in found.values())
    assert "the raw weights are read, since the averages lack some" in caplog.text
    caplog.clear()
    file = file_of(copy_bundle(tmp_path / "whole"), "transformer")
    file = rewritten(file, lambda held: {"state_dict": zeros(held), "ema": held}, True)
    found = read_part(file.parent).stored
    assert all(entry.name.startswith("ema::") for entry in found.values()) and "the averages are read" in caplog.text


def test_what_leads_to_others_again_and_again(tmp_path):
    """A dictionary is gone through once, so that one that holds itself, or the same many times, costs nothing."""
    inner: dict = {"a": torch.ones(2)}
    for _ in range(40):
        inner = {f"{number}": inner for number in range(50)}
    torch.save({"model": {"b": torch.ones(1)}, "deep": inner}, tmp_path / "deep.pt")
    assert list(index_weights(tmp_path / "deep.pt")) == ["b"]
    held: dict = {"a": torch.ones(2)}
    held["model"] = held
    torch.save(held, tmp_path / "round.pt")
    assert list(index_weights(tmp_path / "round.pt")) == ["a"]


def test_a_quantized_checkpoint_in_a_wrapper(tmp_path):
    """Its marks and its header hold for the names below."""
    mgt_core.save_bundle(with_model(quantized().model), tmp_path / "own")
    own = mgt_core.load(tmp_path / "own", **HERE)
    file = file_of(tmp_path / "own", "transformer")
    with safe_open(file, "pt") as held:
        metadata = held.metadata()
    save_file(below("model.diffusion_model._orig_mod.")(load_file(file)), file, metadata=metadata)
    wrapped = mgt_core.load(tmp_path / "own", **HERE)
    assert wrapped.model.quantization == own.model.quantization is not None
    assert torch.equal(tokens(wrapped), tokens(own))


@pytest.mark.parametrize("before", ["module.", "model.diffusion_model.", "ema_model.module._orig_mod."])
def test_a_branch_of_self_guidance_in_a_wrapper(tmp_path, before):
    """Alone, and beside its network in one file."""
    network = mgt_core.load(openmuse_bundle(tmp_path / "own", pickled=False), **HERE).model.network
    branch = {name: value + 1 for name, value in fresh_branch(network).state_dict().items()}
    save_file(below(before)(branch), tmp_path / "branch.safetensors")
    transformer = tmp_path / "own" / "ema_model"
    rewritten(weights_file(transformer), lambda held: below(before)({**held, **branch}), pickled=False)
    for source in (tmp_path / "branch.safetensors", transformer, tmp_path / "own"):
        loaded = mgt_core.load_branch(source, network).state_dict()
        assert all(torch.equal(loaded[name], value) for name, value in branch.items())
    assert "branch of Self-Guidance" in remembered(tmp_path / "branch.safetensors").foreign.what


def test_lists_tell_what_lies_in_wrappers(tmp_path):
    """A network of ours by its kind, others as what they are."""
    for name, family, change in (
        ("ours", "meissonic", below("model.diffusion_model.")),
        ("codec", "vqmodel", below("module._orig_mod.")),
    ):
        own = FAMILIES[family](tmp_path / name)
        part = remembered(rewritten(own, change, pickled=False).parent)
        assert part.kind is not None and part.foreign is None
    for prefix, name, what in (
        ("model.diffusion_model.", "input_blocks.0.0.weight", "a checkpoint of a diffusion model"),
        ("_orig_mod.module.", "double_blocks.0.img_attn.norm.key_norm.scale", "Flux"),
        ("model.", "transformer_blocks.0.attn.to_q.lora_A.weight", "a LoRA"),
        ("state_dict.", "cond_stage_model.transformer.a", "Stable Diffusion 1"),
    ):
        file = tmp_path / "foreign.safetensors"
        save_file({prefix + name: torch.zeros(1)}, file)
        assert remembered(file).foreign.what == what
        torch.save({"params_ema": {name: torch.zeros(1)}}, file.with_suffix(".pt"))
        assert remembered(file.with_suffix(".pt")).foreign is not None


def test_a_text_encoder_in_a_wrapper(tmp_path):
    bundle = copy_bundle(tmp_path / "bundle")
    wanted = load_text_encoder(bundle, **HERE).network.state_dict()
    rewritten(file_of(bundle, "text_encoder"), below("model._orig_mod."), pickled=True)
    found = load_text_encoder(bundle, **HERE).network.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in wanted.items())


def test_what_a_list_does_for_every_name_is_little(tmp_path):
    """People have hundreds of checkpoints of others, each with thousands of names below several words."""
    names = [f"{way}.{index}" for way in ("model.net.blocks", "ema.module.net.blocks", "odd") for index in range(200)]
    save_file({name: torch.zeros(1) for name in names}, tmp_path / "foreign.safetensors")
    layouts.foreign_of(read_part(tmp_path / "foreign.safetensors"))  # what is imported once
    calls = []
    sys.setprofile(lambda frame, event, argument: calls.append(event) if event.endswith("call") else None)
    try:
        told = layouts.foreign_of(read_part(tmp_path / "foreign.safetensors"))
    finally:
        sys.setprofile(None)
    assert told.what == "a file of unknown weights"
    assert len(calls) < 100 * len(names)
