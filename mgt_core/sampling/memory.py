"""What a run takes beside the weights."""

from ..backbones.base import WIDEST_ALIVE
from ..model import MGTModel
from ..types import TokenState
from . import draws
from .guided import AT_ONCE


def activation_bytes(model: MGTModel, state: TokenState, evaluated: int, modifiers: int, at_once: bool) -> int:
    """Rough peak of a step: the widest activations of the network, what patches hold and evaluate, and tables of
    logits, of all cells if `at_once` and otherwise of ROWS of them.

    evaluated: conditions a step looks at. modifiers: how many act; one of them sorts its table at a time, and
    each may keep one."""
    cells, size = state.tokens.numel(), model.dtype.itemsize
    network = model.network
    rows = cells // network.row_side**2
    held = sum(patch.held_bytes(network, rows, evaluated, size) for patch in model.patches)
    held += min(evaluated, AT_ONCE) * WIDEST_ALIVE * rows * network.widest * size
    evaluated += sum(patch.extra_passes for patch in model.patches)
    table = 4 * model.codebook_size * (cells if at_once else min(cells, max(draws.ROWS, state.batch)))
    drawing = 3 * 4 * model.codebook_size * min(cells, draws.ROWS)  # softmax, and its sum in float64
    return held + drawing + table * (evaluated + (4 + modifiers if modifiers else 0))
