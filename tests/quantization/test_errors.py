"""Bad quantized files, settings and calls: one sentence each."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import mgt_core
from mgt_core.errors import MGTError
from mgt_core.quantization.quantize import apply
from mgt_core.quantization.storage import WEIGHTS
from support.device import HERE
from support.quantized import RUN, conditions, pipe, quantized, with_model
from support.refusals import NAN


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
    "scales that are no numbers": (
        lambda w, m: w[f"{LAYER}.weight_s_channel"].fill_(NAN),
        "s_channel that are not finite",
    ),
    "8-bit scales that are none": (
        lambda w, m: w[f"{LAYER}.weight_s_rel"].view(torch.uint8).fill_(0x7F),
        "s_rel that are not finite",
    ),
    "format of no name": (lambda w, m: w.update({f"{LAYER}.comfy_quant": mark({"format": {}})}), "transformer"),
    "huge groups": (
        lambda w, m: w.update({f"{LAYER}.comfy_quant": mark({"format": "asym_w4a8_int8", "group_size": 10**30})}),
        "transformer",
    ),
    "deep mark": (
        lambda w, m: w.update({f"{LAYER}.comfy_quant": torch.tensor(list(b"[" * 4000), dtype=torch.uint8)}),
        "no JSON text",
    ),
    "deep header": (lambda w, m: m.update(mgt_quantization="[" * 100_000), "cannot be read"),
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
        mgt_core.load(folder, **HERE)
    assert "\n" not in str(caught.value)


def test_truncated_file(tmp_path):
    folder = mgt_core.save_bundle(with_model(quantized().model), tmp_path / "bad")
    file = folder / "transformer" / WEIGHTS
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(MGTError, match="truncated"):
        mgt_core.load(folder, **HERE)


def test_codes_without_marks_are_foreign(tmp_path):
    folder = mgt_core.save_bundle(with_model(quantized("w8a16").model), tmp_path / "bad")
    spoil(folder, lambda w, m: [w.pop(name) for name in list(w) if name.endswith(("comfy_quant", "weight_scale"))])
    with pytest.raises(MGTError):
        mgt_core.load(folder, **HERE)


BAD_SETTINGS = [
    ({"group_size": 7}, "group_size is 7"),
    ({"int8_share": 1.5}, "int8_share is 1.5"),
    ({"activation_scales": "frozen"}, "frozen"),
    ({"keep": "modulation"}, "keep is"),
    ({"unranked": ["*"]}, "unranked is"),
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
    with pytest.raises(MGTError, match="unranked names 'nothing"):
        mgt_core.quantize(model, mgt_core.W4A8(unranked=("nothing.*",)), positive, negative, RUN)
    with pytest.raises(MGTError, match="no layer is left"):
        mgt_core.quantize(model, mgt_core.W4A8(keep=("*",)), positive, negative)
    with pytest.raises(MGTError, match="needs a calibration"):
        apply(model, "w4a8")
    with pytest.raises(MGTError, match="another network"):
        apply(model, mgt_core.W4A8(keep=("modulation",)), quantized().calibration)
    with pytest.raises(MGTError, match="stored as"):
        mgt_core.quantize_pipeline(with_model(quantized().model), "w8a8")


HELD = [
    "[]",
    "{",
    "[" * 5000,
    '{"scheme": "", "layers": {"a": 3}}',
    *(json.dumps({"scheme": "", "layers": {"a": ["static", scale]}}) for scale in (NAN, -1.0, 1e38, 10**39, "x")),
    json.dumps({"scheme": "", "layers": {"a": {"kind": "static", "inputs": [0.0], "outputs": []}}}),
    '{"scheme": "", "layers": {}, "finetuned": Infinity}',
]


@pytest.mark.parametrize("text", HELD, ids=lambda text: text[:60])
def test_bad_calibrations(text, tmp_path):
    file = tmp_path / "calibration.json"
    file.write_text(text)
    with pytest.raises(MGTError, match="calibration.json is not a stored calibration"):
        mgt_core.Calibration.load(file)
