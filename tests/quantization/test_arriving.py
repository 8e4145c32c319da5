"""Networks that are packed while they are read: what comes out, in which memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mgt_core
from mgt_core.errors import MGTError
from mgt_core.loading import weights
from mgt_core.loading.networks import backbone_of
from mgt_core.loading.part import as_transformer, read_part
from mgt_core.quantization.arriving import Packing, packed_by
from mgt_core.quantization.embedding import packed_modules
from mgt_core.quantization.layers import packed_layers
from mgt_core.quantization.pipeline import calibration_file
from mgt_core.quantization.quantize import apply
from support.bundles import copy_bundle, halton_bundle, openmuse_bundle
from support.device import HERE
from support.golden import bundles
from support.llada import logits, model_of, write_llada
from support.quantized import quantized

CPU = torch.device("cpu")
SCHEMES = {
    "w4a16": mgt_core.W4A16(),
    "w8a8": mgt_core.W8A8(),
    "fp8": mgt_core.FP8(),
    "w4a16, a part of a fused layer left": mgt_core.W4A16(group_size=32, keep=("*q_proj", "*to_q", "*wq", "*query")),
    "w4a8, scales of every token": mgt_core.W4A8(int8_share=1.0, activation_scales="dynamic"),
}
BUNDLES = {
    "meissonic": lambda folder: copy_bundle(folder, bundles()[0]),
    "openmuse": openmuse_bundle,
    "halton": halton_bundle,
}


def same(a: torch.nn.Module, b: torch.nn.Module) -> None:
    """To the bit, types and treatments of inputs too."""
    held, others = a.state_dict(), b.state_dict()
    assert held.keys() == others.keys() and packed_modules(a).keys() == packed_modules(b).keys()
    for name, value in held.items():
        assert value.dtype == others[name].dtype
        assert torch.equal(value.flatten().view(torch.uint8), others[name].flatten().view(torch.uint8)), name
    for name, layer in packed_layers(a).items():
        assert layer.settings == packed_layers(b)[name].settings


def read(folder: Path, scheme: mgt_core.Scheme | None = None) -> torch.nn.Module:
    part = as_transformer(read_part(folder))
    return backbone_of(part, torch.float32, CPU, scheme and Packing(scheme))


def fitting(scheme: mgt_core.Scheme, network: torch.nn.Module) -> mgt_core.Scheme:
    """With those of its patterns that fit the network."""
    names = packed_layers(apply(model_of(network), mgt_core.W8A16()).network)
    ends = tuple(p for p in scheme.keep if any(name.endswith(p.strip("*")) for name in names))
    return type(scheme)(**{**vars(scheme), "keep": ends})


@pytest.mark.parametrize("family", BUNDLES)
def test_every_family_comes_out_as_if_it_had_been_whole(family, tmp_path):
    source = BUNDLES[family](tmp_path / family)
    whole = mgt_core.load(source, **HERE)
    for name in ("w4a16, a part of a fused layer left", "fp8"):
        scheme = fitting(SCHEMES[name], whole.model.network)
        found = mgt_core.load(source, **HERE, quantization=scheme, calibrate=False)
        assert found.model.quantization == scheme
        same(found.model.network, apply(whole.model, scheme).network)


@pytest.mark.parametrize("name", SCHEMES)
def test_shards_that_part_a_fused_layer_and_tensors_read_by_rows(name, tmp_path, monkeypatch):
    folder = write_llada(tmp_path / "transformer")
    scheme = fitting(SCHEMES[name], read(folder))
    expected = apply(model_of(read(folder)), scheme).network
    same(read(folder, scheme), expected)
    monkeypatch.setattr(weights, "REMAP_BYTES", 300)  # two rows at a time
    found = read(folder, scheme)
    same(found, expected)
    assert torch.equal(logits(found), logits(expected)) and torch.isfinite(logits(found)).all()
    same(read(folder), read(folder))


def test_a_stored_calibration_is_applied(tmp_path):
    folder = BUNDLES["meissonic"](tmp_path / "bundle")
    quantized().calibration.save(calibration_file(folder / "transformer", mgt_core.W4A8()))
    found = mgt_core.load(folder, **HERE, quantization="w4a8", calibrate=False).model
    assert found.quantization == mgt_core.W4A8()
    kinds = [layer.treatment for layer in packed_layers(found.network).values()]
    assert kinds == [layer.treatment for layer in packed_layers(quantized().model.network).values()]
    assert {kind.kind for kind in kinds} == {"float", "static"}


def test_what_has_to_be_whole_is_left_whole(tmp_path):
    folder = BUNDLES["meissonic"](tmp_path / "bundle")
    assert mgt_core.load(folder, **HERE, quantization="w4a8", calibrate=False).model.quantization is None
    kind = mgt_core.BACKBONES.get("lumina_dimoo")
    assert packed_by(kind, mgt_core.W4A8()) == mgt_core.W4A8(int8_share=0.0)
    assert packed_by(kind, mgt_core.W4A8(outputs="int8")) == mgt_core.W4A8(int8_share=0.0)
    assert packed_by(kind, mgt_core.W4A8(reconstruct=3)) is None
    assert packed_by(mgt_core.BACKBONES.get("meissonic"), mgt_core.W4A8()) is None


def test_the_text_encoder_is_packed_as_it_is_read(tmp_path):
    source = BUNDLES["meissonic"](tmp_path / "bundle")
    found = mgt_core.load(source, **HERE, text_quantization="w8a16").text
    same(found.network, mgt_core.quantize_text(mgt_core.load(source, **HERE).text, "w8a16").network)


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = write_llada(tmp_path / "transformer")
    file = folder / "model-00001-of-00002.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if "ff_proj" in name)
    tensors[name][3, 2] = float("nan")
    save_file(tensors, file)
    with pytest.raises(MGTError, match="numbers in blocks.0.ff_proj.weight that are not finite"):
        read(folder, mgt_core.W4A16())


MEASURE = """
import sys
from pathlib import Path
import torch
from mgt_core import FP8
from mgt_core.loading.networks import backbone_of
from mgt_core.loading.part import as_transformer, read_part
from mgt_core.quantization.arriving import Packing
from mgt_core.quantization.layers import stored_bytes

def memory(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024

torch.nn.Linear(1, 1, device="meta").to(torch.bfloat16)
with torch.device("meta"):
    torch.nn.RMSNorm(2)(torch.ones(2))  # which imports much
part, before = as_transformer(read_part(Path(sys.argv[1]))), memory("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
network = backbone_of(part, torch.bfloat16, torch.device("cpu"), Packing(FP8()))
print(stored_bytes(network), memory("VmHWM") - before)
"""


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the peak cannot be measured here")
def test_the_peak_is_near_the_packed_weights(tmp_path):
    """Not near those in the file, which are twice as many bytes."""
    sizes = {"d_model": 512, "mlp_hidden_size": 1536, "n_layers": 50, "embedding_size": 8_000}
    folder = write_llada(tmp_path / "transformer", torch.bfloat16, **sizes)
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    root = str(Path(mgt_core.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(folder)],
        env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    packed, peak = map(int, done.stdout.split())
    assert packed < 0.52 * size and peak <= 1.3 * packed + 40 * 2**20 < size
