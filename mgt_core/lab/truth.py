"""What a truth is: a distribution over grids of codes that knows its own conditionals, whatever cells are known."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import MGTError, several, whole_number
from ..sampling.draws import cpu_generator
from ..types import UNCONDITIONAL

MOST_STATES = 2**21  # full grids that are listed at once
AT_ONCE = 1000  # grids whose log-probability is computed at once there
DRAWS = 20_000  # behind an entropy that has no closed form


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard error; an exact number has the error 0."""

    value: float
    error: float = 0.0

    @classmethod
    def of(cls, values: Tensor) -> "Estimate":
        """Mean of independent values [n]."""
        values = values.double()
        error = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.inf
        return cls(float(values.mean()), error)

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, by the normal law."""
        return self.value - 1.96 * self.error, self.value + 1.96 * self.error

    def minus(self, other: "Estimate") -> "Estimate":
        """Difference of two independent estimates."""
        return Estimate(self.value - other.value, math.hypot(self.error, other.error))

    def over(self, divisor: float) -> "Estimate":
        return Estimate(self.value / divisor, self.error / divisor)


class Predictor(ABC):
    """What stands in for a trained network: a table of logits for any grid that is partly masked.

    grid: (height, width) in cells, N of them. codes: V; the mask has the id V. classes: labels are 0 to classes - 1, or
    UNCONDITIONAL.
    """

    grid: tuple[int, int]
    codes: int
    classes: int

    @property
    def cells(self) -> int:
        return math.prod(self.grid)

    @property
    def mask_id(self) -> int:
        return self.codes

    @abstractmethod
    def logits(self, tokens: Tensor, labels: Tensor) -> Tensor:
        """tokens [B, N] long, labels [B] long -> [B, N, V] float32. The row of a cell that is known is the prediction
        from the other cells that are: what a network says of a visible token that it is asked to doubt."""


class Truth(Predictor):
    """A distribution over full grids, one for each class and their even mixture for UNCONDITIONAL.

    Its `logits` are log p(x_i = v | the known cells but i), normalized.
    """

    @abstractmethod
    def log_probability(self, tokens: Tensor, labels: Tensor) -> Tensor:
        """log p of the known cells of each grid, [B] float64; of the whole grid where none is masked."""

    @abstractmethod
    def draw(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Exact and independent draws, [B, N] long, one for each of `labels` [B]."""

    def entropy(self, label: int = 0, draws: int = DRAWS, seed: int = 0) -> Estimate:
        """In nats, of the whole grid: here the mean of -log p over exact draws."""
        labels = torch.full((draws,), label)
        tokens = self.draw(labels, cpu_generator(seed))
        parts = zip(tokens.split(AT_ONCE), labels.split(AT_ONCE), strict=True)
        return Estimate.of(-torch.cat([self.log_probability(*part) for part in parts]))

    @property
    def states(self) -> int:
        """Number of full grids, V^N."""
        return self.codes**self.cells

    def every_grid(self) -> Tensor:
        """[V^N, N] long; grid number s holds the digits of s in base V, the first cell the lowest. Raises MGTError
        where there are too many to list."""
        if self.states > MOST_STATES:
            raise MGTError(f"the truth has {self.codes}^{self.cells} grids; at most {MOST_STATES} are listed at once")
        return torch.arange(self.states)[:, None] // self.codes ** torch.arange(self.cells) % self.codes

    def number_of(self, tokens: Tensor) -> Tensor:
        """[B] long: the place of each full grid [B, N] in `every_grid`."""
        return (tokens * self.codes ** torch.arange(self.cells)).sum(1)

    def probabilities(self, label: int = 0) -> Tensor:
        """[V^N] float64 of every grid."""
        grids = self.every_grid()
        return self.log_probability(grids, torch.full((len(grids),), label)).exp()


def checked_sizes(grid: tuple[int, int], codes: int, classes: int) -> tuple[tuple[int, int], int, int]:
    """The same, as Python's own numbers. Raises MGTError for sizes that no truth has."""
    sides = several("grid", grid, "two numbers, height and width", 2)
    height, width = (
        whole_number(f"grid {n}", side, 1, 256) for n, side in zip(("height", "width"), sides, strict=True)
    )
    return (height, width), whole_number("codes", codes, 2, 65536), whole_number("classes", classes, 1, 1024)


def pick(table: Tensor, labels: Tensor) -> Tensor:
    """Rows [B, ...] of a table whose last row is that of UNCONDITIONAL."""
    return table[torch.where(labels == UNCONDITIONAL, len(table) - 1, labels)]


def with_mixture(logs: Tensor) -> Tensor:
    """Log-probabilities [C, ...] of the classes -> [C + 1, ...], the last those of their even mixture."""
    return torch.cat([logs, logs.logsumexp(0, keepdim=True) - math.log(len(logs))])


def draw_rows(probabilities: Tensor, generator: torch.Generator) -> Tensor:
    """One id from each row. [..., V] -> [...] long."""
    rows = probabilities.reshape(-1, probabilities.shape[-1]).double()
    cumulative = rows.cumsum(-1)
    uniform = torch.rand(len(rows), 1, dtype=torch.float64, generator=generator) * cumulative[:, -1:]
    ids = torch.searchsorted(cumulative, uniform, right=True)[:, 0].clamp_max(rows.shape[-1] - 1)
    return ids.reshape(probabilities.shape[:-1])
