"""The codec: a tiny EnCodec whose encoder has no memory, and what its sounds are compared by."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import EncodecConfig, EncodecModel

from .melodies import HOP, RATE

BOOKS, CODES, WIDTH = 4, 64, 32
FILTERS, RATIOS = 5, (4, 4, 4, 5)
FRAME_RATE = RATE // HOP
CONFIG = {
    "audio_channels": 1,
    "sampling_rate": RATE,
    "hidden_size": WIDTH,
    "codebook_dim": WIDTH,
    "codebook_size": CODES,
    "num_filters": FILTERS,
    "upsampling_ratios": list(RATIOS),
    "num_residual_layers": 1,
    "num_lstm_layers": 1,
    "kernel_size": 7,
    "last_kernel_size": 3,
    "residual_kernel_size": 3,
    "dilation_growth_rate": 2,
    "compress": 2,
    "norm_type": "weight_norm",
    "pad_mode": "constant",
    "use_causal_conv": False,
    "use_conv_shortcut": False,
    "trim_right_ratio": 1.0,
    "normalize": False,
    "target_bandwidths": [BOOKS * FRAME_RATE * (CODES - 1).bit_length() / 1000],
}


def new_codec() -> EncodecModel:
    """The encoder's recurrent layer adds nothing and stays so: a frame's codes depend on its neighbourhood alone."""
    codec = EncodecModel(EncodecConfig(**CONFIG))
    for name, weight in codec.encoder.named_parameters():
        if ".lstm." in name:
            nn.init.zeros_(weight)
            weight.requires_grad_(False)
    return codec


def spectral_loss(output: Tensor, target: Tensor) -> Tensor:
    """[B, 1, S] twice: L1 of magnitudes and of their logarithms, for three window lengths (Yamamoto et al. 2020, eq. 3
    to 5, with absolute values throughout)."""
    total = 0.0
    for size in (128, 512, 1024):
        window = torch.hann_window(size)
        made, wanted = (
            torch.stft(wave[:, 0], size, size // 4, window=window, return_complex=True).abs()
            for wave in (output, target)
        )
        total = total + (made - wanted).abs().mean() / wanted.mean()
        total = total + 0.3 * ((made + 0.01).log() - (wanted + 0.01).log()).abs().mean()
    return total / 3


def decibels(output: Tensor, target: Tensor) -> Tensor:
    """[B, 1, S] twice -> [B], ratio of the signal to the error."""
    error = (output - target).square().mean((1, 2)).clamp_min(1e-12)
    return 10 * torch.log10(target.square().mean((1, 2)) / error)
