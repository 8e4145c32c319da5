"""A small Potts field: every conditional read from one table of sums."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..errors import MGTError, finite_number
from .truth import Estimate, Truth, checked_sizes, draw_rows, pick, with_mixture

MOST_SUMS = 2**27  # entries of the table, 4 bytes each


def neighbours(grid: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Pairs of cells that share a side."""
    height, width = grid
    for row in range(height):
        for column in range(width):
            cell = row * width + column
            if column + 1 < width:
                yield cell, cell + 1
            if row + 1 < height:
                yield cell, cell + width


class Potts(Truth):
    """p(x | c) proportional to exp(coupling * (neighbours that agree) + sum of bias[c, i, x_i]).

    The table holds, for each of the (V + 1)^N grids with known and masked cells, the log of the sum of p over all ways
    to fill the masked ones; a conditional is a difference of two of its entries.

    bias: [classes, N, V]; none for one class without preferences.
    Raises MGTError for a field whose table would be too large (4 x 4 cells hold 2 codes, 3 x 3 cells 4).
    """

    def __init__(
        self,
        grid: tuple[int, int] = (3, 3),
        codes: int = 2,
        coupling: float = 1.0,
        bias: Tensor | None = None,
    ):
        self.grid, codes, self.classes = checked_sizes(grid, codes, 1 if bias is None else len(bias))
        self.codes, coupling = codes, finite_number("coupling", coupling, -20, 20)
        bias = torch.zeros(1, self.cells, codes) if bias is None else bias
        if tuple(bias.shape[1:]) != (self.cells, codes):
            raise MGTError(
                f"the bias has shape {list(bias.shape)}; expected [classes, {self.cells}, {codes}], cells and codes"
            )
        sums = (codes + 1) ** self.cells
        if sums * (self.classes + 1) > MOST_SUMS:
            raise MGTError(
                f"the table of a {self.grid[0]} x {self.grid[1]} field with {codes} codes has {sums} sums for "
                f"each of its classes and for none; at most {MOST_SUMS} in all are held"
            )
        fields = [self._field(coupling, own.double()) for own in bias]
        self.full = with_mixture(torch.stack(fields))  # [classes + 1, V^N] float64
        self.table = torch.stack([self._sums(logs) for logs in self.full])  # [classes + 1, (V + 1)^N] float32
        self.strides = (codes + 1) ** torch.arange(self.cells)

    def _field(self, coupling: float, bias: Tensor) -> Tensor:
        """log p of every grid, [V^N] float64."""
        grids = self.every_grid()
        energy = bias[torch.arange(self.cells), grids].sum(1)
        for one, other in neighbours(self.grid):
            energy += coupling * (grids[:, one] == grids[:, other]).double()
        return energy - energy.logsumexp(0)

    def _sums(self, logs: Tensor) -> Tensor:
        """[V^N] -> [(V + 1)^N], the last entry of each axis the sum over the others."""
        table = logs.exp().reshape([self.codes] * self.cells)
        for axis in range(self.cells):
            table = torch.cat([table, table.sum(axis, keepdim=True)], axis)
        return table.log().float().flatten()

    def logits(self, tokens: Tensor, labels: Tensor) -> Tensor:
        # The grid's number with each cell in turn set to code 0, then to each code.
        without = (tokens * self.strides).sum(1, keepdim=True) - tokens * self.strides
        numbers = without[..., None] + self.strides[:, None] * torch.arange(self.codes)
        rows = pick(torch.arange(len(self.table)), labels)
        return self.table[rows[:, None, None], numbers].log_softmax(-1)

    def log_probability(self, tokens: Tensor, labels: Tensor) -> Tensor:
        rows = pick(torch.arange(len(self.table)), labels)
        if bool((tokens == self.mask_id).any()):
            return self.table[rows, (tokens * self.strides).sum(1)].double()
        return self.full[rows, self.number_of(tokens)]

    def draw(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        numbers = torch.empty_like(labels)
        for label in labels.unique():
            here = labels == label
            numbers[here] = draw_rows(pick(self.full, label[None]).exp().expand(int(here.sum()), -1), generator)
        return numbers[:, None] // self.codes ** torch.arange(self.cells) % self.codes

    def entropy(self, label: int = 0, draws: int = 0, seed: int = 0) -> Estimate:
        """Exact."""
        logs = pick(self.full, torch.tensor([label]))[0]
        return Estimate(-float((logs.exp() * logs).sum()))


def class_bias(grid: tuple[int, int], codes: int, strength: float) -> Tensor:
    """A bias with a class for every code, which favours that code in all cells by `strength`. [V, N, V]."""
    return strength * torch.eye(codes)[:, None].expand(-1, grid[0] * grid[1], -1)
