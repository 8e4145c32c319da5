"""Errors that a model can have: wrappers of a truth, or of another of them, each of one kind and with a size.

What corrects a model can be told from what corrects decoding: the first helps against an error here, the second with
the exact truth.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import MGTError
from ..sampling.draws import cpu_generator
from ..settings import Settings, number, share, whole
from ..types import UNCONDITIONAL
from .truth import Predictor


class Wrong(Predictor):
    """What an error makes of the predictor `right`."""

    def __init__(self, right: Predictor, error: "ModelError"):
        self.grid, self.codes, self.classes = right.grid, right.codes, right.classes
        self.right, self.error = right, error

    def logits(self, tokens: Tensor, labels: Tensor) -> Tensor:
        return self.error.spoil(self.right, tokens, labels)


@dataclass(frozen=True)
class ModelError(Settings, ABC):
    """Settings of an error. With its neutral settings the predictor stays right."""

    @abstractmethod
    def spoil(self, right: Predictor, tokens: Tensor, labels: Tensor) -> Tensor:
        """[B, N, V] logits in place of those of `right`, for the same tokens [B, N] and labels [B]."""


def spoiled(right: Predictor, errors: Sequence[ModelError]) -> Predictor:
    """`right` with errors, the first one the innermost."""
    for error in errors:
        if not isinstance(error, ModelError):
            raise MGTError(f"a model error is {error!r}; expected a ModelError")
        right = Wrong(right, error)
    return right


@dataclass(frozen=True)
class LogitNoise(ModelError):
    """Gaussian noise on the logits, a fixed function of what the network is given, as a network's errors are.

    scale: its standard deviation. lasting: the share of its variance that is the same for every context, a preference
    for some codes in some cells; the rest is another number in every context.
    """

    neutral = {"scale": 0.0}

    scale: float = number(0.5, 0, 100, "logit noise scale")
    lasting: float = share(0.0, "lasting share of logit noise")
    seed: int = whole(0, 0, 2**32, "logit noise seed")

    def spoil(self, right: Predictor, tokens: Tensor, labels: Tensor) -> Tensor:
        logits = right.logits(tokens, labels)
        generator = cpu_generator(self.seed)
        kept = torch.randn(right.cells, right.codes, generator=generator)
        marks = torch.randint(2**62, (right.cells, right.codes + 1), generator=generator)
        context = marks[torch.arange(right.cells), tokens].sum(1) + labels * marks[0, 0]
        places = torch.arange(right.cells * right.codes).reshape(right.cells, right.codes)
        passing = hashed_normal(context[:, None, None] + places * SPREAD)
        return logits + self.scale * (math.sqrt(self.lasting) * kept + math.sqrt(1 - self.lasting) * passing)


SPREAD = -7046029254386353131  # 2^64 / golden ratio, odd, as a signed number


def hashed_normal(numbers: Tensor) -> Tensor:
    """A standard normal value for each int64 number, float32: the finalizer of SplitMix64 (Steele, Lea and Flood 2014),
    then the inverse of the normal law."""
    for shift, factor in ((30, -4658895280553007687), (27, -7723592293110705685)):
        numbers = (numbers ^ (numbers >> shift) & (2 ** (64 - shift) - 1)) * factor
    uniform = ((numbers ^ (numbers >> 31) & (2**33 - 1)) & (2**52 - 1)).double().add(0.5) / 2**52
    return (math.sqrt(2) * torch.erfinv(2 * uniform - 1)).float()


@dataclass(frozen=True)
class Smoothed(ModelError):
    """Conditionals mixed with the even distribution over codes: (1 - share) p + share / V, as label smoothing and too
    little training leave them."""

    neutral = {"share": 0.0}

    share: float = share(0.1, "smoothing share")

    def spoil(self, right: Predictor, tokens: Tensor, labels: Tensor) -> Tensor:
        chances = right.logits(tokens, labels).softmax(-1)
        return torch.log((1 - self.share) * chances + self.share / right.codes)


@dataclass(frozen=True)
class Reach(ModelError):
    """Blindness to far cells: a cell is predicted from the known ones at most `cells` rows and columns from its own
    block of `block` x `block` cells (block 1: from itself), exactly; the others count as masked.

    It costs an evaluation of the predictor for every block.
    """

    neutral = {"cells": 256}

    cells: int = whole(2, 0, 256, "reach in cells")
    block: int = whole(1, 1, 256, "block of a reach")

    def spoil(self, right: Predictor, tokens: Tensor, labels: Tensor) -> Tensor:
        height, width = right.grid
        if self.cells >= max(height, width):
            return right.logits(tokens, labels)
        rows, columns = torch.arange(height)[:, None].expand(right.grid), torch.arange(width).expand(right.grid)
        logits = torch.empty(*tokens.shape, right.codes)
        for top in range(0, height, self.block):
            for left in range(0, width, self.block):
                (own, seen) = (
                    self._near(rows, top, reach) & self._near(columns, left, reach) for reach in (0, self.cells)
                )
                masked = tokens.masked_fill(~seen.flatten(), right.mask_id)
                own = own.flatten()
                logits[:, own] = right.logits(masked, labels)[:, own]
        return logits

    def _near(self, places: Tensor, first: int, reach: int) -> Tensor:
        return (places >= first - reach) & (places < first + self.block + reach)


@dataclass(frozen=True)
class WeakCondition(ModelError):
    """A class that is heeded too little: l_u + heed (l_c - l_u) in place of l_c, so that guidance of 1 / heed is what
    undoes it. heed 0 ignores the class; above 1 it is overdone."""

    neutral = {"heed": 1.0}

    heed: float = number(0.5, 0, 10, "heed of the condition")

    def spoil(self, right: Predictor, tokens: Tensor, labels: Tensor) -> Tensor:
        free = right.logits(tokens, torch.full_like(labels, UNCONDITIONAL))
        return torch.lerp(free, right.logits(tokens, labels), self.heed)


@dataclass(frozen=True)
class WrongTarget(ModelError):
    """A guidance target that is wrong: what stands for no class is not the mixture of the classes but, for a share of
    it in the logits, the even distribution over codes, so that guidance pushes away from the wrong thing."""

    neutral = {"share": 0.0}

    share: float = share(0.5, "share of a wrong guidance target")

    def spoil(self, right: Predictor, tokens: Tensor, labels: Tensor) -> Tensor:
        kept = torch.where(labels == UNCONDITIONAL, 1 - self.share, 1.0)
        return right.logits(tokens, labels) * kept[:, None, None]
