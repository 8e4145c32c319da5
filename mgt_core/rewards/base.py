"""What rewards share: pictures in, one number each out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..errors import MGTError
from ..settings import Settings
from ..shares import checked_shares


@dataclass(frozen=True)
class Reward(Settings, ABC):
    """Settings of a reward. Higher is better; what its numbers mean is its own matter."""

    neutral: ClassVar = None  # a reward changes nothing by itself

    @abstractmethod
    def score(self, pictures: Tensor, images: Sequence[int]) -> Tensor:
        """[n] float32, of pictures [n, H, W, 3] float in 0..1. images: for which image of the batch each of them is a
        candidate, counted from 0, for rewards that want something else of every image. Raises MGTError for images
        that it has nothing to say of."""


def checked_scores(what: str, scores: Tensor, count: int) -> Tensor:
    """[n] float32 on the CPU. Raises MGTError unless there is a finite number for each of `count` pictures."""
    scores = scores.detach().float().cpu()
    if scores.shape != (count,) or not bool(scores.isfinite().all()):
        raise MGTError(f"{what} gave {scores.flatten().tolist()[:3]} for {count} pictures; its weights are not usable")
    return scores


def places_of(what: str, held: int, images: Sequence[int]) -> list[int]:
    """Which of `held` entries belongs to each of the images: one serves all. Raises MGTError for an image beyond."""
    if held == 1:
        return [0] * len(images)
    if (most := max(images, default=0)) >= held:
        raise MGTError(f"{what} are {held}, and the batch has an image {most + 1}; expected 1, or one for each image")
    return list(images)


def checked_mask(mask: Any) -> Tensor | None:
    """[m, h, w] float32 on the CPU, of one or several masks; None stays. Raises MGTError for anything else."""
    if mask is None:
        return None
    if not isinstance(mask, Tensor) or mask.ndim not in (2, 3) or not mask.numel():
        held = f"of shape {list(mask.shape)}" if isinstance(mask, Tensor) else repr(mask)
        raise MGTError(f"mask is {held}; expected one of shape [height, width] or [masks, height, width]")
    return checked_shares("mask", mask.detach().to("cpu", torch.float32).reshape(-1, *mask.shape[-2:]))
