"""A truth that is filled a row after the other, as the code books of sound are, and exact in each of its stages."""

import math

import torch
from torch import Tensor

from ..errors import MGTError, finite_number
from ..model import MGTModel
from .backbone import DEFAULTS, LabBackbone
from .chain import summed_along
from .truth import Predictor, Truth, checked_sizes, draw_rows


class Books(Truth):
    """Rows of cells, each of which depends on the one before it in its row and on the one above it: with probability
    `beside` it has the code of the first, with `above` that of the second, and otherwise any code, each as likely.
    Where there is no such cell, any code stands for it.

    Given the row above, a row is a chain. So its conditionals are exact while the rows above it are known and those
    below say nothing, which is when its stage comes: `at_row`. As a whole it knows no conditionals.
    """

    def __init__(self, grid: tuple[int, int] = (4, 32), codes: int = 8, beside: float = 0.5, above: float = 0.3):
        self.grid, self.codes, self.classes = checked_sizes(grid, codes, 1)
        beside, above = finite_number("beside", beside, 0, 1), finite_number("above", above, 0, 1)
        if beside + above >= 1:
            raise MGTError(f"beside and above are {beside} and {above}; accepted are shares that leave some to chance")
        same, even = torch.eye(codes, dtype=torch.float64), 1 / codes
        law = beside * same[None, :, :] + above * same[:, None, :] + (1 - beside - above) * even
        one, none = law.mean(0), law.mean(1)  # nothing above: the mean over what could be; nothing before likewise
        # [V + 1, V + 1, V]: above, before, code; the last of each stands for no such cell.
        rows = torch.cat([law, none[:, None]], 1)
        self.law = torch.cat([rows, torch.cat([one, one.mean(0, keepdim=True)])[None]])

    def laws(self, above: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
        """Of a row below `above` [B, T], or of the first one: its first cell [B, V], and its steps [B, T - 1, V, V]."""
        none = torch.full((count, self.grid[1]), self.codes)
        over = self.law[none if above is None else above]  # [B, T, V + 1, V]
        return over[:, 0, -1], over[:, 1:, :-1]

    def at_row(self, row: int, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """tokens [B, K, T] -> logits [B, T, V] float32 of a row's cells from the others in it that are known and the
        row above, and log p [B] float64 of those that are known. Raises MGTError where the row above is not known."""
        above = tokens[:, row - 1] if row else None
        if above is not None and bool((above == self.mask_id).any()):
            raise MGTError(f"row {row} of books is asked for before the row above it is known")
        first, steps = self.laws(above, len(tokens))
        said = torch.cat([torch.eye(self.codes), torch.ones(1, self.codes)]).double()[tokens[:, row]]
        forward = summed_along(first, said, steps)
        backward = summed_along(torch.ones_like(first), said.flip(1), steps.flip(1).mT).flip(1)
        known = forward[:, -1].masked_fill(said[:, -1] == 0, -math.inf).logsumexp(-1)
        return (forward + backward).log_softmax(-1).float(), known

    def logits(self, tokens: Tensor, labels: Tensor) -> Tensor:
        raise MGTError("books are exact a row after the other alone; run them by books_model")

    def log_probability(self, tokens: Tensor, labels: Tensor) -> Tensor:
        """Of rows that are known from the first one on. Raises MGTError where one is known below one that is not."""
        shaped = tokens.unflatten(1, self.grid)
        rows = [row for row in range(self.grid[0]) if bool((shaped[:, row] != self.mask_id).any())]
        return sum((self.at_row(row, shaped)[1] for row in rows), torch.zeros(len(tokens), dtype=torch.float64))

    def draw(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        rows: list[Tensor] = []
        none = torch.full((len(labels),), self.codes)
        for _ in range(self.grid[0]):
            cells = [none]
            for column in range(self.grid[1]):
                over = rows[-1][:, column] if rows else none
                cells.append(draw_rows(self.law[over, cells[-1]], generator))
            rows.append(torch.stack(cells[1:], 1))
        return torch.cat(rows, 1)


class BookRow(Predictor):
    """One row of books, beside the others as they are. tokens: [B, K, T]."""

    def __init__(self, books: Books, row: int, tokens: Tensor):
        self.books, self.row, self.tokens = books, row, tokens
        self.grid, self.codes, self.classes = (1, books.grid[1]), books.codes, books.classes

    def logits(self, tokens: Tensor, labels: Tensor) -> Tensor:
        held = self.tokens.cpu().repeat(len(tokens) // len(self.tokens), 1, 1)  # the images once for each condition
        held[:, self.row] = tokens
        return self.books.at_row(self.row, held)[0]


class BooksBackbone(LabBackbone):
    """Fills its rows one after the other, each in as many steps."""

    supports = frozenset({"stages"})
    predictor: Books

    @property
    def stage_shares(self) -> tuple[int, ...]:
        return (1,) * self.predictor.grid[0]

    def at_stage(self, stage: int, tokens: Tensor) -> "RowBackbone":
        return RowBackbone(BookRow(self.predictor, stage, tokens))


class RowBackbone(LabBackbone):
    """One stage of it."""

    predictor: BookRow

    def each_repeated(self, times: int) -> "RowBackbone":
        own = self.predictor
        return RowBackbone(BookRow(own.books, own.row, own.tokens.repeat_interleave(times, 0)))


def books_model(books: Books) -> MGTModel:
    """Books as `sample` takes them, without errors: those ask for conditionals of the whole."""
    if not isinstance(books, Books):
        raise MGTError(f"books_model was given {type(books).__name__}; expected Books")
    return MGTModel(BooksBackbone(books), pixels_per_token=1, defaults=DEFAULTS)
