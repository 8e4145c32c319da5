"""The codecs of the class-conditional families against the published implementations."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import mgt_core
from mgt_core.loading.networks import load_codec
from support.device import DEVICE
from support.golden import ROOT, assert_near, assert_same_codes, tensors

FOLDERS = {
    "maskgit_vqgan": ROOT / "maskgit" / "vqgan_tiny",
    "llamagen": ROOT / "maskgit" / "halton_tiny" / "vq",
}
LOW = {"maskgit_vqgan": 0.0, "llamagen": -1.0}  # images there lie between this and 1


def weights(kind: str) -> Path:
    (file,) = [f for f in FOLDERS[kind].glob("*.safetensors") if f.stem != "expected"]
    return file


def codec(kind: str) -> mgt_core.Codec:
    source = FOLDERS[kind] if kind == "maskgit_vqgan" else weights(kind)
    return load_codec(source, torch.float32, DEVICE)


def pixels(kind: str, image: torch.Tensor) -> torch.Tensor:
    """[B, 3, H, W] as recorded -> [B, H, W, 3] in 0..1."""
    return ((image - LOW[kind]) / (1 - LOW[kind])).clamp(0, 1).permute(0, 2, 3, 1)


@pytest.fixture(params=FOLDERS)
def recorded(request):
    kind = request.param
    return kind, codec(kind), tensors(FOLDERS[kind] / "expected")


def grid(ids: torch.Tensor, image: torch.Tensor, codec: mgt_core.Codec) -> torch.Tensor:
    """Ids [B, h * w] or [B, h, w] of recorded pictures [B, 3, H, W] -> [B, h, w]."""
    return ids if ids.ndim == 3 else ids.unflatten(1, (image.shape[2] // codec.scale, image.shape[3] // codec.scale))


def test_golden_decode(recorded):
    kind, ours, expected = recorded
    for ids, image in (("indices", "recon"), ("rand_indices", "rand_image")):
        tokens = grid(expected[ids], expected[image], ours)
        assert_near(ours.decode(tokens), pixels(kind, expected[image]), scale=expected[image])


def test_golden_codes(recorded):
    kind, ours, expected = recorded
    codes = ours.codes(grid(expected["rand_indices"], expected["rand_image"], ours))
    assert_near(codes, expected["rand_quantized"])


def test_golden_encode(recorded):
    kind, ours, expected = recorded
    image = ((expected["image"] - LOW[kind]) / (1 - LOW[kind])).permute(0, 2, 3, 1)
    assert_same_codes(ours, image, grid(expected["indices"], expected["image"], ours))
    latents = ours.latents(image)
    wanted = expected["encoder_out"] if kind == "maskgit_vqgan" else expected["pre_quant"]
    if kind == "llamagen":
        wanted = torch.nn.functional.normalize(wanted, dim=1)
    assert_near(latents, wanted)


def test_codecs_that_are_measured():
    """All of them before a release."""
    assert {*FOLDERS, "vqmodel"} <= set(mgt_core.CODECS)


def test_preview_colours(recorded):
    from mgt_core.views.preview import Previewer

    kind, ours, expected = recorded
    ids = grid(expected["rand_indices"], expected["rand_image"], ours)[:1]
    mask_id = ours.codebook_size + 12
    state = mgt_core.TokenState(ids, torch.zeros_like(ids, dtype=torch.bool), mask_id, ours.codebook_size)
    height, width = ids.shape[1:]
    assert Previewer(ours).image(state).size == (width * ours.scale, height * ours.scale)
    assert Previewer(ours).image(state, full=False).size == (width, height)


@pytest.mark.parametrize(
    "kind, name, wrapped",
    [("llamagen", "vq_ds16_c2i.pt", True), ("maskgit_vqgan", "maskgit-vqgan-imagenet-f16-256.bin", False)],
)
def test_a_pickle_without_a_config_gives_the_same_codec(tmp_path, kind, name, wrapped):
    """As LlamaGen and TiTok publish theirs."""
    held, file = load_file(weights(kind)), Path(tmp_path) / name
    torch.save({"model": held, "optimizer": None} if wrapped else held, file)
    ours = codec(kind)
    ids = torch.arange(48).reshape(1, 6, 8) % ours.codebook_size
    assert torch.equal(load_codec(file, torch.float32, DEVICE).decode(ids), ours.decode(ids))
