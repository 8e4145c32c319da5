"""LoRAs attached to a network, which stays as it is and shares every layer with the new one.

Beside linear layers stand adapters; of what is small and no linear layer (convolutions, norms, the token head) a
changed copy takes the place.
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..backbones.base import Backbone
from ..errors import MGTError, join_some
from ..placement import compute_dtype
from .beside import AdaptedLayer, Adapter, Site
from .kinds import Update
from .layers import is_linear
from .lora import LoRA
from .names import Place, Places

__all__ = ["AdaptedLayer", "Adapter", "AttachedLoRA", "adapt", "grafted", "is_linear"]


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
    """A network that shares the layers of `network`, with the updates of `lora`; and what is new in it alone.

    Raises MGTError for an update of a layer that is not there, or has another shape."""
    places, dtype = Places(network), compute_dtype(network)
    beside: dict[str, list[nn.Module]] = {}
    instead: dict[str, list[Update]] = {}
    for name, place, update in placed(lora, places):
        module = places.modules[place.path]
        check(lora.name, name, update, module, place)
        largest = abs(strength * update.scale) * update.largest
        if not largest <= torch.finfo(dtype).max:
            raise MGTError(
                f"lora {lora.name} changes weights of {name} by up to {largest:.3g} at strength {strength:g}, which is "
                f"more than {dtype} holds"
            )
        if place.rows is None:
            instead.setdefault(place.path, []).append(update)
        else:
            site = Site(original(module), place.rows, dtype)
            beside.setdefault(place.path, []).append(update.beside(site, strength))
    layers: dict[str, nn.Module] = {}
    added: list[nn.Module] = []
    for path, adapters in beside.items():
        module = places.modules[path]
        layers[path] = AdaptedLayer(original(module), [*getattr(module, "adapters", ()), *adapters])
        added.append(nn.ModuleList(adapters))
    for path, updates in instead.items():
        layers[path] = changed(places.modules[path], updates, strength)
        added.append(layers[path])
    return grafted(network, layers), nn.ModuleList(added)


def placed(lora: LoRA, places: Places) -> Iterable[tuple[str, Place, Update]]:
    """Every update with the name that the file has for its layer, and the place of that."""
    names = dict.fromkeys((*lora.updates, *lora.biases))
    found = {name: place for name in names if (place := places.find(name))}
    if unknown := [name for name in names if name not in found]:
        raise MGTError(
            f"lora {lora.name} updates {len(unknown)} of {len(names)} layers that this model does not have as "
            f"linear layers: {join_some(unknown)}; it was made for another architecture"
        )
    taken: dict[str, str] = {}
    for name, place in found.items():
        if (other := taken.setdefault(f"{place.path} {place.rows}", name)) != name:
            raise MGTError(f"lora {lora.name} has two updates of one layer: {other} and {name}")
    for held in (lora.updates, lora.biases):
        yield from ((name, found[name], update) for name, update in held.items())


def check(lora: str, name: str, update: Update, module: nn.Module, place: Place) -> None:
    """Raises MGTError where an update has other sizes than the layer that it is for."""
    misfit = None
    if place.rows is None:
        wanted, kernel = tuple(flat(module.weight).shape), tuple(module.weight.shape[2:])
        if update.shape[1] is None and getattr(module, "bias", None) is None:
            misfit = "its bias", "none"
    else:
        wanted, kernel = (place.rows.stop - place.rows.start, module.in_features), ()
    if any(own not in (None, other) for own, other in zip(update.shape, wanted, strict=True)):
        out, width = update.shape
        misfit = f"{width or wanted[1]} -> {out or wanted[0]}", f"{wanted[1]} -> {wanted[0]}"
    elif update.kernel != kernel and set(update.kernel) - {1}:
        misfit = f"a convolution of {' x '.join(map(str, update.kernel))}", "no such one"
    if misfit:
        held, here = misfit
        raise MGTError(
            f"lora {lora} updates {name} as {held}, and this model has {here} there: it was made for another size of "
            "model"
        )


def original(module: nn.Module) -> nn.Module:
    """What was there before the first LoRA. Updates that depend on it are of that, so that no order matters."""
    return module.layer if isinstance(module, AdaptedLayer) else getattr(module, "before_loras", (module,))[0]


def changed(module: nn.Module, updates: list[Update], strength: float) -> nn.Module:
    """A copy of a module with other weights."""
    before, clone = original(module), copy.copy(module)
    weight, bias = before.weight.detach().float(), getattr(before, "bias", None)
    bias = None if bias is None else bias.detach().float()
    values = {name: value.detach().float() for name, value in module.named_parameters(recurse=False)}
    for update in updates:
        for name, more in zip(("weight", "bias"), update.change(flat(weight), bias), strict=True):
            if more is not None:
                values[name] = values[name] + strength * more.to(values[name]).reshape(values[name].shape)
    clone._parameters = dict(module._parameters)
    for name, value in values.items():
        clone._parameters[name] = nn.Parameter(value.to(module._parameters[name].dtype), requires_grad=False)
    clone.before_loras = (before,)  # in a tuple, as it is no part of the copy
    return clone


def flat(weight: Tensor) -> Tensor:
    """[n, all others]."""
    return weight.reshape(len(weight), -1)


@dataclass(frozen=True)
class AttachedLoRA:
    """What a model says of a LoRA that acts in it."""

    name: str
    strength: float
    layers: int
