"""Rewards without weights, of pictures and of grids of the laboratory."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from mgt_core.lab.truth import Truth
from mgt_core.rewards.base import Reward


@dataclass(frozen=True)
class Redness(Reward):
    """How much redder than grey a picture is, on average. seen: sizes of what was scored, with the images."""

    neutral = None

    seen: list = field(default_factory=list, repr=False, compare=False)

    def score(self, pictures: Tensor, images: Sequence[int]) -> Tensor:
        assert pictures.ndim == 4 and pictures.shape[-1] == 3 and 0 <= pictures.min() and pictures.max() <= 1
        self.seen.append(list(images))
        return (pictures[..., 0] - pictures.mean(-1)).mean((1, 2))


@dataclass(frozen=True)
class Told(Reward):
    """Whatever `values` says, a tensor or number for every picture."""

    neutral = None

    values: object = 0.0

    def score(self, pictures: Tensor, images: Sequence[int]) -> Tensor:
        return torch.as_tensor(self.values).expand(len(pictures))


@dataclass(frozen=True)
class OfGrids(Reward):
    """A number for each grid of a small truth, by its number."""

    neutral = None

    truth: Truth = field(repr=False)
    table: Tensor = field(repr=False)

    def score(self, pictures: Tensor, images: Sequence[int]) -> Tensor:
        return self.table[self.truth.number_of(pictures[..., 0].flatten(1).long())]


class GridPictures:
    """A codec whose pictures show the ids themselves."""

    def decode(self, tokens: Tensor) -> Tensor:
        return tokens[..., None].expand(-1, -1, -1, 3).float()


def seen_as_grids(model):
    return replace(model, codec=GridPictures())
