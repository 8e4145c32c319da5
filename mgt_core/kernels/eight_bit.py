"""Linear layers of 8-bit codes by torch's own products: `_int_mm` for int8, `_scaled_mm` for fp8 (e4m3).

Codes stand for `codes * scale`. Where torch has no product for a machine or a shape, or it fails when tried, the same
is computed in floats. What torch (2.4 to 2.13) takes is read from its sources, ATen's native/cuda/Blas.cpp and what
became of it:

- int8 on CUDA: compute capability 7.5 and up, more than 16 rows of `codes` (fewer are padded), both sides of the
  weight multiples of 8. On a CPU: nearly any shape; with AVX-512 VNNI alone, since others are slow, or before
  torch 2.6 wrong (oneDNN's sums of pairs overflow).
- fp8 on CUDA: 8.9 and up, both sides of the weight multiples of 16. Scales by row in the same kernel take bfloat16
  outputs, and a kernel that came to each generation in its time, never to Windows. A CPU's is no faster than float32.
- ROCm: none; its codes differ (e4m3fnuz), and its int8 product is slower than that of halves.
"""

import logging
import sys
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

log = logging.getLogger(__name__)

FP8 = torch.float8_e4m3fn
ROWS = 32  # of codes, at least, on CUDA
LONGEST = 2**17  # row of int8 codes whose sums int32 surely holds
BY_ROW = {9: (2, 6), 8: (2, 7), 10: (2, 9), 12: (2, 9)}  # first torch with fp8 scales by row, by generation


@dataclass(frozen=True)
class Machine:
    """What decides which products there are. kind: of a device. capability: of a CUDA device. version: of torch. vnni:
    of a CPU. hip: whether "cuda" is ROCm."""

    kind: str
    capability: tuple[int, int] = (0, 0)
    version: tuple[int, int] = (2, 4)
    vnni: bool = False
    hip: bool = False
    windows: bool = False

    @classmethod
    @cache
    def of(cls, device: torch.device) -> "Machine":
        numbers = torch.__version__.split("+")[0].split(".")
        vnni = getattr(torch.cpu, "_is_vnni_supported", None)  # older ones do not say
        return cls(
            device.type,
            capability(device),
            (int(numbers[0]), int(numbers[1])),
            device.type == "cpu" and vnni is not None and bool(vnni()),
            torch.version.hip is not None,
            sys.platform == "win32",
        )

    def takes(self, dtype: torch.dtype, rows: int, width: int) -> bool:
        """Whether codes of `dtype` can be multiplied with a weight [rows, width] of the same."""
        if dtype == torch.int8 and self.kind == "cpu":
            return self.vnni and 1 < width <= LONGEST  # oneDNN is told wrong strides of a single column
        if self.kind != "cuda" or self.hip:
            return False
        if dtype == torch.int8:
            return self.capability >= (7, 5) and rows % 8 == 0 and width % 8 == 0 and width <= LONGEST
        return dtype == FP8 and self.capability >= (8, 9) and rows % 16 == 0 and width % 16 == 0

    def scales_by_row(self, out: torch.dtype) -> bool:
        """Whether the fp8 product takes a scale for each row of codes, for outputs of type `out`."""
        least = BY_ROW.get(self.capability[0])
        return out == torch.bfloat16 and not self.windows and least is not None and self.version >= least


def capability(device: torch.device) -> tuple[int, int]:
    seen = device.type == "cuda" and torch.cuda.is_available()
    return torch.cuda.get_device_capability(device) if seen else (0, 0)


def has_product(device: torch.device, dtype: torch.dtype, rows: int, width: int) -> bool:
    """Whether `linear` multiplies such codes as they are."""
    return Machine.of(device).takes(dtype, rows, width) and works(device, dtype, None)


def has_rows(device: torch.device, out: torch.dtype) -> bool:
    """Whether fp8 products scale by row on `device`."""
    return Machine.of(device).scales_by_row(out) and works(device, FP8, out)


@cache
def works(device: torch.device, dtype: torch.dtype, out: torch.dtype | None) -> bool:
    """Asked once, by a small product; out: with scales by row for such outputs, None without."""
    codes = torch.zeros(ROWS, ROWS, dtype=dtype, device=device)
    try:
        if out is not None:
            scaled_by_row(codes, codes, torch.ones(ROWS, 1, device=device), torch.ones(1, device=device), None, out)
        else:
            product(codes, codes, torch.float32)
    except (RuntimeError, TypeError, AttributeError) as error:  # builds without it, and private names that moved
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        log.warning("torch's product of %s does not work on %s (%s); another way is taken", dtype, device, reason)
        return False
    return True


# Constants where torch.compile traces: what it would see inside is no part of a graph.
has_product._dynamo_marked_constant = has_rows._dynamo_marked_constant = True


def linear(
    codes: Tensor,
    scale: Tensor,
    weight: Tensor,
    factor: Tensor,
    bias: Tensor | None,
    dtype: torch.dtype,
    fast: bool = True,
) -> Tensor:
    """[..., N] in `dtype`: (codes * scale) times (weight * factor) transposed, plus bias.

    codes [..., K] and weight [N, K] of one type, int8 or e4m3; scale: float32, [1] or [..., 1]; factor: float32 of each
    row of the weight [N, 1] or of all [1, 1]; bias: [N]. fast: whether torch's products of codes may be used. int8
    sums are exact, float32 ones to K = 1040.
    """
    factor, flat = factor.view(-1), codes.reshape(-1, codes.shape[-1])
    if not (fast and flat.numel() and has_product(codes.device, codes.dtype, *weight.shape)):
        wide = torch.bfloat16 if dtype == torch.bfloat16 and codes.is_cuda else torch.float32  # both hold every code
        return finished(F.linear(codes.to(wide), weight.to(wide)), scale, factor, bias, dtype)
    shape = (*codes.shape[:-1], len(weight))
    if codes.dtype == FP8 and scale.numel() == len(flat) and has_rows(codes.device, dtype):
        return scaled_by_row(flat, weight, scale.reshape(-1, 1), factor, bias, dtype).view(shape)
    return finished(product(flat, weight, dtype).view(shape), scale, factor, bias, dtype)


def product(codes: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
    """codes [M, K] times weight [N, K] transposed: int32 of int8; of e4m3 bfloat16 where `dtype` is, or float32."""
    weight = weight.contiguous().T  # by columns, as cuBLAS wants it
    if codes.dtype == torch.int8:
        rows = len(codes)
        if codes.is_cuda and rows < ROWS:
            codes = F.pad(codes, (0, 0, 0, ROWS - rows))
        return torch._int_mm(codes, weight)[:rows]
    one = unit(codes.device)
    out = dtype if dtype == torch.bfloat16 else torch.float32  # float16 would not hold the sums
    return only(torch._scaled_mm(codes, weight, scale_a=one, scale_b=one, out_dtype=out, use_fast_accum=True))


def scaled_by_row(
    codes: Tensor, weight: Tensor, scale: Tensor, factor: Tensor, bias: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """[M, N]: e4m3 codes [M, K] and weight [N, K], scale [M, 1], factor [N] or [1], all in one kernel."""
    factor = factor.expand(1, len(weight)).contiguous()
    bias = None if bias is None else bias.to(dtype)
    weight = weight.contiguous().T
    found = torch._scaled_mm(
        codes, weight, scale_a=scale, scale_b=factor, bias=bias, out_dtype=dtype, use_fast_accum=True
    )
    return only(found)


def only(found: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The product; torch 2.4 gives the largest value with it."""
    return found[0] if isinstance(found, tuple) else found


@cache
def unit(device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # it is kept
        return torch.ones((), device=device)


def finished(sums: Tensor, scale: Tensor, factor: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """sums [..., N] * scale [..., 1] * factor [N] or [1] + bias, in `dtype`."""
    return (as_recorded if sums.device.type == "cpu" else in_few_kernels)(sums, scale, factor, bias, dtype)


def as_recorded(sums: Tensor, scale: Tensor, factor: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """In the order in which the recorded pictures were rounded."""
    out = (sums * (factor * scale)).to(dtype)
    return out if bias is None else out.add_(bias.to(dtype))


def in_few_kernels(sums: Tensor, scale: Tensor, factor: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Two or three, rounded to `dtype` once."""
    if scale.numel() == 1 or factor.numel() == 1:
        factor = factor * scale
    else:
        sums = sums * scale
    out = sums.new_empty(sums.shape, dtype=dtype)
    return torch.mul(sums, factor, out=out) if bias is None else torch.addcmul(bias, sums, factor, out=out)
