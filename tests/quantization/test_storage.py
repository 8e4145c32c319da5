"""Quantized bundles: stored, loaded, and quantized while loading."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors import SafetensorError, safe_open

import mgt_core
from mgt_core import files
from mgt_core.__main__ import main
from mgt_core.errors import MGTError
from mgt_core.placement import OnDemand
from mgt_core.quantization import storage
from mgt_core.quantization.layers import packed_layers, stored_bytes
from mgt_core.quantization.pipeline import calibration_file
from mgt_core.quantization.storage import WEIGHTS
from support.bundles import copy_bundle
from support.device import DEVICE, HERE
from support.golden import bundles
from support.quantized import RUN, SCHEMES, pipe, quantized, tokens, with_model
from support.saved import tree
from support.trials import is_sentence

needs_locks = pytest.mark.skipif(files.fcntl is None, reason="one process at a time on Windows")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_saved_and_loaded_gives_the_same_tokens(scheme, tmp_path):
    original = with_model(quantized(scheme).model)
    folder = mgt_core.save_bundle(original, tmp_path / "saved")
    loaded = mgt_core.load(folder, **HERE)
    assert loaded.model.quantization == original.model.quantization and loaded.size == original.size
    assert {type(m) for m in loaded.model.network.modules()} == {type(m) for m in original.model.network.modules()}
    assert stored_bytes(loaded.model.network) == stored_bytes(original.model.network)
    assert torch.equal(tokens(loaded), tokens(original))


def test_loading_in_16_bits_keeps_the_packed_values(tmp_path):
    folder = mgt_core.save_bundle(with_model(quantized().model), tmp_path / "saved")
    network = mgt_core.load(folder, dtype=torch.bfloat16, device=DEVICE).model.network
    exact = packed_layers(quantized().model.network)
    for name, layer in packed_layers(network).items():
        assert torch.equal(layer.weight, exact[name].weight) and layer.weight_s_channel.dtype == torch.float32
        assert torch.equal(layer.weight_s_rel.view(torch.uint8), exact[name].weight_s_rel.view(torch.uint8))
    assert network.embed.embeddings.weight.dtype == torch.bfloat16


def test_the_file_says_what_it_holds(tmp_path):
    folder = mgt_core.save_bundle(with_model(quantized().model), tmp_path / "saved")
    with safe_open(folder / "transformer" / WEIGHTS, "pt") as file:
        said = json.loads(file.metadata()["mgt_quantization"])
        layers = json.loads(file.metadata()["_quantization_metadata"])["layers"]
        marks = {name for name in file.keys() if name.endswith(".comfy_quant")}
        mark = json.loads(bytes(file.get_tensor("context_embedder.comfy_quant").tolist()))
    assert said["scheme"] == "w4a8" and said["settings"]["group_size"] == 16
    assert mark["format"] == "asym_w4a8_int8" and mark["group_size"] == 16
    assert {name.removesuffix(".comfy_quant") for name in marks} == set(layers)


def test_an_unquantized_bundle_is_saved_whole(tmp_path):
    folder = mgt_core.save_bundle(pipe(), tmp_path / "plain")
    loaded = mgt_core.load(folder, **HERE)
    assert loaded.model.quantization is None and torch.equal(tokens(loaded), tokens(pipe()))


def test_text_encoder_and_codec(tmp_path):
    small = replace(
        with_model(quantized("w8a16").model),
        text=mgt_core.quantize_text(pipe().text, "fp8"),
        codec=mgt_core.quantize_codec(pipe().codec, "w8a16"),
    )
    assert stored_bytes(small.text.network) < stored_bytes(pipe().text.network)
    assert stored_bytes(small.codec.network) < 0.5 * stored_bytes(pipe().codec.network)
    loaded = mgt_core.load(mgt_core.save_bundle(small, tmp_path / "small"), **HERE)
    made, again = tokens(small), tokens(loaded)
    assert torch.equal(made, again) and torch.equal(small.codec.decode(made), loaded.codec.decode(again))
    assert (small.codec.decode(made) - pipe().codec.decode(made)).abs().mean() < 0.02
    assert torch.allclose(small.codec.decode(made, tile_size=16), small.codec.decode(made).cpu(), atol=1e-4)
    with pytest.raises(MGTError, match="w8a16"):
        mgt_core.quantize_text(pipe().text, "w4a8")
    with pytest.raises(MGTError, match="fp8"):
        mgt_core.quantize_codec(pipe().codec, "w4a16")


def test_unloaded_after_use():
    moves = []

    class Recorder(torch.nn.Linear):
        def to(self, device):
            moves.append(str(device))
            return self

    place = OnDemand(Recorder(2, 2), torch.device("cuda"))
    assert place.acquire() == torch.device("cuda")
    place.release()
    assert moves == ["cuda", "cpu"]
    text = pipe().text.with_placement(OnDemand(pipe().text.network, torch.device("cpu")))
    assert torch.equal(text.encode("a cat").hidden, pipe().text.encode("a cat").hidden)


def test_none_changes_nothing():
    assert mgt_core.quantize_pipeline(pipe(), "none") is pipe() and mgt_core.quantize_pipeline(pipe(), None) is pipe()
    assert mgt_core.quantize_text(pipe().text, "none") is pipe().text


def test_a_stored_calibration_packs_the_same_without_running(tmp_path, monkeypatch):
    folder = copy_bundle(tmp_path / "bundle")
    quantized().calibration.save(calibration_file(folder / "transformer", mgt_core.W4A8()))
    monkeypatch.setattr("mgt_core.quantization.pipeline.quantize", None)
    loaded = mgt_core.load(folder, **HERE, quantization="w4a8")
    assert torch.equal(tokens(loaded), tokens(with_model(quantized().model)))


def test_default_calibration_at_loading(tmp_path, monkeypatch):
    monkeypatch.setattr("mgt_core.quantization.pipeline.LOAD_RUN", RUN)
    loaded = mgt_core.load(bundles()[0], **HERE, quantization=mgt_core.W4A8(int8_share=0.5))
    kinds = [layer.settings.activations for layer in packed_layers(loaded.model.network).values()]
    assert kinds.count("static") == round(0.5 * len(kinds))


def test_command_line(tmp_path, capsys):
    target = tmp_path / "small"
    arguments = ["quantize", str(bundles()[0]), str(target), "--steps", "2", "--states", "1", "--prompt", "a cat"]
    assert main([*arguments, "--keep", "modulation"]) == 0
    loaded = mgt_core.load(target, **HERE)
    assert loaded.model.quantization == mgt_core.W4A8(keep=("modulation",))
    assert calibration_file(target / "transformer", mgt_core.W4A8()).is_file()
    assert main(arguments) == 1 and "exists already" in capsys.readouterr().err
    assert main(["quantize", "nowhere", str(tmp_path / "other")]) == 1 and not (tmp_path / "other").exists()


def test_saving_never_overwrites_by_itself(tmp_path):
    folder = mgt_core.save_bundle(pipe(), tmp_path / "saved")
    with pytest.raises(MGTError, match="exists already"):
        mgt_core.save_bundle(pipe(), folder)
    mgt_core.save_bundle(with_model(quantized("w8a16").model), folder, overwrite=True)
    assert mgt_core.load(folder, **HERE).model.quantization == mgt_core.W8A16()
    other = tmp_path / "papers"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(MGTError, match="no bundle"):
        mgt_core.save_bundle(pipe(), other, overwrite=True)
    assert (other / "thesis.txt").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["papers", "saved"]
    (tmp_path / "file").write_text("")
    with pytest.raises(MGTError, match="cannot be written"):
        mgt_core.save_bundle(pipe(), tmp_path / "file" / "below")


def listed(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_bundle_is_overwritten_in_place_and_through_a_link(tmp_path):
    folder = mgt_core.save_bundle(pipe(), tmp_path / "saved")
    (tmp_path / "link").symlink_to(folder)
    loaded = mgt_core.load(folder, **HERE)  # its weights stay in the file that is replaced
    mgt_core.save_bundle(loaded, tmp_path / "link", overwrite=True)
    mgt_core.save_bundle(loaded, folder, overwrite=True)
    assert listed(tmp_path) == ["link", "saved"] and (tmp_path / "link").is_symlink()
    assert torch.equal(tokens(mgt_core.load(tmp_path / "link", **HERE)), tokens(pipe()))


def test_what_lies_in_a_bundle_beside_its_parts_is_not_overwritten(tmp_path):
    folder = mgt_core.save_bundle(pipe(), tmp_path / "saved")
    (folder / "self_guidance.safetensors").write_text("hours of training")
    with pytest.raises(MGTError, match="holds self_guidance.safetensors beside the parts"):
        mgt_core.save_bundle(pipe(), folder, overwrite=True)
    assert (folder / "self_guidance.safetensors").read_text() == "hours of training"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("No space left on device")])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, error):
    folder = mgt_core.save_bundle(pipe(), tmp_path / "saved")
    before = tree(tmp_path)

    def full(*arguments, **more):
        raise error

    monkeypatch.setattr("safetensors.torch.save_file", full)
    for target in (folder, tmp_path / "sub" / "other"):
        with pytest.raises(MGTError, match=r"cannot be written \(No space left on device\)"):
            mgt_core.save_bundle(pipe(), target, overwrite=True)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["n" * 300, "a\0b", "a\ud800b", "file/below", "loop", "dangling", "/", ".", ""])
def test_odd_targets_are_refused_and_leave_nothing(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    for link, to in (("loop", "loop"), ("dangling", "nothing")):
        (tmp_path / link).symlink_to(to)
    with pytest.raises(MGTError) as error:
        mgt_core.save_bundle(pipe(), name, overwrite=True)
    assert is_sentence(str(error.value)) and listed(tmp_path) == ["dangling", "file", "loop"]


@needs_locks
def test_a_name_that_another_process_saves_is_refused_before_the_work(tmp_path, capsys):
    with files.claimed(tmp_path / "small"):
        assert main(["quantize", "nowhere", str(tmp_path / "small")]) == 1
    assert "another process is saving" in capsys.readouterr().err and not listed(tmp_path)


@needs_locks
def test_three_that_save_one_name_are_told_apart(tmp_path):
    def save(number):
        try:
            return mgt_core.save_bundle(pipe(), tmp_path / "saved")
        except MGTError as error:
            return str(error)

    with ThreadPoolExecutor(3) as pool:
        told = list(pool.map(save, range(3)))
    assert told.count(tmp_path / "saved") == 1 and listed(tmp_path) == ["saved"]
    assert all(said == tmp_path / "saved" or "exists already" in said or "another process" in said for said in told)


def test_a_tokenizer_s_files_are_copied_and_not_what_lies_beside_them(tmp_path):
    """As where all parts of a text encoder lie in the folder that is saved below."""
    source = tmp_path / "all"
    shutil.copytree(copy_bundle(tmp_path / "bundle") / "tokenizer", source)
    (source / "model.safetensors").write_text("gigabytes")
    storage.save_tokenizer(SimpleNamespace(name_or_path=str(source)), source / "saved")
    assert listed(source / "saved") == listed(tmp_path / "bundle" / "tokenizer")


def test_a_bundle_that_was_renamed_after_loading_is_saved_with_its_tokenizer(tmp_path):
    held = mgt_core.load(copy_bundle(tmp_path / "bundle"), **HERE)
    (tmp_path / "bundle").rename(tmp_path / "renamed")
    again = mgt_core.load(mgt_core.save_bundle(held, tmp_path / "saved"), **HERE)
    said = "a photo of 2 cats, caf\u00e9"
    assert again.text.tokenizer(said).input_ids == held.text.tokenizer(said).input_ids
    assert len(again.text.tokenizer) == len(held.text.tokenizer)
    assert torch.equal(tokens(again), tokens(held))
