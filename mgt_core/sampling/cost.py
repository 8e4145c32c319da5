"""What a step of a run costs, said before it begins: memory that a device has not, or time out of proportion."""

from collections.abc import Iterable

from ..conditioning.parts import ConditionInput
from ..model import MGTModel
from ..types import TokenState
from . import memory

SLOWER = 10  # times a step at the trained size, from which on it is said
INSTEAD = "make a smaller picture, or fewer at once"


def step_note(
    model: MGTModel,
    state: TokenState,
    positive: ConditionInput | None,
    negative: ConditionInput | None,
    guidances: Iterable[float],
) -> str | None:
    """One sentence for a run whose steps take more memory than is free, or far longer than at the trained size.

    Raises MGTError where the device can never have that memory."""
    if not bool(state.to_fill.any()):
        return None
    needed = memory.step_bytes(model, state, positive, negative, guidances)
    notes = memory_note(model, state, needed), time_note(model, state)
    return "; ".join(filter(None, notes)) or None


def memory_note(model: MGTModel, state: TokenState, needed: int) -> str | None:
    return model.room().note(needed, f"a step at {size_of(model, state.grid)}", INSTEAD)


def time_note(model: MGTModel, state: TokenState) -> str | None:
    if model.trained_size is None:
        return None
    trained = tuple(side // model.pixels_per_token for side in model.trained_size)
    longer = work(model, state.grid) / work(model, trained)
    if longer < SLOWER:
        return None
    times = f"{float(f'{longer:.1g}'):,.0f}"
    return f"a step at {size_of(model, state.grid)} takes about {times} times as long as at {size_of(model, trained)}"


def work(model: MGTModel, grid: tuple[int, int]) -> float:
    """Of one picture, in any unit: layers grow with its rows, attention with their square. A block of width C has
    about 12 C^2 weights, and its attention multiplies 2 C numbers for every pair of rows."""
    rows = grid[0] * grid[1] / model.network.row_side**2
    return rows * (1 + rows / (6 * max(model.network.row_width, 1)))


def size_of(model: MGTModel, grid: tuple[int, int]) -> str:
    height, width = (side * model.pixels_per_token for side in grid)
    return f"{width} x {height}"
