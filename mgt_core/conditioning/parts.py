"""Several conditions at once, each in a part of the picture and of the run.

What they predict is averaged, cell by cell, as diffusion samplers do with the predictions of several
prompts (composable diffusion, arXiv 2206.01714); here it is the logits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import MGTError, finite_number
from ..interval import check_interval, in_interval
from ..settings import hold
from ..types import Condition

LARGEST_WEIGHT = 1000.0


@dataclass(frozen=True)
class ConditionPart:
    """A condition, where it counts and when.

    weight: a number, or a table [1 or B, h, w] over the token grid, 0 or more; only its ratio to the
    weights of the others matters. It acts at step k of T when start <= k / T < end.
    """

    condition: Condition
    weight: float | Tensor = 1.0
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self):
        start, end = check_interval("condition", self.start, self.end)
        hold(self, start=start, end=end)
        if not isinstance(self.weight, Tensor) or not self.weight.ndim:
            hold(self, weight=finite_number("condition weight", self.weight, 0, LARGEST_WEIGHT))
        elif self.weight.ndim != 3 or not bool(((self.weight >= 0) & (self.weight <= LARGEST_WEIGHT)).all()):
            raise MGTError(
                f"condition weight is a table of shape {list(self.weight.shape)}; expected [batch, height, width] "
                f"with values from 0 to {LARGEST_WEIGHT:g}"
            )

    def check(self, batch: int, grid: tuple[int, int], role: str, counted: str = "images") -> None:
        """Raises MGTError when its table of weights is none for `batch` images, or what is `counted`, on `grid`."""
        if isinstance(self.weight, Tensor) and (
            self.weight.shape[0] not in (1, batch) or tuple(self.weight.shape[1:]) != grid
        ):
            raise MGTError(
                f"the {role} condition has weights of shape {list(self.weight.shape)} for {batch} {counted} of "
                f"{grid[0]} x {grid[1]} tokens; give one table for all or one for each"
            )


@dataclass(frozen=True)
class Conditions:
    """Parts that stand together for the positive or the negative condition.

    A cell that none of them reaches at a step takes the prediction of the other side, so that guidance
    does nothing there; a cell that neither side reaches is refused before the run.
    """

    parts: tuple[ConditionPart, ...]

    def __post_init__(self):
        if not self.parts or not all(isinstance(part, ConditionPart) for part in self.parts):
            raise MGTError(f"conditions are {self.parts!r}; expected one or more ConditionPart")

    def map(self, change: Callable[[Condition], Condition]) -> "Conditions":
        return Conditions(tuple(replace(part, condition=change(part.condition)) for part in self.parts))

    def to(self, device: torch.device | str) -> "Conditions":
        return self.map(lambda condition: condition.to(device))


ConditionInput = Condition | Conditions


def condition_parts(given: ConditionInput | None) -> tuple[ConditionPart, ...]:
    if given is None:
        return ()
    return given.parts if isinstance(given, Conditions) else (ConditionPart(given),)


def acting(parts: Sequence[ConditionPart], index: int, total: int) -> tuple[int, ...]:
    """Which of them act at step `index` of `total`."""
    return tuple(i for i, part in enumerate(parts) if in_interval(part.start, part.end, index, total))


def unreached(parts: Sequence[ConditionPart]) -> Tensor:
    """Bool, broadcasting over [B, h, w]: cells that none of the parts gives a weight."""
    reached = torch.zeros(1, 1, 1, dtype=torch.bool)
    for part in parts:
        reached = reached | (torch.as_tensor(part.weight).cpu() > 0)
    return ~reached


def unreached_by_step(given: ConditionInput | None, steps: Sequence[tuple[int, int]]) -> list[Tensor]:
    """`unreached` at each of `steps`, (index, total); all cells when nothing is given."""
    parts, known = condition_parts(given), {}
    chosen = [acting(parts, index, total) for index, total in steps]
    for active in set(chosen):
        known[active] = unreached([parts[i] for i in active])
    return [known[active] for active in chosen]


def weighted_mean(tables: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """Mean of tables [B, M, V] with weights broadcasting over [B, M]; 0 where all weights are 0."""
    total = sum(weights)
    mean = sum(table * weight[..., None] for table, weight in zip(tables, weights, strict=True))
    return mean / torch.where(total > 0, total, 1.0)[..., None]
