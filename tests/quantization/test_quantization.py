"""SCQ on a tiny network: what calibrating does and leaves alone, stored bundles, and bad ones."""

import json
from dataclasses import replace
from functools import cache

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import mgt_core
from bench.speed.bundle import FULL
from mgt_core.__main__ import main
from mgt_core.backbones.meissonic.network import MeissonicConfig, MeissonicTransformer
from mgt_core.errors import MGTError
from mgt_core.placement import OnDemand
from mgt_core.quantization.calibration import CalibrationRun, apply
from mgt_core.quantization.layers import PackedLayer, packed_layers, stored_bytes
from mgt_core.quantization.observers import Watch, averaged
from mgt_core.quantization.pipeline import calibration_conditions, calibration_file
from mgt_core.quantization.plots import report_plot
from mgt_core.quantization.schemes import planned
from mgt_core.quantization.storage import WEIGHTS
from support.bundles import copy_bundle
from support.families import FAMILIES
from support.golden import bundles, pipeline

RUN = CalibrationRun(steps=3, states=2, cfg=2.0, grid=(4, 4))
SCHEMES = mgt_core.list_quantizations()


def pipe() -> mgt_core.Pipeline:
    return pipeline(bundles()[0])


def conditions(count: int = 2):
    return pipe().text.encode(["a cat", "a dog"][:count]), pipe().text.encode([""] * count)


@cache
def quantized(scheme: str | mgt_core.Scheme = "w4a8"):
    return mgt_core.quantize(pipe().model, scheme, *conditions(), RUN)


def with_model(model: mgt_core.MGTModel) -> mgt_core.Pipeline:
    return replace(pipe(), model=model)


def tokens(of: mgt_core.Pipeline, batch: int = 2, **settings) -> torch.Tensor:
    model = of.model
    state = mgt_core.empty_state(batch, (4, 4), model.mask_id, model.codebook_size)
    chosen = {"steps": 3, "cfg": 2.0, "seed": 1} | settings
    return mgt_core.sample(model, state, of.text.encode("a cat"), of.text.encode(""), **chosen).tokens


def test_the_given_model_stays_as_it_is():
    model = pipe().model
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    modules = [type(module) for module in model.network.modules()]
    done = quantized()
    assert [type(module) for module in model.network.modules()] == modules
    assert all(torch.equal(value, before[name]) for name, value in model.network.state_dict().items())
    assert not any(module._forward_hooks for module in model.network.modules()) and model.quantization is None
    assert done.model.network.embed.embeddings.weight is model.network.embed.embeddings.weight
    assert done.model.quantization == mgt_core.W4A8() and done.model.attached()[0].startswith("W4A8(")


def test_every_linear_layer_but_the_head_is_packed():
    network = quantized().model.network
    left = [name for name, layer in network.named_modules() if isinstance(layer, torch.nn.Linear)]
    assert not left and not any(isinstance(m, PackedLayer) for m in network.mlm_layer.modules())
    assert "transformer_blocks.0.attn.to_qkv" in packed_layers(network)
    assert quantized().model.dtype == torch.float32
    assert quantized().report.after == stored_bytes(network) < 0.6 * quantized().report.before


def test_int8_inputs_go_to_the_third_with_the_smallest_outputs():
    layers = quantized().report.layers
    chosen = [layer.output_scale for layer in layers if layer.activations == "static"]
    rest = [layer.output_scale for layer in layers if layer.activations == "float"]
    assert len(chosen) == round(len(layers) / 3) and max(chosen) <= min(rest)


def test_the_second_calibration_moves_the_scales():
    second = {layer.name: layer for layer in quantized().report.layers if layer.kept_scale}
    first = mgt_core.quantize(pipe().model, "w4a8", *conditions(), replace(RUN, second=False)).report.layers
    first = {layer.name: layer for layer in first if layer.kept_scale}
    assert first.keys() == second.keys()
    assert all(layer.kept_scale == pytest.approx(layer.input_scale, rel=1e-5) for layer in first.values())
    assert any(layer.kept_scale != pytest.approx(layer.input_scale, rel=1e-5) for layer in second.values())


def test_calibrating_repeats_exactly():
    again = mgt_core.quantize(pipe().model, "w4a8", *conditions(), RUN)
    assert again.report == quantized().report and again.calibration == quantized().calibration


def test_moving_average():
    assert averaged(None, torch.tensor([-127.0, 3])) == pytest.approx(1)
    assert averaged(1.0, torch.tensor([254.0])) == pytest.approx(0.9 + 0.1 * 2)
    watch = Watch()
    watch.see(torch.ones(1, 2), torch.tensor([[3.0, 0]]), torch.tensor([[4.0, 0]]))
    assert watch.relative_error == pytest.approx(0.25)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_predictions_stay_close(scheme):
    ids = torch.randint(pipe().model.codebook_size, (1, 4, 4), generator=torch.Generator().manual_seed(0))
    exact, ours = (
        model.logits(ids, pipe().text.encode("a cat"), 1.0) for model in (pipe().model, quantized(scheme).model)
    )
    together = torch.corrcoef(torch.stack([exact.flatten(), ours.flatten()]))[0, 1]
    assert together > (0.75 if scheme.startswith("w4") else 0.95)  # a tiny random network amplifies every error


def test_fine_tuning_lowers_the_error():
    kept = ("single_*", "*norm*", "transformer_blocks.1.*")
    plain, tuned = (quantized(mgt_core.W4A16(reconstruct=steps, keep=kept)).report for steps in (0, 15))
    errors = [sum(layer.error for layer in report.layers) for report in (plain, tuned)]
    assert errors[1] < 0.9 * errors[0]


@pytest.mark.parametrize("scheme, most", [(mgt_core.W4A8(), 0.62e9), (mgt_core.W4A8(keep=("modulation",)), 1.0e9)])
def test_size_of_meissonic(scheme, most):
    with torch.device("meta"):
        network = MeissonicTransformer(MeissonicConfig.from_dict(FULL.transformer)).to(torch.bfloat16)
    assert stored_bytes(network) == pytest.approx(2.01e9, rel=0.01)
    assert stored_bytes(planned(network, scheme, network.unquantized)) <= most


def test_planned_bytes_are_those_of_the_packed_network():
    network = pipe().model.network
    exact = stored_bytes(quantized("w8a16").model.network)
    assert stored_bytes(planned(network, mgt_core.W8A16(), network.unquantized)) == exact


def test_kept_layers_and_shares():
    report = quantized(mgt_core.W4A8(keep=("modulation", "context_embedder"), int8_share=0.0)).report
    names = [layer.name for layer in report.layers]
    assert not any("norm" in name for name in names) and "context_embedder" not in names
    assert all(layer.activations == "float" for layer in report.layers)


def test_patches_stay_attached_and_act():
    model = pipe().model.with_modifier(mgt_core.TopKTopP(k=1)).with_token_merging(ratio=0.5)
    done = mgt_core.quantize(model, "w8a16", *conditions(), RUN)
    assert done.model.modifiers == model.modifiers and done.model.merging == model.merging
    tokens(with_model(done.model))


@pytest.mark.parametrize("sampler", mgt_core.list_samplers())
def test_every_sampler_and_batches(sampler):
    tokens(with_model(quantized().model), sampler=sampler)
    # With float inputs: rounding to int8 turns the last bits, which do differ with the batch, into whole steps.
    of = with_model(quantized("w4a16").model)
    both = tokens(of, sampler=sampler)
    assert torch.equal(both[:1], tokens(of, 1, sampler=sampler))
    assert torch.equal(both[1:], tokens(of, 1, sampler=sampler, seed=2))


def test_report_and_plot():
    report = quantized().report
    table = report.table()
    assert all(layer.name in table for layer in report.layers) and "MB before" in table
    assert len(report.table(3).splitlines()) == 5
    plot = report_plot(report)
    assert plot.shape[0] == 1 and plot.shape[-1] == 3 and plot.std() > 0.05


def test_progress_and_stopping():
    seen = []

    def progress(done, total):
        seen.append((done, total))
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mgt_core.quantize(pipe().model, "w4a8", *conditions(), RUN, progress)
    assert [done for done, _ in seen] == [1, 2, 3, 4, 5]
    seen.clear()
    mgt_core.quantize(pipe().model, "w4a16", *conditions(1), RUN, lambda done, total: seen.append((done, total)))
    assert seen[-1][0] <= seen[-1][1]


# Stored


@pytest.mark.parametrize("scheme", SCHEMES)
def test_saved_and_loaded_gives_the_same_tokens(scheme, tmp_path):
    original = with_model(quantized(scheme).model)
    folder = mgt_core.save_bundle(original, tmp_path / "saved")
    loaded = mgt_core.load(folder, device="cpu")
    assert loaded.model.quantization == original.model.quantization and loaded.size == original.size
    assert {type(m) for m in loaded.model.network.modules()} == {type(m) for m in original.model.network.modules()}
    assert stored_bytes(loaded.model.network) == stored_bytes(original.model.network)
    assert torch.equal(tokens(loaded), tokens(original))


def test_loading_in_16_bits_keeps_the_packed_values(tmp_path):
    folder = mgt_core.save_bundle(with_model(quantized().model), tmp_path / "saved")
    network = mgt_core.load(folder, dtype=torch.bfloat16, device="cpu").model.network
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
    loaded = mgt_core.load(folder, device="cpu")
    assert loaded.model.quantization is None and torch.equal(tokens(loaded), tokens(pipe()))


def test_text_encoder_and_codec(tmp_path):
    small = replace(
        with_model(quantized("w8a16").model),
        text=mgt_core.quantize_text(pipe().text, "fp8"),
        codec=mgt_core.quantize_codec(pipe().codec, "w8a16"),
    )
    assert stored_bytes(small.text.network) < stored_bytes(pipe().text.network)
    assert stored_bytes(small.codec.network) < 0.5 * stored_bytes(pipe().codec.network)
    loaded = mgt_core.load(mgt_core.save_bundle(small, tmp_path / "small"), device="cpu")
    made, again = tokens(small), tokens(loaded)
    assert torch.equal(made, again) and torch.equal(small.codec.decode(made), loaded.codec.decode(again))
    assert (small.codec.decode(made) - pipe().codec.decode(made)).abs().mean() < 0.02
    assert torch.allclose(small.codec.decode(made, tile_size=16), small.codec.decode(made), atol=1e-4)
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
    loaded = mgt_core.load(folder, device="cpu", quantization="w4a8")
    assert torch.equal(tokens(loaded), tokens(with_model(quantized().model)))


def test_default_calibration_at_loading(tmp_path, monkeypatch):
    monkeypatch.setattr("mgt_core.quantization.pipeline.LOAD_RUN", RUN)
    loaded = mgt_core.load(bundles()[0], device="cpu", quantization=mgt_core.W4A8(int8_share=0.5))
    kinds = [layer.settings.activations for layer in packed_layers(loaded.model.network).values()]
    assert kinds.count("static") == round(0.5 * len(kinds))


def test_command_line(tmp_path, capsys):
    target = tmp_path / "small"
    arguments = ["quantize", str(bundles()[0]), str(target), "--steps", "2", "--states", "1", "--prompt", "a cat"]
    assert main([*arguments, "--keep", "modulation"]) == 0
    loaded = mgt_core.load(target, device="cpu")
    assert loaded.model.quantization == mgt_core.W4A8(keep=("modulation",))
    assert calibration_file(target / "transformer", mgt_core.W4A8()).is_file()
    assert main(arguments) == 1 and "exists already" in capsys.readouterr().err
    assert main(["quantize", "nowhere", str(tmp_path / "other")]) == 1 and not (tmp_path / "other").exists()


# Bad input


def spoil(folder, change) -> None:
    file = folder / "transformer" / WEIGHTS
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    weights = load_file(file)
    change(weights, metadata)
    save_file(weights, file, metadata=metadata)


def mark(values) -> torch.Tensor:
    return torch.tensor(list(json.dumps(values).encode()), dtype=torch.uint8)


def says(metadata, **changes) -> None:
    metadata["mgt_quantization"] = json.dumps(json.loads(metadata["mgt_quantization"]) | changes)


LAYER = "context_embedder"
DAMAGE = {
    "mislabelled scheme": (lambda w, m: says(m, scheme="w8a8"), "mislabelled|settings"),
    "unknown scheme": (lambda w, m: says(m, scheme="w2a2"), "w2a2"),
    "newer version": (lambda w, m: says(m, version=9), "version 9"),
    "unknown setting": (lambda w, m: says(m, settings={"magic": 1}), "magic"),
    "unreadable header": (lambda w, m: m.update(mgt_quantization="{"), "cannot be read"),
    "foreign format": (lambda w, m: w.update({f"{LAYER}.comfy_quant": mark({"format": "nvfp4"})}), "nvfp4"),
    "mark is no JSON": (lambda w, m: w.update({f"{LAYER}.comfy_quant": torch.zeros(4, dtype=torch.uint8)}), "JSON"),
    "mark is no object": (lambda w, m: w.update({f"{LAYER}.comfy_quant": mark([1])}), "None"),
    "odd settings": (
        lambda w, m: w.update({f"{LAYER}.comfy_quant": mark({"format": "asym_w4a8_int8", "group_size": -3})}),
        "settings",
    ),
    "mark of no layer": (lambda w, m: w.update({"nobody.comfy_quant": mark({"format": "int8_tensorwise"})}), "nobody"),
    "lost mark": (lambda w, m: w.pop(f"{LAYER}.comfy_quant"), LAYER),
    "lost scales": (lambda w, m: w.pop(f"{LAYER}.weight_s_rel"), "weight_s_rel"),
    "half the codes": (lambda w, m: w.update({f"{LAYER}.weight": w[f"{LAYER}.weight"][:, ::2].contiguous()}), "shapes"),
    "codes of another type": (
        lambda w, m: w.update({f"{LAYER}.weight": w[f"{LAYER}.weight"].view(torch.uint8)}),
        "its mark says torch.int8",
    ),
    "scales of another type": (
        lambda w, m: w.update({f"{LAYER}.weight_s_rel": w[f"{LAYER}.weight_s_rel"].half()}),
        "its mark says",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_bad_files_give_one_sentence(name, tmp_path):
    change, said = DAMAGE[name]
    folder = mgt_core.save_bundle(with_model(quantized().model), tmp_path / "bad")
    spoil(folder, change)
    with pytest.raises(MGTError, match=said) as caught:
        mgt_core.load(folder, device="cpu")
    assert "\n" not in str(caught.value)


def test_truncated_file(tmp_path):
    folder = mgt_core.save_bundle(with_model(quantized().model), tmp_path / "bad")
    file = folder / "transformer" / WEIGHTS
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(MGTError, match="truncated"):
        mgt_core.load(folder, device="cpu")


def test_codes_without_marks_are_foreign(tmp_path):
    folder = mgt_core.save_bundle(with_model(quantized("w8a16").model), tmp_path / "bad")
    spoil(folder, lambda w, m: [w.pop(name) for name in list(w) if name.endswith(("comfy_quant", "weight_scale"))])
    with pytest.raises(MGTError):
        mgt_core.load(folder, device="cpu")


BAD_SETTINGS = [
    ({"group_size": 7}, "group_size is 7"),
    ({"int8_share": 1.5}, "int8_share is 1.5"),
    ({"activation_scales": "frozen"}, "frozen"),
    ({"keep": "modulation"}, "keep is"),
    ({"reconstruct": -1}, "reconstruct is -1"),
]


@pytest.mark.parametrize("settings, said", BAD_SETTINGS)
def test_bad_settings(settings, said):
    with pytest.raises(MGTError, match=said):
        mgt_core.W4A8(**settings)


def test_bad_calls(tmp_path):
    model, (positive, negative) = pipe().model, conditions()
    with pytest.raises(MGTError, match="'w3a3'"):
        mgt_core.quantize(model, "w3a3", positive, negative)
    with pytest.raises(MGTError, match="nothing to calibrate"):
        mgt_core.quantize(model, "none", positive, negative)
    with pytest.raises(MGTError, match="quantized already"):
        mgt_core.quantize(quantized().model, "w4a8", positive, negative)
    with pytest.raises(MGTError, match="fits no layer"):
        mgt_core.quantize(model, mgt_core.W4A8(keep=("nothing.*",)), positive, negative)
    with pytest.raises(MGTError, match="no layer is left"):
        mgt_core.quantize(model, mgt_core.W4A8(keep=("*",)), positive, negative)
    with pytest.raises(MGTError, match="needs a calibration"):
        apply(model, "w4a8")
    with pytest.raises(MGTError, match="another network"):
        apply(model, mgt_core.W4A8(keep=("modulation",)), quantized().calibration)
    with pytest.raises(MGTError, match="stored as"):
        mgt_core.quantize_pipeline(with_model(quantized().model), "w8a8")
    file = tmp_path / "calibration.json"
    file.write_text("[]")
    with pytest.raises(MGTError, match="not a stored calibration"):
        mgt_core.Calibration.load(file)


def test_saving_never_overwrites_by_itself(tmp_path):
    folder = mgt_core.save_bundle(pipe(), tmp_path / "saved")
    with pytest.raises(MGTError, match="exists already"):
        mgt_core.save_bundle(pipe(), folder)
    mgt_core.save_bundle(with_model(quantized("w8a16").model), folder, overwrite=True)
    assert mgt_core.load(folder, device="cpu").model.quantization == mgt_core.W8A16()
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


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family(family, tmp_path):
    """Packed, sampled, and where the family can be written, stored and read back."""
    of = mgt_core.load(FAMILIES[family](tmp_path / "bundle"), device="cpu")
    if family == "amused":
        with pytest.raises(MGTError, match="no layer is left"):
            apply(of.model, "w4a16")
        return
    assert packed_layers((model := apply(of.model, "w4a16")).network)
    positive, negative = calibration_conditions(model, of.text, ["a cat"])
    grid = tuple(side // model.pixels_per_token for side in of.size)

    def made(by):
        state = mgt_core.empty_state(1, grid, model.mask_id, model.codebook_size)
        return mgt_core.sample(by, state, positive, negative, steps=2, cfg=2.0).tokens

    found = made(model)
    done = mgt_core.quantize(of.model, "w4a8", positive, negative, replace(RUN, grid=grid, steps=2, states=1))
    assert 0 < done.report.after < done.report.before
    try:
        folder = mgt_core.save_bundle(replace(of, model=model), tmp_path / "saved")
    except MGTError as refusal:
        assert "cannot be saved" in str(refusal)
        return
    assert torch.equal(made(mgt_core.load(folder, device="cpu").model), found)
