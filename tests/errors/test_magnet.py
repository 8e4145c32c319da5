"""One sentence for files of MAGNeT that cannot be loaded, and for others that look like them."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import mgt_core
from mgt_core.loading.layouts import loose_bundles, remembered
from support.bundles import copy_bundle, halton_bundle, magnet_bundle
from support.device import HERE
from support.magnet_files import CODEC, WEIGHTS, edit, made, named
from support.refusals import check
from support.trials import is_sentence


@pytest.fixture
def bundle(tmp_path) -> Path:
    return magnet_bundle(tmp_path / "small")


def load(source, **chosen) -> mgt_core.Pipeline:
    return mgt_core.load(source, **HERE, **chosen)


@pytest.mark.parametrize("name", [3, None, "", ["t5-base"], {}])
def test_names_that_are_none(bundle, name):
    edit(bundle / WEIGHTS, named(name))
    check(lambda: load(bundle), (r"xp.cfg has conditioners.description.t5.name .*; expected the name of a T5",))


def as_other(name: str):
    return lambda held, config: config.update(lm_model=name)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("transformer_lm", "is a model of sound that makes its tokens one after another, as MusicGen and AudioGen do"),
        ("transformer_lm_hybrid", r"is a model of sound of another kind \(transformer_lm_hybrid\)"),
        ("", r"is a model of sound of another kind \(\)"),
    ],
)
def test_other_models_of_audiocraft(bundle, name, told):
    """Their files are called the same, and so are their tensors."""
    edit(bundle / WEIGHTS, as_other(name))
    for source in (bundle, bundle / WEIGHTS):
        check(lambda source=source: load(source), (f"{WEIGHTS} {told}", "no node of this pack loads it"))
    assert loose_bundles(bundle) == [] and remembered(bundle / WEIGHTS).foreign.short.startswith("not an MGT: model of")


def without(name: str):
    return lambda held, config: held["best_state"].pop(name)


REFUSED = {
    "another text encoder": (
        lambda held, config: config["conditioners"]["description"].update(model="clap"),
        "conditioners.description.model 'clap'; only 't5' is supported",
    ),
    "no width": (lambda held, config: config["transformer_lm"].pop("dim"), "has no transformer_lm.dim"),
    "a width of text": (lambda held, config: config["transformer_lm"].update(dim="x"), "dim of xp.cfg is 'x'"),
    "heads that do not divide": (
        lambda held, config: config["transformer_lm"].update(num_heads=5),
        "transformer_lm.dim 32, which must be",
    ),
    "too many layers": (
        lambda held, config: config["transformer_lm"].update(num_layers=10**6),
        "many more layers than the 44 tensors",
    ),
    "a layer more": (lambda held, config: config["transformer_lm"].update(num_layers=3), "lack "),
    "a tensor less": (without("out_norm.bias"), "lack 1 of .* tensors: out_norm.bias"),
    "a book more": (lambda held, config: config["transformer_lm"].update(n_q=5), "lack 2 of .*emb.4.weight"),
    "a whole part of text": (lambda held, config: config.update(transformer_lm="x"), "has no transformer_lm.dim"),
    "a list of parts": (lambda held, config: config.update(dataset=[1]), "has no dataset.segment_duration"),
    "a circle": (lambda held, config: config["transformer_lm"].update(dim="${transformer_lm.dim}"), "than 16 ref"),
    "the environment": (lambda held, config: config["transformer_lm"].update(dim="${oc.env:HOME}"), "only references"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_networks_that_cannot_be(bundle, name):
    change, told = REFUSED[name]
    edit(bundle / WEIGHTS, change)
    check(lambda: load(bundle), (f"{WEIGHTS}.*{told}",))


def narrower(held, config):
    config["rvq"]["bins"] = 16
    for name, value in held["best_state"].items():
        if name.endswith(("embed", "embed_avg", "cluster_size")):
            held["best_state"][name] = value[:16].clone()


def fewer_books(held, config):
    config["rvq"]["n_q"] = 2
    held["best_state"] = {n: v for n, v in held["best_state"].items() if not n.startswith(("quantizer.vq.layers.2", "quantizer.vq.layers.3"))}  # fmt: skip  # noqa: E501


CODECS = {
    "stereo": (lambda held, config: config.update(channels=2), "a codec of 2 channels"),
    "renormalized": (lambda held, config: config["encodec"].update(renormalize=True), "normalizes or cuts sound"),
    "fewer codes": (narrower, "has 16 codes and its transformer 32; they belong to different models"),
    "fewer books": (fewer_books, "2 code books of 32 codes and its transformer 4 of 32"),
    "another kind": (lambda held, config: config["encodec"].update(quantizer="dac"), "encodec.quantizer 'dac'"),
    "a tensor less": (without("decoder.model.0.conv.conv.bias"), "lack 1 of "),
}


@pytest.mark.parametrize("name", CODECS)
def test_codecs_that_do_not_fit(bundle, name):
    change, told = CODECS[name]
    edit(bundle / CODEC, change)
    check(lambda: load(bundle), (f"{CODEC}.*{told}",))


def test_parts_of_pictures_and_of_sound_do_not_mix(bundle, tmp_path):
    picture = copy_bundle(tmp_path / "picture")
    halton = halton_bundle(tmp_path / "halton")
    check(lambda: load(bundle, codec=picture), ("is of pictures and its transformer makes sound",))
    check(lambda: load(halton, codec=bundle), ("is of sound and its transformer makes pictures",))
    check(
        lambda: load(bundle, text_encoder=picture),
        ("gives hidden and pooled states and its transformer takes hidden ",),
    )
    check(
        lambda: load(picture, text_encoder=bundle), ("gives hidden states and its transformer takes hidden and pooled",)
    )


def test_a_t5_of_another_width(bundle, tmp_path):
    """t5-large, where the transformer was trained with t5-base."""
    from transformers import T5Config, T5EncoderModel

    other = Path(shutil.copytree(bundle / "text_encoder", tmp_path / "t5-large"))
    T5EncoderModel(T5Config.from_pretrained(other, d_model=32)).save_pretrained(other)
    told = (
        "of .*/t5-large gives hidden states of width 32 and its transformer takes 24; they belong to different models"
    )
    check(lambda: load(bundle, text_encoder=other), (told,))


def test_a_t5_that_cannot_be(bundle):
    folder = bundle / "text_encoder"
    good = {file.name: file.read_bytes() for file in folder.iterdir()}
    broken = {
        "no tokenizer": (lambda: (folder / "tokenizer.json").unlink(), "has no tokenizer.json and spiece.model is not"),
        "no JSON": (lambda: (folder / "tokenizer.json").write_text("{"), "does not hold a readable T5 tokenizer"),
        "no end": (lambda: replaced(folder / "tokenizer.json", '"</s>"', '"<end>"'), "without </s>, which ends every"),
        "another kind": (
            lambda: edit_t5(folder, model_type="bert"),
            "holds no text encoder this pack",
        ),
        "heads": (lambda: edit_t5(folder, num_heads=5), "do not have the shapes its config gives"),
        "layers": (lambda: edit_t5(folder, num_layers=10**6), "num_layers of .* is 1000000; accepted are"),
        "no layers": (lambda: edit_t5(folder, num_layers=0), "num_layers of .* is 0; accepted are"),
        "text": (lambda: edit_t5(folder, d_kv="x"), "config has d_kv 'x'; expected a whole number"),
        "an odd activation": (lambda: edit_t5(folder, feed_forward_proj="x-y-z"), "does not describe a T5"),
        "cut off": (lambda: (folder / "model.safetensors").write_bytes(good["model.safetensors"][:-9]), "is truncated"),
        "smaller": (smaller_table(folder), "with ids up to 113 and the text encoder text_encoder takes 100"),
    }
    for spoil, told in broken.values():
        spoil()
        check(lambda: load(bundle), (told,))
        for file, content in good.items():
            (folder / file).write_bytes(content)
    assert load(bundle).text.encode("rain").hidden.any()


def edit_t5(folder: Path, **changes) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | changes))


def replaced(file: Path, old: str, new: str) -> None:
    file.write_text(file.read_text().replace(old, new))


def smaller_table(folder: Path):
    def spoil() -> None:
        edit_t5(folder, vocab_size=100)
        held = load_file(folder / "model.safetensors")
        save_file({**held, "shared.weight": held["shared.weight"][:100].clone()}, folder / "model.safetensors")

    return spoil


@pytest.mark.parametrize("name", [WEIGHTS, CODEC])
@pytest.mark.parametrize("kept", [0, 100, 50_000, -1])
def test_files_that_are_cut_off(bundle, name, kept):
    content = (bundle / name).read_bytes()
    (bundle / name).write_bytes(content[:kept])
    check(lambda: load(bundle), (name,))


def paths_in(config: object, above: tuple = ()) -> list[tuple]:
    """Of every value in a parsed config, and of every part."""
    here = [above] if above else []
    inner = config.items() if isinstance(config, dict) else ()
    return here + [path for name, value in inner for path in paths_in(value, (*above, name))]


READ = ("lm_model", "transformer_lm", "masking", "conditioners", "fuser", "dataset", "sample_rate", "channels")
READ += ("encodec", "seanet", "rvq")
ODD = [None, True, -1, 0, 3, 2**40, 0.5, float("inf"), float("nan"), "", "x", "${sample_rate}", "${x}", [], [1], {}]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_wrong_values_anywhere_in_a_config(tmp_path_factory, data):
    """Each makes a sound still, or is refused in a sentence."""
    bundle = magnet_bundle(tmp_path_factory.mktemp("odd"))
    file = bundle / data.draw(st.sampled_from([WEIGHTS, CODEC]))

    def spoil(held: dict, config: dict) -> None:
        *above, last = data.draw(st.sampled_from([path for path in paths_in(config) if path[0] in READ]))
        for name in above:
            config = config[name]
        config[last] = data.draw(st.sampled_from(ODD))

    edit(file, spoil)
    try:
        tokens, wave = made(load(bundle))
    except mgt_core.MGTError as error:
        assert is_sentence(str(error))
    else:
        assert bool(wave.isfinite().all()) and tokens.shape == (1, 4, 12)
    shutil.rmtree(bundle)
