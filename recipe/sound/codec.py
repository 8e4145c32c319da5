"""The codec: a tiny EnCodec whose encoder has no memory, and its residual codebooks while they are trained."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import EncodecConfig, EncodecModel

from .melodies import HOP, RATE

BOOKS, CODES, WIDTH = 4, 64, 16
FILTERS, RATIOS = 5, (4, 4, 4, 5)
FRAME_RATE = RATE // HOP
KEEP, DEAD = 0.98, 0.5  # of the running means; codes that fewer vectors of a batch choose begin anew
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


class Books(nn.Module):
    """Residual vector quantization with running means of what chose each code (van den Oord et al. 2017, appendix A.1)."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("codes", torch.zeros(BOOKS, CODES, WIDTH))
        self.register_buffer("sums", torch.zeros(BOOKS, CODES, WIDTH))
        self.register_buffer("counts", torch.ones(BOOKS, CODES))

    def start(self, latents: Tensor, rounds: int = 20) -> None:
        """[N, D]: k-means of what each book finds left over."""
        left = latents
        for book in range(BOOKS):
            centres = left[torch.randperm(len(left))[:CODES]].clone()
            for _ in range(rounds):
                nearest = torch.cdist(left, centres).argmin(1)
                counts = torch.bincount(nearest, minlength=CODES)
                means = torch.zeros_like(centres).index_add_(0, nearest, left) / counts[:, None].clamp_min(1)
                fresh = left[torch.randint(len(left), (CODES,))]
                centres = torch.where(counts[:, None] > 0, means, fresh)
            nearest = torch.cdist(left, centres).argmin(1)
            self.codes[book] = centres
            self.counts[book] = torch.bincount(nearest, minlength=CODES).float().clamp_min(1)
            self.sums[book] = centres * self.counts[book][:, None]
            left = left - centres[nearest]

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, D, T] -> (quantized, whose gradient goes to `latents`; tokens [B, K, T]; commitment loss)."""
        rows = latents.transpose(1, 2)
        left, total, tokens, loss = rows, torch.zeros_like(rows), [], 0.0
        for book in range(BOOKS):
            flat = left.detach().reshape(-1, WIDTH)
            nearest = torch.cdist(flat, self.codes[book]).argmin(1)
            if self.training:
                self._follow(book, flat, nearest)
            chosen = self.codes[book][nearest].view_as(left)
            loss = loss + F.mse_loss(left, chosen)
            left, total = left - chosen, total + chosen
            tokens.append(nearest.view(left.shape[:2]))
        return (rows + (total - rows).detach()).transpose(1, 2), torch.stack(tokens, 1), loss

    @torch.no_grad()
    def _follow(self, book: int, rows: Tensor, nearest: Tensor) -> None:
        counts = torch.bincount(nearest, minlength=CODES).float()
        sums = torch.zeros_like(self.sums[book]).index_add_(0, nearest, rows)
        self.counts[book].lerp_(counts, 1 - KEEP)
        self.sums[book].lerp_(sums, 1 - KEEP)
        dead = self.counts[book] < DEAD * len(rows) / 2000
        if dead.any():
            fresh = rows[torch.randint(len(rows), (int(dead.sum()),))]
            self.sums[book][dead], self.counts[book][dead] = fresh, 1.0
        self.codes[book] = self.sums[book] / self.counts[book][:, None].clamp_min(1e-4)

    def vectors(self, tokens: Tensor) -> Tensor:
        """[B, K, T] -> [B, D, T]."""
        return sum(self.codes[book][tokens[:, book]] for book in range(BOOKS)).transpose(1, 2)


def spectral_loss(output: Tensor, target: Tensor) -> Tensor:
    """[B, 1, S] twice: L1 of magnitudes and of their logarithms, for three window lengths (Yamamoto et al. 2020, eq. 3-5)."""
    total = 0.0
    for size in (128, 512, 1024):
        window = torch.hann_window(size)
        made, wanted = (
            torch.stft(wave[:, 0], size, size // 4, window=window, return_complex=True).abs() for wave in (output, target)
        )
        total = total + (made - wanted).abs().mean() / wanted.mean()
        total = total + 0.3 * ((made + 0.01).log() - (wanted + 0.01).log()).abs().mean()
    return total / 3


def decibels(output: Tensor, target: Tensor) -> Tensor:
    """[B, 1, S] twice -> [B], ratio of the signal to the error."""
    error = (output - target).square().mean((1, 2)).clamp_min(1e-12)
    return 10 * torch.log10(target.square().mean((1, 2)) / error)
