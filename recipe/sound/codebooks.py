"""The tokens, computed: what the encoder is to find in a frame, and the codebooks, before any network is trained.

Every frame of every sound is one of a few hundred, since notes begin with frames and repeat in them. Its latent is its
projection on the principal axes of all of those; each book is k-means of what those before it leave. So a token says
the same wherever it stands, and network, decoder and encoder are trained on final tokens, at the same time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..files import save_whole
from .codec import BOOKS, CODES, WIDTH
from .melodies import HOP, combinations, every_sound, render

QUIET = 0.02  # of full scale; what is as quiet as that is silence
ROUNDS = 60
SOUNDS = 600  # whose frames are looked at


@dataclass(frozen=True)
class Books:
    """axes [HOP, D], codes [K, C, D]."""

    axes: Tensor
    codes: Tensor

    def latents(self, waves: Tensor) -> Tensor:
        """[B, 1, S] -> [B, T, D]."""
        return evened(waves.unflatten(2, (-1, HOP))[:, 0]) @ self.axes

    def tokens(self, latents: Tensor) -> Tensor:
        """[B, T, D] -> [B, K, T], the nearest codes of what is left."""
        left, found = latents, []
        for codes in self.codes:
            nearest = torch.cdist(left, codes[None]).argmin(-1)
            left = left - codes[nearest]
            found.append(nearest)
        return torch.stack(found, 1)

    def vectors(self, tokens: Tensor) -> Tensor:
        """[B, K, T] -> [B, D, T], as the decoder takes them."""
        return sum(codes[tokens[:, book]] for book, codes in enumerate(self.codes)).transpose(1, 2)


def evened(frames: Tensor) -> Tensor:
    """[..., HOP] -> the same at the square root of its loudness: what dies away is told as finely as what is loud."""
    loudness = frames.square().mean(-1, keepdim=True).sqrt()
    return frames / (loudness + QUIET).sqrt()


def different_frames(seed: int = 0) -> tuple[Tensor, Tensor]:
    """-> (frames [N, HOP] that differ, how often each occurs [N])."""
    rng = np.random.default_rng(seed)
    sounds = [sound for combination in combinations() for sound in every_sound(combination, loose=True)]
    chosen = rng.permutation(len(sounds))[:SOUNDS]
    frames = np.concatenate([render(sounds[index]).reshape(-1, HOP) for index in chosen])
    rounded, first, counts = np.unique(np.round(frames, 3), axis=0, return_index=True, return_counts=True)
    return torch.from_numpy(frames[first]), torch.from_numpy(counts)


def compute_books(seed: int = 0) -> Books:
    frames, counts = different_frames(seed)
    rows = evened(frames)
    weights = counts.float().sqrt()[:, None]
    axes = torch.linalg.svd(rows * weights, full_matrices=False).Vh[:WIDTH].T
    axes = axes / (rows @ axes).square().mean().sqrt()  # latents of ordinary size
    left, codes = rows @ axes, []
    generator = torch.Generator().manual_seed(seed)
    for _ in range(BOOKS):
        centres = k_means(left, weights, generator).half().float()  # as they are stored
        left = left - centres[torch.cdist(left, centres).argmin(1)]
        codes.append(centres)
    return Books(axes.contiguous(), torch.stack(codes))


def k_means(rows: Tensor, weights: Tensor, generator: torch.Generator) -> Tensor:
    """rows [N, D], weights [N, 1] -> CODES centres, begun far from each other (Arthur and Vassilvitskii 2007)."""
    centres = rows[torch.multinomial(weights[:, 0], 1, generator=generator)]
    while len(centres) < CODES:
        apart = torch.cdist(rows, centres).amin(1).square() * weights[:, 0] + 1e-12
        centres = torch.cat([centres, rows[torch.multinomial(apart, 1, generator=generator)]])
    for _ in range(ROUNDS):
        nearest = torch.cdist(rows, centres).argmin(1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, rows * weights)
        total = torch.zeros(CODES).index_add_(0, nearest, weights[:, 0])[:, None]
        centres = torch.where(total > 0, sums / total.clamp_min(1e-6), centres)
    return centres


def load_books(work: Path) -> Books:
    """The same for all parts of a training: from WORK, or computed and kept there."""
    path = work / "books.pt"
    if not path.exists():
        books = compute_books()
        save_whole(path, axes=books.axes, codes=books.codes)
    return Books(**torch.load(path, weights_only=True))
