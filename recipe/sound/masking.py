"""What a training step hides, as MAGNeT does: spans of one book, those before it known and those after it not."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .network import MASK_ID, SPAN

STAGE_SHARES = (0.6, 0.2, 0.1, 0.1)  # how often each book is asked for; the first has the melody
GIVEN_SHARE = 0.2  # of the sequences has a stretch whose later books are known, as when a sound is continued


@dataclass(frozen=True)
class Hidden:
    """tokens [B, K, T] with MASK_ID for what is not known; stages [B]; mask [B, T], cells of that book to be told."""

    tokens: Tensor
    stages: Tensor
    mask: Tensor


def hide(tokens: Tensor, generator: torch.Generator | None = None, stage: int | None = None) -> Hidden:
    """tokens [B, K, T]; stage: of all, or drawn by STAGE_SHARES."""
    batch, books, frames = tokens.shape
    if stage is None:
        stages = torch.multinomial(torch.tensor(STAGE_SHARES[:books]), batch, replacement=True, generator=generator)
    else:
        stages = torch.full((batch,), stage)
    mask = spans(batch, frames, generator)
    given = stretches(batch, frames, generator)
    mask &= ~given | ~(mask & ~given).any(1, keepdim=True)  # something is always hidden
    later = torch.arange(books)[:, None] > stages[:, None, None]
    hidden = later & ~(given & ~mask)[:, None]
    hidden |= (torch.arange(books)[:, None] == stages[:, None, None]) & mask[:, None]
    return Hidden(tokens.masked_fill(hidden, MASK_ID), stages, mask)


def spans(batch: int, frames: int, generator: torch.Generator | None = None) -> Tensor:
    """-> [B, T] bool: a share cos(pi/2 u) of the spans of SPAN frames, which begin at a shift of each sequence's own.

    u is spread evenly over the batch, which makes the loss less noisy.
    """
    count = -(-frames // SPAN) + 1
    u = (torch.randperm(batch, generator=generator) + torch.rand(batch, generator=generator)) / batch
    chosen = (torch.cos(u * math.pi / 2) * count).ceil().clamp(1, count)
    ranks = torch.rand(batch, count, generator=generator).argsort(1).argsort(1)
    shift = torch.randint(SPAN, (batch, 1), generator=generator)
    shift = torch.where(chosen[:, None] < 3, 0, shift)  # so that no mask lies outside the sequence as a whole
    place = (torch.arange(frames) + shift) // SPAN
    mask = (ranks < chosen[:, None]).gather(1, place)
    return mask | ~mask.any(1, keepdim=True)


def stretches(batch: int, frames: int, generator: torch.Generator | None = None) -> Tensor:
    """-> [B, T] bool, a stretch of up to two thirds of some sequences."""
    length = (torch.rand(batch, 1, generator=generator) * frames * 2 / 3).long()
    start = (torch.rand(batch, 1, generator=generator) * (frames - length)).long()
    chosen = torch.rand(batch, 1, generator=generator) < GIVEN_SHARE
    place = torch.arange(frames)
    return chosen & (place >= start) & (place < start + length)
