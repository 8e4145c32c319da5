"""Bundles of other layouts than Hugging Face's, and models without a text encoder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import mgt_core
from mgt_core.loading.layouts import loose_bundles
from support.bundles import (
    MEASURE,
    copy_bundle,
    edit_weights,
    halton_bundle,
    openmuse_bundle,
    transformer_of_size,
    weights_file,
)
from support.device import HERE, equal
from support.golden import GAP, OWN, tensors


def load(source) -> mgt_core.Pipeline:
    return mgt_core.load(source, **HERE)


def check_openmuse(pipe: mgt_core.Pipeline) -> None:
    assert pipe.text is None and pipe.size == (16, 16)
    expected = tensors(OWN / "maskgit" / "openmuse_tiny" / "forward")
    condition = mgt_core.Condition(labels=expected["class_ids"])
    logits = pipe.model.logits(expected["tokens"].unflatten(1, (8, 8)), condition, 0.0)
    assert (logits.flatten(1, 2) - expected["base_logits"][:, 1:, :48]).abs().max() < GAP


@pytest.mark.parametrize("pickled", [True, False], ids=["bin", "safetensors"])
@pytest.mark.parametrize(
    "transformer, codec",
    [
        ("transformer", "vqvae"),
        ("ft_256_toast/checkpoint-50000/ema_model", "tokenizer_imagenet256_torch"),
        ("ema_model", "vae"),
    ],
    ids=["usual names", "as trained", "flat"],
)
def test_folders_of_unlockmgm(tmp_path, pickled, transformer, codec):
    bundle = openmuse_bundle(tmp_path / "bundle", pickled, transformer, codec)
    pipe = load(bundle)
    check_openmuse(pipe)
    assert pipe.name == "bundle" and pipe.source == bundle / transformer
    assert loose_bundles(bundle) == [bundle]


def test_averaged_weights_come_before_the_others(tmp_path):
    bundle = openmuse_bundle(tmp_path, transformer="ema_model")
    shutil.copytree(bundle / "ema_model", bundle / "unwrapped_model")
    file = bundle / "unwrapped_model" / "pytorch_model.bin"
    torch.save({name: value * 0 for name, value in torch.load(file).items()}, file)
    check_openmuse(load(bundle))


def test_a_class_is_sampled_and_decoded(tmp_path):
    pipe = load(openmuse_bundle(tmp_path))
    state = mgt_core.empty_tokens(pipe, height=16, width=16, batch=2)
    out = mgt_core.sample(pipe.model, state, mgt_core.Condition(labels=torch.tensor([3, 4])), steps=4, cfg=1.0)
    image = pipe.codec.decode(out)
    assert image.shape == (2, 16, 16, 3) and not torch.equal(image[0], image[1])


def two_transformers(bundle: Path) -> None:
    (bundle / "ema_model").rename(bundle / "first")
    shutil.copytree(bundle / "first", bundle / "second")


def other_codes(bundle: Path) -> None:
    weights = torch.load(bundle / "vqgan" / "pytorch_model.bin")
    weights["quantize.embedding.weight"] = weights["quantize.embedding.weight"][:40]
    torch.save(weights, bundle / "vqgan" / "pytorch_model.bin")
    config = bundle / "vqgan" / "config.json"
    config.write_text(config.read_text().replace('"num_embeddings": 48', '"num_embeddings": 40'))


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda bundle: shutil.rmtree(bundle / "vqgan"), "no subfolder vqvae"),
        (lambda bundle: shutil.rmtree(bundle / "ema_model"), "no subfolder transformer"),
        (two_transformers, r"2 parts that may be its transformer \(first, second\)"),
        (other_codes, "40 codes and its transformer 48"),
        (lambda bundle: (bundle / "ema_model" / "config.json").write_text("{"), "none of its parts is a transformer"),
    ],
    ids=["no codec", "no transformer", "two transformers", "other codec", "broken config"],
)
def test_what_is_missing_is_named(tmp_path, damage, words):
    bundle = openmuse_bundle(tmp_path / "bundle")
    damage(bundle)
    with pytest.raises(mgt_core.MGTError, match=words):
        load(bundle)


def test_grids_that_the_positions_do_not_hold_are_refused_before_sampling(tmp_path):
    pipe = load(openmuse_bundle(tmp_path))
    with pytest.raises(mgt_core.MGTError, match="16 x 16"):
        mgt_core.empty_tokens(pipe, height=32, width=16)


def test_micro_conditions_reach_only_models_that_read_them(tmp_path, caplog):
    pipe = load(openmuse_bundle(tmp_path))
    labels = mgt_core.Condition(labels=torch.tensor([3]))
    tokens = torch.zeros(1, 8, 8, dtype=torch.long)
    plain = pipe.model.logits(tokens, labels, 0.0)
    assert not caplog.records
    assert torch.equal(pipe.model.logits(tokens, labels.with_micro(mgt_core.micro_conditions((16, 16))), 0.0), plain)
    assert "micro" in caplog.text


@pytest.mark.parametrize("wrapped", [None, "model_state_dict", "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_weights_as_training_scripts_save_them(tmp_path, wrapped, prefix):
    bundle = openmuse_bundle(tmp_path / "bundle")
    file = bundle / "ema_model" / "pytorch_model.bin"
    weights = {prefix + name: value for name, value in torch.load(file).items()}
    torch.save({wrapped: weights, "iter": 7} if wrapped else weights, file)
    check_openmuse(load(bundle))


def test_pickles_of_the_old_format(tmp_path, caplog):
    bundle = openmuse_bundle(tmp_path / "bundle")
    file = bundle / "ema_model" / "pytorch_model.bin"
    torch.save(torch.load(file), file, _use_new_zipfile_serialization=False)
    check_openmuse(load(bundle))
    assert "old format" in caplog.text


def test_shards_of_pickles(tmp_path):
    import json

    bundle = copy_bundle(tmp_path / "bundle")
    file = weights_file(bundle / "transformer")
    weights, weight_map = load_file(file), {}
    file.unlink()
    for part in range(3):
        name = f"pytorch_model-{part}.bin"
        held = {key: weights[key] for key in sorted(weights)[part::3]}
        torch.save(held, file.parent / name)
        weight_map |= dict.fromkeys(held, name)
    (file.parent / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    ours = load(bundle).model.network.state_dict()
    assert all(equal(value, weights[name]) for name, value in ours.items())


def test_weights_do_not_depend_on_the_pickle(tmp_path):
    bundle = openmuse_bundle(tmp_path / "bundle")
    pipe = load(bundle)
    for file in bundle.rglob("*.bin"):
        file.write_bytes(b"\0" * file.stat().st_size)
    check_openmuse(pipe)


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the peak cannot be measured here")
def test_loading_a_pickle_peaks_near_the_size_of_the_weights(tmp_path):
    folder = tmp_path / "transformer"
    numbers = transformer_of_size(folder, 200, torch.bfloat16)
    file = weights_file(folder)
    torch.save({"model_state_dict": load_file(file), "optimizer_state_dict": None}, folder / "pytorch_model.bin")
    file.unlink()
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(folder), "bfloat16"],
        env={**os.environ, "PYTHONPATH": str(Path(mgt_core.__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    weights, peak, after = map(int, done.stdout.split())
    assert weights == numbers * 2
    assert after >= 0.95 * weights  # the measure sees the weights at all
    assert peak <= 1.15 * weights + 40 * 2**20


def test_a_branch_that_is_damaged_does_not_matter_to_the_network(tmp_path):
    bundle = openmuse_bundle(tmp_path / "bundle", pickled=False)
    edit_weights(bundle / "ema_model", lambda weights: {n: v for n, v in weights.items() if "decoders" not in n})
    check_openmuse(load(bundle))


def test_files_of_halton_maskgit(tmp_path):
    file = halton_bundle(tmp_path / "saved_networks")
    for source in (file, file.parent):
        pipe = load(source)
        assert pipe.text is None and pipe.size == (16, 16) and pipe.source == file and pipe.name == source.name
        expected = tensors(OWN / "maskgit" / "halton_tiny" / "proj1" / "forward")
        condition = mgt_core.Condition(labels=expected["y"].masked_fill(expected["drop_label"], -1))
        logits = pipe.model.logits(expected["x"], condition, 0.0)
        assert (logits.flatten(1, 2) - expected["logits"][..., :-1]).abs().max() < GAP
    assert loose_bundles(file.parent) == [file]


def test_everything_in_one_folder(tmp_path):
    """Codecs of several families lie beside each other; the number of codes tells which belongs."""
    file = halton_bundle(tmp_path)
    other = load_file(OWN / "maskgit" / "vqgan_tiny" / "pytorch_model.safetensors")
    other["quantize.embedding.weight"] = other["quantize.embedding.weight"][:40]
    torch.save(other, tmp_path / "another-vqgan.bin")
    openmuse_bundle(tmp_path / "maskgit")
    assert type(load(file).codec).__name__ == "LlamaGenCodec"
    assert loose_bundles(tmp_path) == [file]
    check_openmuse(load(tmp_path / "maskgit"))


def test_a_codec_file_beside_a_transformer_folder(tmp_path):
    """As UnlockMGM's archive and TiTok's codec lie after downloading."""
    bundle = openmuse_bundle(tmp_path / "bundle", transformer="ft_256/checkpoint-50000/ema_model")
    (bundle / "vqgan" / "pytorch_model.bin").rename(bundle / "maskgit-vqgan-imagenet-f16-256.bin")
    shutil.rmtree(bundle / "vqgan")
    check_openmuse(load(bundle))
    assert loose_bundles(bundle) == [bundle]


def test_transformers_that_share_a_codec_are_each_a_model(tmp_path):
    file = halton_bundle(tmp_path)
    other = tmp_path / "ImageNet_other.pth"
    for suffix in (".pth", ".json"):
        shutil.copy(file.with_suffix(suffix), other.with_suffix(suffix))
    assert loose_bundles(tmp_path) == [other, file]
    assert load(other).name == other.name
    with pytest.raises(mgt_core.MGTError, match=r"2 parts that may be its transformer \(ImageNet_other.pth"):
        load(tmp_path)
    (tmp_path / "vq_ds16_c2i.pt").unlink()
    assert loose_bundles(tmp_path) == []
    with pytest.raises(mgt_core.MGTError, match="is a codec of a known kind"):
        load(file)
