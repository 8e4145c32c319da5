"""Tokens of sounds, with their captions as the text encoder gives them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..files import save_whole
from .codebooks import load_books
from .melodies import Sound, caption, combinations, draw, is_held_out, render
from .text import encode

AT_ONCE = 32
OPEN = (True, False)  # whether a caption tells the tempo


@dataclass(frozen=True)
class Bank:
    """tokens [N, K, T]; combination [N], rows of the captions; hidden [C, 2, L, D] and shown [C, 2, L] of each caption,
    with the tempo and without."""

    tokens: Tensor
    combination: Tensor
    hidden: Tensor
    shown: Tensor


def captions_of(combination: tuple[str, str, str]) -> list[str]:
    melody, timbre, tempo = combination
    return [caption(melody, timbre, tempo * told) for told in OPEN]


def tokens_of(work: Path, sounds: list[Sound]) -> Tensor:
    """-> [N, K, T]."""
    books, found = load_books(work), []
    for start in range(0, len(sounds), AT_ONCE):
        waves = torch.from_numpy(np.stack([render(sound) for sound in sounds[start : start + AT_ONCE]]))[:, None]
        found.append(books.tokens(books.latents(waves)))
    return torch.cat(found)


def build_bank(work: Path, count: int, *, held_out: bool = False, seed: int = 0) -> Bank:
    """The same for the same codec, from WORK if it is there; as many sounds of each combination as of any other."""
    path = work / ("bank_held_out.pt" if held_out else "bank.pt")
    if not path.exists():
        rng, known = np.random.default_rng(seed), combinations()
        rows = [row for row, combination in enumerate(known) if is_held_out(combination) == held_out]
        rows = [rows[place % len(rows)] for place in range(count)]
        tokens = tokens_of(work, [draw(rng, known[row]) for row in rows])
        hidden, shown = encode([text for combination in known for text in captions_of(combination)])
        shape = (len(known), len(OPEN))
        save_whole(
            path,
            tokens=tokens,
            combination=torch.tensor(rows),
            hidden=hidden.unflatten(0, shape),
            shown=shown.unflatten(0, shape),
        )
    return Bank(**torch.load(path, weights_only=True))
