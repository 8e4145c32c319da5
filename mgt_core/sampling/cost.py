"""What a step of a run costs, said before it begins: memory that a device has not, or time out of proportion."""

from collections.abc import Iterable

from ..conditioning.parts import ConditionInput
from ..model import MGTModel
from ..types import PICTURES, SOUND, TokenState
from . import memory
from .stages import row_of

SLOWER = 10  # times a step at the trained size, from which on it is said
INSTEAD = {PICTURES: "make a smaller picture, or fewer at once", SOUND: "make a shorter sound, or fewer at once"}


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
    if model.in_stages:
        model, state = model.at_stage(0, state.tokens), row_of(state, 0)
    needed = memory.step_bytes(model, state, positive, negative, guidances)
    notes = memory_note(model, state, needed), time_note(model, state)
    return "; ".join(filter(None, notes)) or None


def memory_note(model: MGTModel, state: TokenState, needed: int) -> str | None:
    return model.room().note(needed, f"a step at {model.told_size(state.grid)}", INSTEAD[model.makes])


def time_note(model: MGTModel, state: TokenState) -> str | None:
    if model.makes == PICTURES and model.trained_size is None:
        return None
    trained = model.network.trained_grid
    if model.trained_size is not None:
        trained = tuple(side // model.pixels_per_token for side in model.trained_size)
    longer = work(model, state.grid) / work(model, trained)
    if longer < SLOWER:
        return None
    times = f"{float(f'{longer:.1g}'):,.0f}"
    return f"a step at {model.told_size(state.grid)} takes about {times} times as long as at {model.told_size(trained)}"


def work(model: MGTModel, grid: tuple[int, int]) -> float:
    """Of one picture, in any unit: layers grow with its rows, attention with their square. A block of width C has
    about 12 C^2 weights, and its attention multiplies 2 C numbers for every pair of rows."""
    rows = grid[0] * grid[1] / model.network.row_side**2
    return rows * (1 + rows / (6 * max(model.network.row_width, 1)))
