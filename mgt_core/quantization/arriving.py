"""Networks that are packed while they are read: every layer as soon as its weights have come, so that at no time the
whole of a network is there in floats."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..kernels.fused_linear import FusedLinear
from .calibration import Calibration
from .embedding import PackedEmbedding, embeddings_in, rows_in_int8
from .formats import FORMATS
from .layers import LayerSettings, Treatment, packed_layers
from .marks import is_packed
from .quantize import chosen_of, treatments_by
from .schemes import Scheme, names_in
from .surgery import replaced


@dataclass(frozen=True)
class Packing:
    """What is to become of a network while it is read. calibration: of its layers' inputs, where one was stored.
    convolutions: whether these are packed, too."""

    scheme: Scheme
    calibration: Calibration | None = None
    convolutions: bool = False

    def begin(self, network: nn.Module, device: torch.device) -> "Arriving":
        """network: on the meta device, with the layers that it would have in floats."""
        kept, names = getattr(network, "unquantized", ()), getattr(network, "embeddings", ())
        layers = chosen_of(network, self.scheme, kept, self.convolutions)
        embeddings = embeddings_in(network, names)
        form = FORMATS.get(self.scheme.format)
        empty = {
            name: form.empty(layer, LayerSettings(self.scheme.group_size, self.scheme.rotation(layer)))
            for name, layer in layers.items()
        } | {name: PackedEmbedding.empty(each) for name, each in embeddings.items()}
        how = treatments_by(network, layers, self.scheme, self.calibration)
        return Arriving(replaced(network, empty), units_in(network, layers, self.scheme, device), embeddings, how)


def packing_of(kind: type, stored: Collection[str], scheme: Scheme | None, calibration: Path) -> Packing | None:
    """How a network of `kind` with the tensors `stored` is packed while it is read; None where it has to be read whole,
    for a calibration that looks at floats, and where it is packed already.

    calibration: the file of a stored one, which may not be there."""
    if scheme is None or is_packed(stored):
        return None
    if scheme.needs_calibration and calibration.is_file():
        return Packing(scheme, Calibration.load(calibration))
    first = packed_by(kind, scheme)
    return first and Packing(first)


def packed_by(kind: type, scheme: Scheme) -> Scheme | None:
    """What the weights of a network of `kind` are packed by while they are read, where `scheme` is wanted and no
    calibration stored; None where the calibration takes them in floats."""
    if not scheme.needs_calibration:
        return scheme
    return scheme.weights_alone if kind.packed_first and not scheme.reconstruct else None


@dataclass
class Unit:
    """A layer, or several that are fused, packed when the last row of its weights has come.

    source: on the meta device. starts: its first row of each weight, by the weight's name. targets: names of the layers
    to pack, by their own names in the fused one, "" for a single one."""

    source: nn.Module
    starts: Mapping[str, int]
    targets: Mapping[str, str]
    scheme: Scheme
    device: torch.device
    values: Tensor | None = None
    came: int = 0

    def take(self, name: str, start: int, rows: Tensor, places: Mapping[str, Tensor]) -> None:
        if self.values is None:
            self.values = torch.empty(self.source.weight.shape, dtype=self.source.weight.dtype, device=self.device)
        first = self.starts[name] + start
        self.values[first : first + len(rows)] = rows
        self.came += len(rows)
        if self.came == len(self.values):
            self.pack(places)

    def pack(self, places: Mapping[str, Tensor]) -> None:
        empty, self.source.weight = self.source.weight, nn.Parameter(self.values, requires_grad=False)
        layer = self.scheme.pack(self.source)
        self.source.weight, self.values = empty, None
        parts = layer.parts() if isinstance(self.source, FusedLinear) else {"": layer}
        for own, target in self.targets.items():
            for kind, value in parts[own].named_parameters(recurse=False):
                if kind != "bias":  # which is read as it is
                    places[f"{target}.{kind}"].copy_(value)


def units_in(
    network: nn.Module, layers: Mapping[str, nn.Module], scheme: Scheme, device: torch.device
) -> dict[str, Unit]:
    """By the name of every weight that they need."""
    units = {}
    for path, module in network.named_modules():
        if inner := [name for name in names_in(path, module) if name in layers]:
            size = module.out_features // len(module.names)
            starts = {f"{name}.weight": place * size for place, name in enumerate(names_in(path, module))}
            targets = {name.rpartition(".")[2]: name for name in inner}
        elif path in layers:
            starts, targets = {f"{path}.weight": 0}, {"": path}
        else:
            continue
        units |= dict.fromkeys(starts, Unit(module, starts, targets, scheme, device))
    return units


@dataclass
class Arriving:
    """network: with packed layers, empty before it is filled. how: what becomes of their inputs."""

    network: nn.Module
    units: Mapping[str, Unit]
    embeddings: Mapping[str, nn.Embedding]
    how: Mapping[str, Treatment]

    @property
    def together(self) -> dict[str, tuple[str, ...]]:
        """Of each weight those that are packed with it, which are best read one after the other."""
        return {name: tuple(unit.starts) for name, unit in self.units.items()}

    def take(self, name: str, start: int, rows: Tensor, places: Mapping[str, Tensor]) -> bool:
        """Rows of the weight `name` of the network in floats, from `start` on; whether they are to be packed alone."""
        layer = name.removesuffix(".weight")
        if name in self.units:
            unit = self.units[name]
            unit.take(name, start, rows, places)
            return layer in unit.targets.values()
        if layer not in self.embeddings:
            return False
        codes, scale = rows_in_int8(rows.to(places[f"{layer}.weight_scale"]))
        part = slice(start, start + len(rows))
        places[f"{layer}.weight"][part], places[f"{layer}.weight_scale"][part] = codes, scale
        return True

    def finished(self, network: nn.Module) -> nn.Module:
        """What was filled, its layers' inputs treated."""
        for name, layer in packed_layers(network).items():
            layer.treat(self.how[name])
        return network
