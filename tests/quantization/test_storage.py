"""Quantized bundles: stored, loaded, and quantized while loading."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open

import mgt_core
from mgt_core.__main__ import main
from mgt_core.errors import MGTError
from mgt_core.placement import OnDemand
from mgt_core.quantization.layers import packed_layers, stored_bytes
from mgt_core.quantization.pipeline import calibration_file
from mgt_core.quantization.storage import WEIGHTS
from support.bundles import copy_bundle
from support.device import DEVICE, HERE
from support.golden import bundles
from support.quantized import RUN, SCHEMES, pipe, quantized, tokens, with_model


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
