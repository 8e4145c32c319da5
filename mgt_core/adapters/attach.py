"""Low-rank products beside the layers of a network, which stays as it is and shares every layer with the new one."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..backbones.base import Backbone
from ..errors import MGTError, join_some
from ..placement import compute_dtype
from .lora import PREFIXES, LoRA, LowRank


class Adapter(nn.Module):
    """A low-rank product, for some rows of a layer's output. factor: strength * alpha / r."""

    def __init__(self, update: LowRank, rows: slice, factor: float, like: Tensor, dtype: torch.dtype):
        super().__init__()
        self.rows, self.factor = rows, factor
        place = {"device": like.device, "dtype": dtype}
        self.down = nn.Parameter(update.down.to(**place), requires_grad=False)
        self.up = nn.Parameter(update.up.to(**place), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        return F.linear(F.linear(x, self.down) * self.factor, self.up)


class AdaptedLayer(nn.Module):
    """A linear layer, the same object as in the network without LoRA, with low-rank products beside it."""

    def __init__(self, layer: nn.Module, adapters: list[Adapter]):
        super().__init__()
        self.layer, self.adapters = layer, nn.ModuleList(adapters)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.names = getattr(layer, "names", ())

    def forward(self, x: Tensor) -> Tensor:
        out = self.layer(x)
        for adapter in self.adapters:
            out[..., adapter.rows] += adapter(x)
        return out

    def product(self, name: str, x: Tensor) -> Tensor:
        """As FusedLinear's: the layer `name` of those in it, without its bias."""
        out, size = self.layer.product(name, x), self.out_features // len(self.names)
        first = self.names.index(name) * size
        for adapter in self.adapters:
            own = adapter.rows
            start, stop = max(first, own.start), min(first + size, own.stop)
            if start < stop:
                out[..., start - first : stop - first] += adapter(x)[..., start - own.start : stop - own.start]
        return out


def grafted(module: nn.Module, layers: Mapping[str, nn.Module]) -> nn.Module:
    """`module` with `layers` at the places their names give. Modules on the way to them are copied; every other
    one is the same object in both, so that whoever moves its weights moves them for both."""
    if "" in layers:
        return layers[""]
    below: dict[str, dict[str, nn.Module]] = {}
    for name, layer in layers.items():
        head, _, rest = name.partition(".")
        below.setdefault(head, {})[rest] = layer
    clone = copy.copy(module)
    clone._modules = {name: grafted(m, below[name]) if name in below else m for name, m in module._modules.items()}
    return clone


def adapt(network: Backbone, lora: LoRA, strength: float) -> tuple[Backbone, nn.ModuleList]:
    """A network that shares every layer of `network`, with the updates of `lora` beside them; and these alone.

    Raises MGTError for an update of a layer that is not there, is no linear layer, or has another shape."""
    modules = dict(network.named_modules())
    fitting = {name: place for name in lora.updates if (place := find_layer(network, modules, name))}
    if unknown := [name for name in lora.updates if name not in fitting]:
        raise MGTError(
            f"lora {lora.name} updates {len(unknown)} of {len(lora.updates)} layers that this model does not have as "
            f"linear layers: {join_some(unknown)}; it was made for another architecture"
        )
    adapters: dict[str, list[Adapter]] = {}
    dtype = compute_dtype(network)
    for name, (path, rows) in fitting.items():
        layer, update = modules[path], lora.updates[name]
        wanted = (rows.stop - rows.start, layer.in_features)
        if (update.up.shape[0], update.down.shape[1]) != wanted:
            held = f"{update.down.shape[1]} -> {update.up.shape[0]}"
            raise MGTError(
                f"lora {lora.name} updates {name} as {held}, and this model has {wanted[1]} -> {wanted[0]} there: "
                "it was made for another size of model"
            )
        largest = abs(strength * update.scale) * update.largest
        if not largest <= torch.finfo(dtype).max:
            raise MGTError(
                f"lora {lora.name} changes weights of {name} by up to {largest:.3g} at strength {strength:g}, which is "
                f"more than {dtype} holds"
            )
        like = next(layer.parameters())
        adapters.setdefault(path, []).append(Adapter(update, rows, strength * update.scale, like, dtype))
    layers = {path: AdaptedLayer(modules[path], parts) for path, parts in adapters.items()}
    return grafted(network, layers), nn.ModuleList(layer.adapters for layer in layers.values())


def find_layer(network: Backbone, modules: Mapping[str, nn.Module], name: str) -> tuple[str, slice] | None:
    """Path of the linear layer that a file calls `name`, and the rows of its output that are meant."""
    candidates, rest = [name], name
    while found := next((p for p in PREFIXES if rest.startswith(p)), None):
        rest = rest.removeprefix(found)
        candidates.append(rest)
    for candidate in [renamed for c in candidates for renamed in (network.renamed(c), c)]:
        parent, _, leaf = candidate.rpartition(".")
        if candidate.startswith(network.uncalled):  # applied by its weight, not called
            continue
        if is_linear(modules.get(candidate)):
            return candidate, slice(0, modules[candidate].out_features)
        for attribute, layer in modules[parent].named_children() if parent in modules else ():
            names = getattr(layer, "names", ())
            if leaf in names and is_linear(layer):
                size = layer.out_features // len(names)
                place = names.index(leaf) * size
                return f"{parent}.{attribute}" if parent else attribute, slice(place, place + size)
    return None


def is_linear(layer: nn.Module | None) -> bool:
    """Also packed ones, which have a geometry where they are convolutions."""
    return hasattr(layer, "in_features") and getattr(layer, "geometry", None) is None


@dataclass(frozen=True)
class AttachedLoRA:
    """What a model says of a LoRA that acts in it."""

    name: str
    strength: float
    layers: int
