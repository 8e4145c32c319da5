"""Updates that are a matrix of their own, whatever the layer holds: W becomes W + strength * scale * P.

Each keeps P in the form in which it was trained where that is smaller than P itself, and multiplies by the pieces.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .beside import Adapter, Site


def largest_of(*values: Tensor) -> float:
    return math.prod(float(value.abs().max()) for value in values)


class Product:
    """scale: what P is multiplied by. kernel: of a convolution, as far as the file says."""

    scale: float
    kernel: tuple[int, ...]

    def beside(self, site: Site, strength: float) -> Adapter:
        return Adapter(self, site.rows, strength * self.scale, site.like, site.dtype)

    def change(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """What W [out, in] and the bias become more at strength 1."""
        return self.scale * self.dense().to(weight.device), None

    def dense(self) -> Tensor:
        """P [out, in] float32."""
        raise NotImplementedError


@dataclass(frozen=True)
class LowRank(Product):
    """An update of one layer, P = B A. down: A [r, in]; up: B [out, r]; scale: alpha / r."""

    down: Tensor
    up: Tensor
    scale: float = 1.0
    kernel: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        return self.up.shape[0], self.down.shape[1]

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        return {"down": self.down, "up": self.up}

    @property
    def largest(self) -> float:
        """What no number of B A exceeds, nor one of A or B."""
        down, up = map(largest_of, (self.down, self.up))
        return max(down, up, down * up * self.down.shape[0])

    @staticmethod
    def times(x: Tensor, factor: float, down: Tensor, up: Tensor) -> Tensor:
        return F.linear(F.linear(x, down) * factor, up)

    def dense(self) -> Tensor:
        return self.up.float() @ self.down.float()


@dataclass(frozen=True)
class Dense(Product):
    """weight: P itself [out, in]."""

    weight: Tensor
    scale: float = 1.0
    kernel: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        return tuple(self.weight.shape)

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        return {"weight": self.weight}

    @property
    def largest(self) -> float:
        return largest_of(self.weight)

    @staticmethod
    def times(x: Tensor, factor: float, weight: Tensor) -> Tensor:
        return F.linear(x, weight) * factor

    def dense(self) -> Tensor:
        return self.weight.float()


@dataclass(frozen=True)
class Kronecker(Product):
    """P = left (x) right, [a, b] and [c, d] giving [a c, b d]. Each is one matrix, or two whose product it is."""

    left: tuple[Tensor, ...]
    right: tuple[Tensor, ...]
    scale: float = 1.0
    kernel: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        return self.left[0].shape[0] * self.right[0].shape[0], self.left[-1].shape[1] * self.right[-1].shape[1]

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """The left one as it is multiplied by, which is small; the right one in its pieces."""
        pieces = {f"right{place}": piece for place, piece in enumerate(self.right)}
        return {"left": whole(self.left), **pieces}

    @property
    def largest(self) -> float:
        left, right = (largest_of(*side) * math.prod(piece.shape[1] for piece in side[:-1]) for side in
                       (self.left, self.right))  # fmt: skip
        return max(left, right, left * right, *map(largest_of, (*self.left, *self.right)))

    @staticmethod
    def times(x: Tensor, factor: float, left: Tensor, *right: Tensor) -> Tensor:
        """(L (x) R) x, x as a matrix [b, d]: L x R^T."""
        out = x.unflatten(-1, (left.shape[1], -1))
        for piece in reversed(right):
            out = F.linear(out, piece)
        return (left @ (out * factor)).flatten(-2)

    def dense(self) -> Tensor:
        return torch.kron(whole(self.left), whole(self.right))


@dataclass(frozen=True)
class Hadamard(Product):
    """P = (A1 B1) o (A2 B2), entry by entry, for pairs A [out, r], B [r, in]."""

    first: tuple[Tensor, Tensor]
    second: tuple[Tensor, Tensor]
    scale: float = 1.0
    kernel: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        return self.first[0].shape[0], self.first[1].shape[1]

    @property
    def largest(self) -> float:
        return math.prod(largest_of(*pair) * len(pair[1]) for pair in (self.first, self.second))

    def beside(self, site: Site, strength: float) -> Adapter:
        """Of rank r^2 at most, the sum over i, j of (a1_i o a2_j)(b1_i o b2_j)^T: kept so where that is smaller."""
        (a1, b1), (a2, b2) = self.first, self.second
        out, width = self.shape
        if len(b1) * len(b2) * (out + width) >= out * width:
            return Dense(self.dense(), self.scale).beside(site, strength)
        up = (a1.float()[:, :, None] * a2.float()[:, None, :]).flatten(1)
        down = (b1.float()[:, None, :] * b2.float()[None, :, :]).flatten(0, 1)
        return LowRank(down, up, self.scale).beside(site, strength)

    def dense(self) -> Tensor:
        return whole(self.first) * whole(self.second)


def whole(pieces: tuple[Tensor, ...]) -> Tensor:
    """The product of one matrix or two, float32."""
    return pieces[0].float() if len(pieces) == 1 else pieces[0].float() @ pieces[1].float()
