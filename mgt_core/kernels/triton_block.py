"""Parts of a transformer block as kernels in Triton: one pass over memory where plain torch makes several.

In float32 within, whatever the type of what they read and write. Grids and shapes follow from sizes that the host
knows, so that they may be captured in a CUDA graph. block.py says when they are used, and computes the same.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .streams import Stream


@triton.jit
def modulate_rows(
    x, gate, y, shift, scale, total, out, rows, gate_stride, shift_stride, scale_stride, width, eps,
    GATED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """A program a row of x [B * rows, width]. total: x + gate * y, where GATED; out: norm of it, scaled, shifted."""
    row = tl.program_id(0).to(tl.int64)
    sample = row // rows
    at = tl.arange(0, BLOCK)
    here = at < width
    own = row * width + at
    values = tl.load(x + own, mask=here, other=0.0).to(tl.float32)
    if GATED:
        gates = tl.load(gate + sample * gate_stride + at, mask=here, other=0.0).to(tl.float32)
        values += gates * tl.load(y + own, mask=here, other=0.0).to(tl.float32)
        rounded = values.to(total.dtype.element_ty)
        tl.store(total + own, rounded, mask=here)
        values = rounded.to(tl.float32)
    values = tl.where(here, values - tl.sum(values, axis=0) / width, 0.0)
    values *= tl.rsqrt(tl.sum(values * values, axis=0) / width + eps)
    factors = 1.0 + tl.load(scale + sample * scale_stride + at, mask=here, other=0.0).to(tl.float32)
    shifts = tl.load(shift + sample * shift_stride + at, mask=here, other=0.0).to(tl.float32)
    tl.store(out + own, (values * factors + shifts).to(out.dtype.element_ty), mask=here)


@triton.jit
def turn_rows(source, weight, cos, sin, target, at, here, eps, WIDTH: tl.constexpr, DIM: tl.constexpr):
    """target = RMS norm of `source` over DIM, weighted, its pairs turned by angles of `cos` and `sin` [DIM / 2].

    at, here: [WIDTH, DIM] the numbers of a row, and which there are."""
    values = tl.load(source + at, mask=here, other=0.0).to(tl.float32)
    values *= tl.rsqrt(tl.sum(values * values, axis=1) / DIM + eps)[:, None]
    values *= tl.load(weight + tl.arange(0, DIM)).to(tl.float32)[None, :]
    a, b = tl.split(tl.reshape(values, [WIDTH, DIM // 2, 2]))
    turned = tl.reshape(tl.join(a * cos - b * sin, b * cos + a * sin), [WIDTH, DIM])
    tl.store(target + at, turned.to(target.dtype.element_ty), mask=here)


@triton.jit
def join_rows(
    first, second, first_q, first_k, second_q, second_k, table, out, lead, rows, heads, table_stride, plane, eps,
    COPY: tl.constexpr, WIDTH: tl.constexpr, DIM: tl.constexpr,
):  # fmt: skip
    """A program a row of all B * rows: of each sample the first `lead` are of `first` [B, lead, 3, heads, DIM], the
    others of `second`. out: queries, keys and, where COPY, values [B, rows, heads, DIM], `plane` numbers each."""
    place = tl.program_id(0).to(tl.int64)
    sample, row = place // rows, place % rows
    size = heads * DIM
    at = tl.arange(0, WIDTH)[:, None] * DIM + tl.arange(0, DIM)[None, :]
    here = at < size
    angles = tl.load(table + sample * table_stride + row * DIM + tl.arange(0, DIM))
    cos, sin = tl.split(tl.reshape(angles, [DIM // 2, 2]))
    cos, sin = cos[None, :], sin[None, :]
    source, q_weight, k_weight = second + (sample * (rows - lead) + row - lead) * 3 * size, second_q, second_k
    if row < lead:
        source, q_weight, k_weight = first + (sample * lead + row) * 3 * size, first_q, first_k
    target = out + place * size
    turn_rows(source, q_weight, cos, sin, target, at, here, eps, WIDTH, DIM)
    turn_rows(source + size, k_weight, cos, sin, target + plane, at, here, eps, WIDTH, DIM)
    if COPY:
        tl.store(target + 2 * plane + at, tl.load(source + 2 * size + at, mask=here), mask=here)


def modulate(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    """x: [B, S, C]; scale, shift: [B, 1, C] -> [B, S, C]."""
    return launch(x, None, None, scale, shift, eps)[1]


def gated_and_modulated(
    x: Tensor, gate: Tensor, y: Tensor, scale: Tensor, shift: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """x + gate * y, and the same modulated. x, y: [B, S, C]; the others: [B, 1, C]."""
    return launch(x, gate, y, scale, shift, eps)


def launch(
    x: Tensor, gate: Tensor | None, y: Tensor | None, scale: Tensor, shift: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    x, out, is_gated = x.contiguous(), torch.empty_like(x, memory_format=torch.contiguous_format), gate is not None
    total = torch.empty_like(out) if is_gated else x
    gate, y = (gate, y.contiguous()) if is_gated else (scale, x)  # not read
    batch, rows, width = x.shape
    block = triton.next_power_of_2(width)
    with torch.cuda.device_of(x):
        modulate_rows[batch * rows,](
            x, gate, y, shift, scale, total, out, rows, gate.stride(0), shift.stride(0), scale.stride(0), width, eps,
            GATED=is_gated, BLOCK=block, num_warps=min(max(block // 256, 1), 8),
        )  # fmt: skip
    return total, out


def rotates(dim: int) -> bool:
    """Whether `joined` takes heads of this width: a tile is a power of two wide."""
    return dim >= 16 and dim & (dim - 1) == 0


def joined(streams: Sequence[Stream], table: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """As `joined` of block.py, of one or two streams, none of them empty."""
    first, second = streams[0], streams[-1]
    products = [stream.product.contiguous() for stream in streams]
    batch, _, _, heads, dim = products[0].shape
    copies = len(streams) > 1
    rows, lead = sum(product.shape[1] for product in products), products[0].shape[1] if copies else 0
    out = products[0].new_empty(3 if copies else 2, batch, rows, heads, dim)
    table = table.contiguous()
    with torch.cuda.device_of(out):
        join_rows[batch * rows,](
            products[0], products[-1], first.q_weight, first.k_weight, second.q_weight, second.k_weight, table, out,
            lead, rows, heads, 0 if table.ndim == 2 else table.stride(0), out[0].numel(), eps,
            COPY=copies, WIDTH=triton.next_power_of_2(heads), DIM=dim, num_warps=4,
        )  # fmt: skip
    own = [part.transpose(1, 2) for part in out]
    return (*own, *([] if copies else [products[0][:, :, 2].transpose(1, 2)]))


def try_out(device: torch.device) -> None:
    """Compile and run each of them on a few numbers."""
    x, vectors = (torch.ones(1, rows, 16, device=device, dtype=torch.bfloat16) for rows in (2, 1))
    modulate(x, vectors, vectors, 1e-6)
    gated_and_modulated(x, vectors, x, vectors, vectors, 1e-6)
    stream = Stream(x[:, :, None, None].expand(-1, -1, 3, -1, -1), vectors[0, 0], vectors[0, 0])
    joined([stream, stream], torch.ones(4, 16, device=device), 1e-6)
