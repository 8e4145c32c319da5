"""Updates that say what becomes of the layer's own weight or bias, and so ask the layer for it."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .beside import BetweenAdapter, BiasAdapter, InputsAdapter, RowsAdapter, Site
from .products import LowRank, Product, largest_of

ROWS, INPUTS = 0, 1  # what factors are for: outputs, or inputs


class OverProduct:
    """What is of the sizes of its product."""

    product: Product

    @property
    def shape(self) -> tuple[int, int]:
        return self.product.shape

    @property
    def kernel(self) -> tuple[int, ...]:
        return self.product.kernel


@dataclass(frozen=True)
class Decomposed(OverProduct):
    """DoRA (Liu et al., arXiv 2402.09353, equation 5): m (W + P) / |W + P|, the norm that of every row, as PEFT has it,
    or of every column. magnitude: m, [out] or [in]; axis: ROWS or INPUTS.

    Strength s goes straight from W to that: W + s (m (W + P) / |W + P| - W)."""

    product: Product
    magnitude: Tensor
    axis: int = ROWS
    scale: float = field(default=1.0, init=False)

    @property
    def largest(self) -> float:
        return max(largest_of(self.magnitude), abs(self.product.scale) * self.product.largest)

    def factor(self, weight: Tensor) -> Tensor:
        """m / |W + P| for W [out, in]. A norm of 0 is left alone: nothing is there to be stretched."""
        whole = weight + self.product.change(weight, None)[0]
        if self.axis == INPUTS:  # a channel of a convolution has several columns
            whole = whole.unflatten(1, (self.magnitude.numel(), -1)).transpose(0, 1).flatten(1)
        norm = torch.linalg.vector_norm(whole, dim=1)
        return torch.where(norm > 0, self.magnitude.to(norm) / norm, 1.0)

    def beside(self, site: Site, strength: float) -> nn.Module:
        factor, inner = self.factor(site.weight()), self.product.beside(site, strength)
        if self.axis == ROWS:
            return RowsAdapter(site, factor, strength, inner, bias=False)
        return InputsAdapter(site, factor, strength, inner)

    def change(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        factor = self.factor(weight)
        if self.axis == INPUTS:
            factor = factor.repeat_interleave(weight.shape[1] // len(factor))
        spread = factor[:, None] if self.axis == ROWS else factor
        return spread * (weight + self.product.change(weight, None)[0]) - weight, None


@dataclass(frozen=True)
class Stretched:
    """(IA)^3 (Liu et al., arXiv 2205.05638, section 3.3): outputs or inputs times learned factors. factors: [out] or
    [in]; axis: ROWS or INPUTS; bias: whether those of outputs are for the bias, too."""

    factors: Tensor
    axis: int = ROWS
    bias: bool = False
    scale: float = field(default=1.0, init=False)
    kernel: tuple[int, ...] = field(default=(), init=False)

    @property
    def shape(self) -> tuple[int | None, int | None]:
        size = self.factors.numel()
        return (size, None) if self.axis == ROWS else (None, size)

    @property
    def largest(self) -> float:
        return largest_of(self.factors)

    def beside(self, site: Site, strength: float) -> nn.Module:
        factors = self.factors.float().to(site.like.device)
        if self.axis == ROWS:
            return RowsAdapter(site, factors, strength, None, self.bias)
        return InputsAdapter(site, factors, strength, None)

    def change(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        more = self.factors.to(weight) - 1
        if self.axis == INPUTS:
            return weight * more, None
        return weight * more[:, None], more * bias if self.bias and bias is not None else None


@dataclass(frozen=True)
class Between(OverProduct):
    """GLoRA (Chavan et al., arXiv 2306.07967) as LyCORIS has it: W + scale (W A + B). before: A; product: B."""

    before: LowRank
    product: LowRank

    @property
    def scale(self) -> float:
        return self.product.scale

    @property
    def largest(self) -> float:
        return max(self.before.largest, self.product.largest)

    def beside(self, site: Site, strength: float) -> nn.Module:
        return BetweenAdapter(site, self.before.beside(site, strength), self.product.beside(site, strength))

    def change(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        return weight @ self.before.change(weight, None)[0] + self.product.change(weight, None)[0], None


@dataclass(frozen=True)
class Bias:
    """A change of a layer's bias. value: [out]; replaces: whether it is the new bias itself, rather than what is added
    to the old one."""

    value: Tensor
    scale: float = 1.0
    replaces: bool = False
    kernel: tuple[int, ...] = field(default=(), init=False)

    @property
    def shape(self) -> tuple[int | None, int | None]:
        return self.value.numel(), None

    @property
    def largest(self) -> float:
        return largest_of(self.value)

    def added(self, bias: Tensor | None) -> Tensor:
        value = self.value.float() if bias is None else self.value.to(bias)
        return value - bias if self.replaces and bias is not None else self.scale * value

    def beside(self, site: Site, strength: float) -> nn.Module:
        return BiasAdapter(site, strength * self.added(site.bias()))

    def change(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        return None, self.added(bias)
