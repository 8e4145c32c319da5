"""What is heard in a sound: the nearest of all that the recipe can make, by the spectra of its frames.

It hears waves only, and nothing in it was fitted to generated ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from .melodies import HOP, Sound, combinations, every_sound, render

BINS = 80  # of the spectrum, 50 Hz each
AT_ONCE = 64


@dataclass(frozen=True)
class Verdict:
    """sound: the nearest. residual: 0 where the wave is that sound, 1 where it is as far from it as silence."""

    sound: Sound
    residual: float

    def agrees(self, combination: tuple[str, str, str]) -> dict[str, bool]:
        heard = (self.sound.melody, self.sound.timbre, self.sound.tempo)
        right = dict(zip(("melody", "instrument", "tempo"), map(lambda a, b: a == b, heard, combination)))
        return right | {"all three": heard == combination}


def features(waves: Tensor) -> Tensor:
    """[N, frames * HOP] -> [N, frames * BINS], square roots of magnitudes."""
    frames = waves.unflatten(1, (-1, HOP)) * torch.hann_window(HOP)
    spectra = torch.fft.rfft(frames).abs()[..., 1:]
    return spectra.unflatten(-1, (BINS, -1)).mean(-1).sqrt().flatten(1)


@cache
def known() -> tuple[list[Sound], Tensor]:
    """Every sound there is, and its features."""
    sounds = [sound for combination in combinations() for sound in every_sound(combination)]
    parts = []
    for start in range(0, len(sounds), AT_ONCE):
        parts.append(features(torch.from_numpy(np.stack([render(sound) for sound in sounds[start : start + AT_ONCE]]))))
    return sounds, torch.cat(parts)


def judge(waves: Tensor) -> list[Verdict]:
    """[N, samples]; what is shorter than the known sounds is compared with their beginnings."""
    sounds, table = known()
    heard = features(waves)
    table = table[:, : heard.shape[1]]
    apart = torch.cdist(heard, table, compute_mode="use_mm_for_euclid_dist").square()
    nearest = apart.argmin(1)
    loudness = table.square().sum(1)[nearest]
    residuals = apart.gather(1, nearest[:, None])[:, 0] / loudness
    return [Verdict(sounds[index], residual) for index, residual in zip(nearest.tolist(), residuals.tolist())]


def interval(right: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's, 95 %."""
    share, spread = right / count, z * z / count
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return middle - half, middle + half


def scores(waves: Tensor, asked: list[tuple[str, str, str]]) -> dict:
    """How often each word of the caption is heard, with intervals, and the mean residual."""
    verdicts = judge(waves)
    agreed = [verdict.agrees(combination) for verdict, combination in zip(verdicts, asked, strict=True)]
    figures: dict = {}
    for name in agreed[0]:
        right = sum(agreement[name] for agreement in agreed)
        low, high = interval(right, len(agreed))
        figures[name] = f"{right} of {len(agreed)} ({100 * low:.1f} to {100 * high:.1f} %)"
    return figures | {"residual": round(float(np.mean([verdict.residual for verdict in verdicts])), 3)}
