"""Whether stored numbers are numbers."""

import torch
from torch import Tensor

BYTES = {torch.float8_e4m3fn: 0x7E, torch.float8_e5m2: 0x7B}  # the largest finite one of a type of a byte, without sign


def numbers_fit(values: Tensor, dtype: torch.dtype) -> bool:
    """Whether all of `values` are finite, and stay so as `dtype`. Costs a pass over memory, half of what a copy does:
    for extremes alone, which what is not a number spoils."""
    if not values.numel() or not values.is_floating_point():
        return True
    if values.dtype in BYTES and dtype in (values.dtype, torch.float32, torch.bfloat16):
        return int(values.view(torch.uint8).bitwise_and(0x7F).max()) <= BYTES[values.dtype]
    if values.itemsize == 1:
        values = values.float()
    limit = torch.finfo(dtype).max
    low, high = (float(end) for end in values.aminmax())
    return -limit <= low and high <= limit
