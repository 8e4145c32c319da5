"""The codecs of the class-conditional families against the published implementations."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import mgt_core
from mgt_core.loading.networks import load_codec
from support.golden import GAP, ROOT, tensors

FOLDERS = {
    "maskgit_vqgan": ROOT / "maskgit" / "vqgan_tiny",
    "llamagen": ROOT / "maskgit" / "halton_tiny" / "vq",
}
LOW = {"maskgit_vqgan": 0.0, "llamagen": -1.0}  # images there lie between this and 1


def codec(kind: str) -> mgt_core.Codec:
    names = ("pytorch_model.safetensors", "vq.safetensors")
    (file,) = [FOLDERS[kind] / name for name in names if (FOLDERS[kind] / name).is_file()]
    source = FOLDERS[kind] if kind == "maskgit_vqgan" else file
    return load_codec(source, torch.float32, torch.device("cpu"))


def pixels(kind: str, image: torch.Tensor) -> torch.Tensor:
    """[B, 3, H, W] as recorded -> [B, H, W, 3] in 0..1."""
    return ((image - LOW[kind]) / (1 - LOW[kind])).clamp(0, 1).permute(0, 2, 3, 1)


@pytest.fixture(params=FOLDERS)
def recorded(request):
    kind = request.param
    return kind, codec(kind), tensors(FOLDERS[kind] / "expected")


def grid(ids: torch.Tensor) -> torch.Tensor:
    return ids if ids.ndim == 3 else ids.unflatten(1, (8, 8))


def test_golden_decode(recorded):
    kind, ours, expected = recorded
    for ids, image in (("indices", "recon"), ("rand_indices", "rand_image")):
        decoded = ours.decode(grid(expected[ids]))
        assert decoded.shape[1:] == (16, 16, 3) and ours.scale == 2
        assert (decoded - pixels(kind, expected[image])).abs().max() < GAP


def test_golden_codes(recorded):
    kind, ours, expected = recorded
    codes = ours.codes(grid(expected["rand_indices"]))
    wanted = expected["rand_quantized"]
    assert (codes - wanted).abs().max() < GAP


def test_golden_encode(recorded):
    kind, ours, expected = recorded
    image = ((expected["image"] - LOW[kind]) / (1 - LOW[kind])).permute(0, 2, 3, 1)
    assert torch.equal(ours.encode(image), grid(expected["indices"]))
    latents = ours.latents(image)
    wanted = expected["encoder_out"] if kind == "maskgit_vqgan" else expected["pre_quant"]
    if kind == "llamagen":
        wanted = torch.nn.functional.normalize(wanted, dim=1)
    assert (latents - wanted).abs().max() < GAP


def test_codecs_that_are_measured():
    """All of them before a release."""
    assert {*FOLDERS, "vqmodel"} <= set(mgt_core.CODECS)


def test_preview_colours(recorded):
    from mgt_core.views.preview import Previewer

    kind, ours, expected = recorded
    ids = grid(expected["rand_indices"])[:1]
    state = mgt_core.TokenState(ids, torch.zeros_like(ids, dtype=torch.bool), 60, ours.codebook_size)
    assert Previewer(ours).image(state).size == (16, 16)
    assert Previewer(ours).image(state, full=False).size == (8, 8)


@pytest.mark.parametrize(
    "kind, name, wrapped",
    [("llamagen", "vq_ds16_c2i.pt", True), ("maskgit_vqgan", "maskgit-vqgan-imagenet-f16-256.bin", False)],
)
def test_a_pickle_without_a_config_gives_the_same_codec(tmp_path, kind, name, wrapped):
    """As LlamaGen and TiTok publish theirs."""
    (source,) = [f for f in FOLDERS[kind].glob("*.safetensors") if f.stem != "expected"]
    weights, file = load_file(source), Path(tmp_path) / name
    torch.save({"model": weights, "optimizer": None} if wrapped else weights, file)
    ids = torch.arange(48).reshape(1, 6, 8)
    assert torch.equal(load_codec(file, torch.float32, torch.device("cpu")).decode(ids), codec(kind).decode(ids))
