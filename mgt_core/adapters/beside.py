"""What stands beside the linear layers of a network: each adds to some rows of a layer's output, and the layer itself
stays the same object."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from .layers import bias_of, weight_of

Call = Callable[[Tensor], Tensor]  # [..., in] -> the rows of the layer as it was before, with their bias


@dataclass(frozen=True)
class Site:
    """Rows of a linear layer, and the type that what stands beside them is computed in."""

    layer: nn.Module
    rows: slice
    dtype: torch.dtype

    @property
    def like(self) -> Tensor:
        return next(self.layer.parameters())

    def weight(self) -> Tensor:
        """[n, in] float32."""
        return weight_of(self.layer)[self.rows]

    def bias(self) -> Tensor:
        """[n] float32."""
        return bias_of(self.layer)[self.rows]

    def kept(self, value: Tensor) -> nn.Parameter:
        return kept(value, self.like, self.dtype)


def kept(value: Tensor, like: Tensor, dtype: torch.dtype) -> nn.Parameter:
    return nn.Parameter(value.detach().to(device=like.device, dtype=dtype), requires_grad=False)


class Adapter(nn.Module):
    """A product (see products.py), for some rows of a layer's output. factor: strength * scale."""

    reads: ClassVar[bool] = False  # whether it calls the layer

    def __init__(self, update, rows: slice, factor: float, like: Tensor, dtype: torch.dtype):
        super().__init__()
        self.rows, self.factor, self.times = rows, factor, update.times
        self.held = tuple(update.tensors)
        for name, value in update.tensors.items():
            setattr(self, name, kept(value, like, dtype))

    def forward(self, x: Tensor, call: Call | None = None, biased: bool = True) -> Tensor:
        """[..., in] -> [..., out]. biased: whether what it changes of the bias counts."""
        return self.times(x, self.factor, *(getattr(self, name) for name in self.held))


class RowsAdapter(nn.Module):
    """f (W + D) x in the place of W x, f a factor for every output: adds s ((f - 1) W x + f D x).

    inner: what gives s D x, if there is a D. bias: whether the layer's bias is multiplied, too."""

    reads: ClassVar[bool] = True

    def __init__(self, site: Site, factor: Tensor, strength: float, inner: Adapter | None, bias: bool):
        super().__init__()
        self.rows, self.inner = site.rows, inner
        own, change = site.bias(), strength * (factor - 1)
        self.factor, self.change, self.own = map(site.kept, (factor, change, own))
        self.bias = site.kept(change * own) if bias else None

    def forward(self, x: Tensor, call: Call, biased: bool = True) -> Tensor:
        out = (call(x) - self.own) * self.change
        if self.inner is not None:
            out = out + self.inner(x) * self.factor
        return out + self.bias if biased and self.bias is not None else out


class InputsAdapter(nn.Module):
    """(W + D) (f x) in the place of W x, f a factor for every input: adds W ((1 + s (f - 1)) x) - W x + s D f x.

    The layer is called with numbers of the size that it knows, so that scales of packed ones fit."""

    reads: ClassVar[bool] = True

    def __init__(self, site: Site, factor: Tensor, strength: float, inner: Adapter | None):
        super().__init__()
        self.rows, self.inner = site.rows, inner
        self.factor, self.change = site.kept(factor), site.kept(1 + strength * (factor - 1))

    def forward(self, x: Tensor, call: Call, biased: bool = True) -> Tensor:
        out = call(x * self.change) - call(x)
        return out if self.inner is None else out + self.inner(x * self.factor)


class BetweenAdapter(nn.Module):
    """W (x + s A x) + s B x in the place of W x. before: what gives s A x; inner: s B x."""

    reads: ClassVar[bool] = True

    def __init__(self, site: Site, before: Adapter, inner: Adapter):
        super().__init__()
        self.rows, self.before, self.inner = site.rows, before, inner

    def forward(self, x: Tensor, call: Call, biased: bool = True) -> Tensor:
        return call(x + self.before(x)) - call(x) + self.inner(x)


class BiasAdapter(nn.Module):
    """value: what is added to the bias [out], strength and all."""

    reads: ClassVar[bool] = False

    def __init__(self, site: Site, value: Tensor):
        super().__init__()
        self.rows, self.value = site.rows, site.kept(value)

    def forward(self, x: Tensor, call: Call | None = None, biased: bool = True) -> Tensor:
        return self.value if biased else torch.zeros_like(self.value)


class AdaptedLayer(nn.Module):
    """A linear layer, the same object as in the network without LoRA, with adapters beside it."""

    def __init__(self, layer: nn.Module, adapters: list[nn.Module]):
        super().__init__()
        self.layer, self.adapters = layer, nn.ModuleList(adapters)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.names = getattr(layer, "names", ())

    def forward(self, x: Tensor) -> Tensor:
        out = self.layer(x)
        before = out.clone() if any(adapter.reads for adapter in self.adapters) else None
        for adapter in self.adapters:
            out[..., adapter.rows] += adapter(x, partial(self.rows, adapter.rows, x, before))
        return out

    def rows(self, rows: slice, x: Tensor, before: Tensor | None, given: Tensor) -> Tensor:
        """Rows of the layer as it was for `given`, which is `before` where that is the input x."""
        whole = before if given is x and before is not None else self.layer(given)
        return whole[..., rows]

    def product(self, name: str, x: Tensor) -> Tensor:
        """As FusedLinear's: the layer `name` of those in it, without its bias."""
        out, size = self.layer.product(name, x), self.out_features // len(self.names)
        first = self.names.index(name) * size
        for adapter in self.adapters:
            own = adapter.rows
            start, stop = max(first, own.start), min(first + size, own.stop)
            if start < stop:
                added = adapter(x, partial(self.rows, own, x, None), biased=False)
                out[..., start - first : stop - first] += added[..., start - own.start : stop - own.start]
        return out
