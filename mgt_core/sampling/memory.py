"""What a run takes beside the weights."""

import torch

from ..backbones.base import WIDEST_ALIVE, Backbone
from ..model import MGTModel
from ..types import TokenState
from . import draws
from .guided import AT_ONCE


def activation_bytes(model: MGTModel, state: TokenState, evaluated: int, modifiers: int, at_once: bool) -> int:
    """Rough peak of a step: the widest activations of the network, what patches hold and evaluate, the head in float32,
    and tables of logits, of all cells if `at_once` and otherwise of as many as are held at once.

    evaluated: conditions a step looks at. modifiers: how many act; one of them sorts its table at a time, and
    each may keep one."""
    cells, size = state.tokens.numel(), model.dtype.itemsize
    network = model.network
    rows = cells // network.row_side**2
    held = sum(patch.held_bytes(network, rows, evaluated, size) for patch in model.patches)
    held += min(evaluated, AT_ONCE) * WIDEST_ALIVE * rows * network.widest * size
    evaluated += sum(patch.extra_passes for patch in model.patches)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    parts = draws.rows_held(model.codebook_size, device, evaluated)
    table = 4 * model.codebook_size * (cells if at_once else min(cells, max(parts, state.batch)))
    drawing = draws.DRAWING * 4 * model.codebook_size * min(cells, draws.rows_held(model.codebook_size, device))
    return held + head_bytes(network) + drawing + table * (evaluated + (4 + modifiers if modifiers else 0))


def head_bytes(network: Backbone) -> int:
    """Of the float32 copies of what the head applies, where it has another type."""
    own = (value for name, value in network.named_parameters() if name.startswith(network.widened))
    return sum(4 * value.numel() for value in own if value.dtype != torch.float32)
