"""The spectrum of a sound over time, as numbers.

Frequencies are on the mel scale, 2595 log10(1 + f / 700), even where ears hear them so.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW = 0.064  # seconds that a column looks at
RANGE = 80.0  # dB below the loudest that are shown
FAINTEST = 1e-12  # in power, of a full sine: -120 dB
HANN = 1.5  # in bins, how far the window spreads power


def mel(frequency: Tensor) -> Tensor:
    return 2595 * torch.log10(1 + frequency / 700)


def hertz(mels: Tensor) -> Tensor:
    return 700 * (10 ** (mels / 2595) - 1)


def loudness(wave: Tensor, sample_rate: int, rows: int, columns: int) -> Tensor:
    """[S] -> [rows, columns] dB float32 on the CPU, 0 for a sine of amplitude 1: low frequencies first, evenly on the
    mel scale up to half the rate; each column in the middle of its share of the time."""
    wave = wave.detach().float().cpu()
    size = 2 ** max(4, round(math.log2(max(16, WINDOW * sample_rate))))
    hop = max(1, len(wave) // columns)
    window = torch.hann_window(size)
    padded = F.pad(wave, (size // 2, size // 2 + hop))
    seen = padded.unfold(0, size, hop)
    middles = (torch.arange(columns) + 0.5) * len(wave) / columns
    at = (middles / hop).round().long().clamp_max(len(seen) - 1)
    power = (torch.fft.rfft(seen[at] * window).abs() * 2 / window.sum()).square() / HANN
    return 10 * torch.log10((power @ bands(size, sample_rate, rows).T).clamp_min(FAINTEST)).T


def bands(size: int, sample_rate: int, rows: int) -> Tensor:
    """[rows, size / 2 + 1] weights of the bins in each row: triangles over the neighbours of its frequency, of one
    bin at the least."""
    top = mel(torch.tensor(sample_rate / 2))
    centres = hertz((torch.arange(rows) + 0.5) / rows * top)[:, None]
    widths = torch.diff(hertz(torch.arange(rows + 1) / rows * top))[:, None].clamp_min(sample_rate / size)
    bins = torch.arange(size // 2 + 1) * sample_rate / size
    return (1 - (bins - centres).abs() / widths).clamp_min(0)


def shares_of(levels: Tensor) -> Tensor:
    """dB -> 0..1: 1 for the loudest, 0 for RANGE below it and less."""
    return ((levels - levels.max()) / RANGE + 1).clamp(0, 1)
