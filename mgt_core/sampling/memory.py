"""What a run takes beside the weights."""

from collections.abc import Iterable

import torch

from ..backbones.base import WIDEST_ALIVE, Backbone
from ..conditioning.parts import ConditionInput, condition_parts
from ..model import MGTModel
from ..types import TokenState
from . import draws
from .guided import AT_ONCE


def activation_bytes(
    model: MGTModel, state: TokenState, evaluated: int, modifiers: int, at_once: bool, beside: int = 0
) -> int:
    """Rough peak of a step: the widest activations of the network, what patches hold and evaluate, the head in float32,
    and tables of logits, of all cells if `at_once` and otherwise of as many as are held at once.

    evaluated: conditions a step looks at. modifiers: how many act; one of them sorts its table at a time, and
    each may keep one. beside: rows of one picture that are no cells, see `Backbone.rows_beside`."""
    cells, size = state.tokens.numel(), model.dtype.itemsize
    network = model.network
    rows = cells // network.row_side**2 + beside * state.batch
    held = sum(patch.held_bytes(network, rows, evaluated, size) for patch in model.patches)
    held += network.attention_bytes(rows // state.batch, model.dtype, model.device)
    held += min(evaluated, AT_ONCE) * WIDEST_ALIVE * rows * network.widest * size
    evaluated += sum(patch.extra_passes for patch in model.patches)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    parts = draws.rows_held(model.codebook_size, device, evaluated)
    table = 4 * model.codebook_size * (cells if at_once else min(cells, max(parts, state.batch)))
    drawing = draws.DRAWING * 4 * model.codebook_size * min(cells, draws.rows_held(model.codebook_size, device))
    return held + head_bytes(network) + drawing + table * (evaluated + (4 + modifiers if modifiers else 0))


def step_bytes(
    model: MGTModel,
    state: TokenState,
    positive: ConditionInput | None,
    negative: ConditionInput | None,
    guidances: Iterable[float],
    keeps_logits: bool = False,
    at_once: bool = False,
) -> int:
    """The same of a run with these conditions, and of the model's companions, whose predictions are held beside its
    own. keeps_logits: of its sampler. at_once: whether all logits of a step are one table, beside what keeps them or
    looks at all positions."""
    evaluated = evaluated_at_once(positive, negative, guidances)
    at_once |= keeps_logits or any(each.all_positions or not each.by_rows for each in model.modifiers)
    parts = [part for condition in (positive, negative) for part in condition_parts(condition)]
    grid = tuple(state.tokens.shape[1:])

    def beside(network: Backbone) -> int:
        return max((network.rows_beside(part.condition, grid) for part in parts), default=0)

    own = activation_bytes(model, state, evaluated, len(model.modifiers) + keeps_logits, at_once, beside(model.network))
    others = (activation_bytes(each, state, evaluated, 0, at_once, beside(each.network)) for each in model.companions)
    return own + sum(others)


def evaluated_at_once(
    positive: ConditionInput | None, negative: ConditionInput | None, guidances: Iterable[float]
) -> int:
    """Conditions that a step looks at, at the most."""
    parts = [len(condition_parts(condition)) for condition in (positive, negative)]
    return sum(parts) if any(w not in (0, 1) for w in guidances) else max(parts)


def head_bytes(network: Backbone) -> int:
    """Of the float32 copies of what the head applies, where it has another type."""
    own = (value for name, value in network.named_parameters() if name.startswith(network.widened))
    return sum(4 * value.numel() for value in own if value.dtype != torch.float32)
