"""float32 times half-precision weights, as precise as in float32 and on the units that multiply half precision.

GPUs multiply half precision about ten times as fast as float32, add up in float32, and can give that sum. A float32
number is the sum of three bfloat16 ones, or of two float16 ones to within 2^-22; each product with a weight is
exact, so the sum of the products of the pieces is the product, but for the rounding of sums.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .widened import in_float32

PIECES = {torch.bfloat16: 3, torch.float16: 2}


def pieces(x: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """x float32 -> tensors of `dtype` whose sum it is, the largest first."""
    found = []
    for _ in range(PIECES[dtype]):
        found.append(x.to(dtype))
        x = x - found[-1]  # exact: what a piece leaves fits into float32
    return found


def wide_linear(x: Tensor, weight: Tensor) -> Tensor:
    """x [..., K] times weight [N, K], of which further dimensions are 1 -> [..., N], computed in the type of x."""
    if x.dtype != torch.float32 or weight.dtype == x.dtype:
        return F.linear(x, weight.flatten(1))
    if not (x.is_cuda and weight.dtype in PIECES and x.numel() and gives_float32()):
        return F.linear(x, in_float32(weight).flatten(1))
    return by_pieces(x.flatten(0, -2), weight.flatten(1).T, torch.mm).unflatten(0, x.shape[:-1])


def by_pieces(x: Tensor, weight: Tensor, mm: Callable[..., Tensor]) -> Tensor:
    """[M, K] float32 times [K, N] in half precision -> [M, N] float32, by `mm` as torch's is on CUDA."""
    first, *others = (mm(piece, weight, out_dtype=torch.float32) for piece in pieces(x, weight.dtype))
    for other in others:
        first += other
    return first


def gives_float32() -> bool:
    """Whether torch can give the float32 sum of a product of half precision: 2.8 can, on CUDA."""
    return "dtype" in torch.ops.aten.mm.overloads() and torch.version.hip is None
