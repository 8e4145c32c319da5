"""A codec whose numbers overflow says so, and where: no picture is made of what is no number."""

import copy
from dataclasses import replace

import pytest
import torch

import mgt_core
from support.device import DEVICE
from support.golden import bundles, pipeline
from support.refusals import INF, NAN, check

CODEC = pipeline(bundles()[-1]).codec
TOKENS = torch.zeros(2, 2, 2, dtype=torch.long)


def spoiled(layer: str, value: float) -> mgt_core.Codec:
    network = copy.deepcopy(CODEC.network)
    network.get_submodule(layer).weight.fill_(value)
    return replace(CODEC, network=network)


@pytest.mark.parametrize("value", [NAN, INF, 3e38])
@pytest.mark.parametrize("tile_size", [0, 16])
def test_pictures(value, tile_size):
    codec = spoiled("decoder.conv_out", value)
    where = "in strips" if tile_size and value == 3e38 else "conv_out"  # there weights alone are looked at
    check(lambda: codec.decode(TOKENS.to(DEVICE), tile_size), ("the codec made pixels that are not finite", where))


def test_latents():
    codec = spoiled("encoder.conv_in", NAN)
    image = torch.rand(1, 32, 32, 3, device=DEVICE)
    check(lambda: codec.encode(image), ("the codec made latents that are not finite", "encoder.conv_in"))


def test_pixels_beyond_a_picture_are_cut():
    """As far as they are numbers."""
    picture = spoiled("decoder.conv_out", 1e6).decode(TOKENS.to(DEVICE))
    assert picture.min() >= 0 and picture.max() <= 1
