"""SCQ on a tiny network: what calibrating does and leaves alone."""

from dataclasses import replace

import pytest
import torch

import mgt_core
from bench.speed.bundle import FULL
from mgt_core.backbones.meissonic.network import MeissonicConfig, MeissonicTransformer
from mgt_core.quantization.layers import PackedLayer, packed_layers, stored_bytes
from mgt_core.quantization.observers import Watch, averaged
from mgt_core.quantization.plots import report_plot
from mgt_core.quantization.schemes import planned
from support.device import agree
from support.quantized import RUN, SCHEMES, conditions, pipe, quantized, tokens, with_model


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
    assert {f"transformer_blocks.0.attn.to_{part}" for part in "qkv"} <= packed_layers(network).keys()
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
    least = {"w4a8": 0.75, "w4a16": 0.75, "w8a8_fp8": 0.9}.get(scheme, 0.95)
    assert together > least  # a tiny random network amplifies every error


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
    assert done.model.modifiers == model.modifiers and done.model.patches == model.patches
    tokens(with_model(done.model))


@pytest.mark.parametrize("sampler", mgt_core.list_samplers())
def test_every_sampler_and_batches(sampler):
    tokens(with_model(quantized().model), sampler=sampler)
    # With float inputs: rounding to int8 turns the last bits, which do differ with the batch, into whole steps.
    of = with_model(quantized("w4a16").model)
    both = tokens(of, sampler=sampler)
    assert agree(both[:1], tokens(of, 1, sampler=sampler))
    assert agree(both[1:], tokens(of, 1, sampler=sampler, seed=2))


def test_report_and_plot():
    report = quantized().report
    text, rows = report.text(), report.table(3).splitlines()
    assert all(layer.name in text for layer in report.layers) and "MB before" in text and "W4A8(" not in text
    assert len(rows) == 5 and len({len(row) for row in rows}) == 1 and {row.count("|") for row in rows} == {8}
    worst = max(report.layers, key=lambda layer: layer.error)
    assert worst.name in rows[2] and f"{worst.name} {100 * worst.error:.2f} %" in report.sentences()
    assert all(line.endswith(".") for line in report.sentences().splitlines())
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
