"""MAGVIT-v2's tokenizer against Show-o's implementation."""

import json

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from mgt_core.errors import MGTError
from mgt_core.loading.networks import load_codec
from support.device import DEVICE
from support.golden import OWN, ROOT, assert_near, assert_same_codes, tensors

FOLDER = ROOT / "unified" / "showo"
RECORDED = tensors(FOLDER / "magvit")
CASES = sorted({name.split(".")[0] for name in RECORDED} - {"act"})
CODEC = load_codec(FOLDER / "magvitv2", torch.float32, DEVICE)
few = settings(max_examples=20, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate])


def on_grid(values: torch.Tensor, case: str) -> torch.Tensor:
    """[B, N] of a recorded picture -> [B, h, w]."""
    return values.unflatten(1, RECORDED[f"{case}.encoder_out"].shape[2:])


def picture(case: str) -> torch.Tensor:
    return RECORDED[f"{case}.image_u8"].permute(0, 2, 3, 1) / 255


def test_the_tree_holds_pictures():
    assert CASES


@pytest.mark.parametrize("tile_size", [0, 16])
@pytest.mark.parametrize("case", CASES)
def test_golden_encode(case, tile_size):
    assert_near(CODEC.latents(picture(case), tile_size), RECORDED[f"{case}.encoder_out"])
    assert_same_codes(CODEC, picture(case), on_grid(RECORDED[f"{case}.codes"], case), tile_size)


@pytest.mark.parametrize("tile_size", [0, 16])
@pytest.mark.parametrize("case", CASES)
def test_golden_decode(case, tile_size):
    raw = RECORDED[f"{case}.decoded"]
    wanted = (raw / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    assert_near(CODEC.decode(on_grid(RECORDED[f"{case}.dec_codes"], case), tile_size), wanted, scale=raw)


def test_golden_sizes():
    tiny = json.loads((FOLDER / "tiny.json").read_text())
    config = CODEC.network.config
    for held, stack in ((tiny["encoder"], config.encoder), (tiny["decoder"], config.decoder)):
        assert stack.widths == tuple(held["ch"] * mult for mult in held["ch_mult"])
        assert stack.blocks == tuple(held["num_res_blocks"])
    assert (CODEC.codebook_size, CODEC.bits) == (tiny["codebook_size"], tiny["z_channels"])
    assert CODEC.scale == 2 ** (len(config.decoder.widths) - 1)


def test_a_code_is_the_signs_of_its_latent():
    """The first channel counts most, and 0 counts as negative."""
    stored = load_file(FOLDER / "magvitv2" / "pytorch_model.safetensors")["quantize.embedding"]
    ids = torch.arange(CODEC.codebook_size, device=DEVICE).reshape(1, 1, -1)
    assert torch.equal(CODEC.codes(ids)[0, :, 0].T.cpu(), stored)
    signs = torch.zeros(1, CODEC.bits, 1, 1, device=DEVICE)
    assert int(CODEC._nearest(signs)) == 0
    signs[0, 0] = 0.1
    assert int(CODEC._nearest(signs)) == 2 ** (CODEC.bits - 1)


@few
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.integers(0, 99))
def test_codes_are_the_nearest_corners(batch, height, width, seed):
    """Of all corners of a cube, by Euclidean distance, and each its own."""
    latents = torch.randn(batch, CODEC.bits, height, width, generator=torch.Generator().manual_seed(seed)).to(DEVICE)
    corners = CODEC._vectors(torch.arange(CODEC.codebook_size, device=DEVICE))
    found = CODEC._nearest(latents)
    far = (latents.movedim(1, -1)[..., None, :] - corners).square().sum(-1)
    assert torch.equal(found, far.argmin(-1))
    assert torch.equal(CODEC._nearest(CODEC.codes(found)), found)


def test_a_bare_file_gives_the_same_codec(tmp_path):
    """A pickle, as the published one is, beside no config."""
    held = load_file(FOLDER / "magvitv2" / "pytorch_model.safetensors")
    torch.save(held, tmp_path / "pytorch_model.bin")
    ids = torch.arange(12, device=DEVICE).reshape(1, 3, 4)
    again = load_codec(tmp_path / "pytorch_model.bin", torch.float32, DEVICE)
    assert torch.equal(again.decode(ids), CODEC.decode(ids))


def test_other_tokenizers_are_told(tmp_path):
    held = load_file(OWN / "unified" / "showo" / "magvitv2" / "pytorch_model.safetensors")
    last = max(name for name in held if name.startswith("decoder.up."))
    level = ".".join(last.split(".")[:3])
    torch.save({name: v for name, v in held.items() if not name.startswith(level)}, tmp_path / "codec.bin")
    with pytest.raises(MGTError, match="levels in its encoder, 4 in its decoder"):
        load_codec(tmp_path / "codec.bin", torch.float32, DEVICE)
