"""Doubling and the convolution after it in one step: the same map, in every codec."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import mgt_core
from mgt_core.codecs.upsampling import FoldedUpsample, double_and_convolve
from support.device import DEVICE, HERE
from support.golden import bundles, pipeline

few = settings(max_examples=20, deadline=None, derandomize=True, database=None)


@few
@given(
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(1, 7),
    st.integers(1, 7),
    st.booleans(),
    st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
@torch.inference_mode()
def test_is_the_convolution_of_the_doubled_map(batch, channels, out, height, width, bias, layout):
    """Borders included, whatever the shape."""
    torch.manual_seed(height)
    layer = nn.Conv2d(channels, out, 3, padding=1, bias=bias).to(DEVICE)
    x = torch.randn(batch, channels, height, width).to(DEVICE, memory_format=layout)
    plain = layer(F.interpolate(x, scale_factor=2.0))
    torch.testing.assert_close(double_and_convolve(x, layer), plain, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_keeps_the_dtype_and_the_layout():
    layer, x = nn.Conv2d(8, 8, 3, padding=1).to(DEVICE), torch.randn(1, 8, 6, 6).to(DEVICE)
    half = double_and_convolve(x.bfloat16(), layer.bfloat16())
    assert half.dtype == torch.bfloat16
    wide = double_and_convolve(x.to(memory_format=torch.channels_last), layer.float())
    assert wide.is_contiguous(memory_format=torch.channels_last)


def test_meissonics_codec_is_folded_at_every_level():
    decoder = pipeline(bundles()[0]).codec.network.decoder
    upsamplers = [upsampler for level in decoder.up_blocks for upsampler in level.upsamplers or ()]
    assert upsamplers and all(isinstance(upsampler, FoldedUpsample) for upsampler in upsamplers)


@torch.inference_mode()
def test_the_decoder_is_that_of_diffusers():
    from diffusers import VQModel

    codec = mgt_core.load("demo", **HERE).codec
    plain = VQModel.from_config(codec.network.config)
    plain.to(DEVICE).load_state_dict(codec.network.state_dict())  # the names are the published ones
    tokens = torch.randint(codec.codebook_size, (1, 6, 5), generator=torch.Generator().manual_seed(0))
    codes = codec.codes(tokens)
    expected = plain.eval().decoder(plain.post_quant_conv(codes)).clamp(0, 1).permute(0, 2, 3, 1)
    torch.testing.assert_close(codec.decode(tokens), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("scheme", ["w8a16", "fp8"])
def test_quantized_convolutions_too(scheme):
    codec = mgt_core.load("demo", codec_quantization=scheme, **HERE).codec
    layer = next(level.upsamplers[0].conv for level in codec.network.decoder.up_blocks if level.upsamplers)
    x = torch.randn(1, layer.weight_matrix(torch.float32).shape[1] // 9, 4, 4).to(DEVICE)
    with torch.inference_mode():
        plain = layer(F.interpolate(x, scale_factor=2.0))
        torch.testing.assert_close(double_and_convolve(x, layer), plain, atol=1e-4, rtol=1e-4)
