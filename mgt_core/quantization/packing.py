"""Weight matrices in 4 and 8 bits: rotation, level tables, packing two codes a byte, and the way back.

The 4-bit form is the one that ComfyUI calls `asym_w4a8_int8`: a weight is
`round(level[code] * relative[row, group]) * channel[row]`, so that it lies on an int8 grid and an
int8 product needs one factor a row. Rows are multiplied with a Hadamard matrix first (as QuaRot,
arXiv 2404.00456, does), which spreads outlier columns; the input is rotated likewise.
"""

import functools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = 16
GRID = 127  # int8 codes are used from -127 to 127
ROTATIONS = (256, 64, 16, 4)
REFINEMENTS = 2  # rounds of least squares for the group scales
ROWS_AT_ONCE = 2**21  # weights worked on together, which bounds the transient memory
CACHED = 2**18  # weights that one operation after the other works on
BINS = 2**13  # of values between 0 and 2, see Nearest
SAMPLE = 2**14  # weights that a level table is fitted to
FLOAT8 = torch.float8_e4m3fn
FLOAT8_MAX = 448.0


@dataclass(frozen=True)
class Int4Weight:
    """A matrix [N, K] in G groups a row; columns beyond K are padding.

    codes: [N, G * group / 2] int8, the even column in the low nibble. relative: [N, G] float8.
    channel: [N] float32. levels: [16] float32, ascending.
    """

    codes: Tensor
    relative: Tensor
    channel: Tensor
    levels: Tensor


def rotation_size(width: int) -> int:
    """Largest supported Hadamard block that divides `width`; 1 where none does (no rotation)."""
    return next((size for size in ROTATIONS if width % size == 0), 1)


@functools.lru_cache(maxsize=32)
def hadamard(size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """[size, size] symmetric and orthogonal, its own inverse. size: a power of 4.

    The Kronecker power of the regular 4 x 4 Hadamard matrix, whose rows have equal sums: unlike
    Sylvester's it has no constant row, in which a common offset of all columns would pile up.
    """
    base = torch.ones(4, 4, dtype=torch.float64) - 2 * torch.eye(4, dtype=torch.float64).flip(1)
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while matrix.shape[0] < size:
        matrix = torch.kron(matrix, base) / 2
    with torch.inference_mode(False):  # it is kept, and a fine-tuning may differentiate through it
        return matrix.to(device, dtype, copy=True)


def rotate(x: Tensor, size: int) -> Tensor:
    """[..., K] with every block of `size` columns multiplied by the Hadamard matrix; its own inverse."""
    if size == 1:
        return x
    return (x.unflatten(-1, (-1, size)) @ hadamard(size, x.device, x.dtype)).flatten(-2)


def pack_nibbles(codes: Tensor) -> Tensor:
    """[N, K] whole numbers 0..15, K even -> [N, K / 2] int8."""
    codes = codes.to(torch.uint8)
    return (codes[:, 0::2] | codes[:, 1::2] << 4).view(torch.int8)


def unpack_nibbles(packed: Tensor) -> Tensor:
    """[N, K / 2] int8 -> [N, K] uint8."""
    packed = packed.view(torch.uint8)
    return torch.stack([packed & 15, packed >> 4], dim=-1).flatten(1)


def fit_levels(values: Tensor, rounds: int = 8) -> Tensor:
    """[16] ascending levels that approximate `values` (in -1..1) best (Lloyd 1982, started at quantiles)."""
    values = values.flatten()
    values = values[:: max(1, values.numel() // SAMPLE)].float().contiguous()
    levels = values.quantile(torch.linspace(0.01, 0.99, LEVELS, device=values.device))
    for _ in range(rounds):
        nearest = torch.bucketize(values, between(levels))
        count = torch.zeros(LEVELS, device=values.device).index_add_(0, nearest, torch.ones_like(values))
        total = torch.zeros(LEVELS, device=values.device).index_add_(0, nearest, values)
        levels = torch.where(count > 0, total / count.clamp(min=1), levels).sort().values
    return levels


def between(levels: Tensor) -> Tensor:
    """[..., 16] -> [..., 15] borders."""
    return (levels[..., 1:] + levels[..., :-1]) / 2


def quantize_int4(weight: Tensor, group: int, rotation: int) -> Int4Weight:
    """weight [N, K] float -> 4 bits. group: weights that share a scale."""
    blocks = list(weight.split(max(1, ROWS_AT_ONCE // weight.shape[1])))
    spread = torch.linspace(0, len(weight) - 1, len(blocks[0])).long()  # rows from all over the matrix
    some = grouped(weight[spread], group, rotation)
    levels = fit_levels(some / some.abs().amax(-1, keepdim=True).clamp(min=1e-12))
    turned = (part for block in blocks for part in grouped(block, group, rotation).split(some_rows(weight)))
    parts = [_quantize_rows(part, levels) for part in turned]
    rows = (torch.cat([getattr(part, name) for part in parts]) for name in ("codes", "relative", "channel"))
    return Int4Weight(*rows, levels)


def some_rows(weight: Tensor) -> int:
    """Rows of a matrix whose values stay in a processor's cache from one operation to the next."""
    most = CACHED if weight.device.type == "cpu" else ROWS_AT_ONCE
    return max(1, most // weight.shape[1])


def grouped(weight: Tensor, group: int, rotation: int) -> Tensor:
    """[N, K] -> [N, G, group] float32, rotated and padded with zeros."""
    weight = rotate(weight.float(), rotation)
    return F.pad(weight, (0, -weight.shape[1] % group)).unflatten(1, (-1, group))


def _quantize_rows(weight: Tensor, levels: Tensor) -> Int4Weight:
    scale = weight.abs().amax(-1, keepdim=True).clamp(min=1e-12)
    nearest = Nearest(levels)
    for _ in range(REFINEMENTS):
        chosen = levels.index_select(0, nearest(weight / scale).view(-1)).view_as(weight)
        fitted = (weight * chosen).sum(-1, keepdim=True) / chosen.square_().sum(-1, keepdim=True).clamp(min=1e-12)
        scale = torch.where(fitted > 0, fitted, scale)
    channel = ((scale * levels.abs().max()).amax((1, 2)) / GRID).clamp(min=1e-30)
    relative = (scale[..., 0] / channel[:, None]).to(FLOAT8)
    return Int4Weight(pack_nibbles(assign(weight, relative, channel, levels)), relative, channel, levels)


class Nearest:
    """Places [...] int32 of the levels [16] that are nearest to values [...], as torch.bucketize finds them; faster,
    since few values share a bin with a border."""

    def __init__(self, levels: Tensor):
        self.borders = between(levels)
        bins = self.bins(self.borders)
        self.alone = bool((bins.diff() > 0).all())
        every = torch.arange(2 * BINS + 1, device=levels.device, dtype=torch.int32)
        self.before = torch.searchsorted(bins, every, out_int32=True)  # borders in the bins before each
        self.next = F.pad(self.borders, (0, 1), value=float("inf"))

    def bins(self, values: Tensor) -> Tensor:
        """Which never fall where values rise."""
        return (values * (BINS / 2)).add_(BINS).clamp_(0, 2 * BINS).int()

    def __call__(self, values: Tensor) -> Tensor:
        if not self.alone:
            return torch.bucketize(values, self.borders, out_int32=True)
        found = self.before.index_select(0, self.bins(values).view(-1))
        return found.add_(values.view(-1) > self.next.index_select(0, found)).view_as(values)


def assign(weight: Tensor, relative: Tensor, channel: Tensor, levels: Tensor) -> Tensor:
    """Codes [N, G * group] uint8 of the nearest weights that can be stored. weight: [N, G, group]."""
    # Grid values are whole numbers, so that borders between them lie on halves, and a group's scale is one of 256.
    grid = (levels * every_float8(levels.device)).round().clamp(-GRID, GRID)
    last = 2 * GRID + 1
    halves = torch.arange(-last, last + 1, device=levels.device) / 2 - 0.25  # right below each half
    codes = torch.searchsorted(between(grid).contiguous(), halves.expand(len(grid), -1).contiguous()).to(torch.uint8)
    target = (weight / channel[:, None, None]).mul_(2).ceil_().clamp_(-last, last)
    places = target.add_(last).int().add_(relative.view(torch.uint8).int()[..., None], alpha=len(halves))
    return codes.view(-1).index_select(0, places.view(-1)).view(len(weight), -1)


def decode_int4(codes: Tensor, relative: Tensor, levels: Tensor, width: int) -> Tensor:
    """Grid values [N, width] int8, before the channel scale; still rotated."""
    # A group's scale is one of 256 too, so that a byte of codes and a byte of scale are the place of two weights.
    grid = (levels * every_float8(levels.device)).round_().clamp_(-GRID, GRID).to(torch.int8)
    shape = (256, LEVELS, LEVELS)
    pairs = torch.stack([grid[:, None].expand(shape), grid[:, :, None].expand(shape)], dim=-1).view(torch.int16)
    scales = relative.view(torch.uint8).int()
    places = torch.add(codes.view(torch.uint8).unflatten(1, (scales.shape[1], -1)), scales[..., None], alpha=256)
    return pairs.view(-1).index_select(0, places.view(-1)).view(torch.int8).view(len(codes), -1)[:, :width]


@functools.lru_cache(maxsize=8)
def every_float8(device: torch.device) -> Tensor:
    """[256, 1] float32: what each byte is as e4m3."""
    with torch.inference_mode(False):  # it is kept
        return torch.arange(256, dtype=torch.uint8, device=device).view(FLOAT8).float()[:, None]


def quantize_int8(weight: Tensor, rotation: int) -> tuple[Tensor, Tensor]:
    """[N, K] float -> int8 [N, K] and the scale of each row [N] float32."""
    weight = rotate(weight.float(), rotation)
    scale = (weight.abs().amax(1) / GRID).clamp(min=1e-30)
    return (weight / scale[:, None]).round().to(torch.int8), scale


def quantize_float8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """[N, K] float -> float8 (e4m3) [N, K] and one scale [] float32."""
    scale = (weight.abs().amax().float() / FLOAT8_MAX).clamp(min=1e-30)
    return (weight.float() / scale).to(FLOAT8), scale
