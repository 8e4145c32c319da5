"""An order that favours no place of the grid."""

import torch
from torch import Tensor


def spread(count: int) -> Tensor:
    """[count] float in 0..1 such that any stretch of them is even: multiples of the golden ratio, modulo 1."""
    return torch.arange(count) * 0.6180339887 % 1
