"""Entropy temperature: sharpen unsure cells, soften sure ones."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..registry import MODIFIERS
from ..settings import number
from .base import RowModifier


def entropy(logits: Tensor) -> Tensor:
    """Entropy in nats of softmax(logits). [..., V] -> [...]."""
    p = logits.softmax(-1)
    return -torch.special.xlogy(p, p).sum(-1)


@MODIFIERS.register("entropy_temperature")
@dataclass(frozen=True)
class EntropyTemperature(RowModifier):
    """Logits of each cell divided by scale * exp(-H / decay) + floor, with H the entropy of the cell in
    nats; arXiv 2510.09012 (2.5, 3 and 0.7 there). scale 0 and floor 1 change nothing."""

    neutral = {"scale": 0.0, "floor": 1.0}

    scale: float = number(2.5, 0, 100, "entropy scale")
    decay: float = number(3.0, 0.01, 100, "entropy decay")
    floor: float = number(0.7, 0.01, 100, "entropy floor")

    def rows(self, logits: Tensor) -> Tensor:
        temperature = self.scale * torch.exp(-entropy(logits) / self.decay) + self.floor
        return logits / temperature[..., None]
