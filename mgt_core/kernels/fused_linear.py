"""Linear layers of one input computed as one product, under the names that checkpoints give them."""

from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def beside(path: str, name: str) -> str:
    """`name` as an attribute of what holds the module at `path`."""
    return path[: path.rstrip(".").rfind(".") + 1] + name


class FusedLinear(nn.Linear):
    """Layers `names` of one width, one below the other in `weight` [len(names) * dim_out, dim_in].

    Set in a `Fusing` module, its state dict holds each layer by its own name, beside the attribute it is
    set as: `to_q.weight` rather than `to_qkv.weight`. The values are views of the one weight.
    """

    def __init__(self, names: Sequence[str], dim_in: int, dim_out: int, bias: bool = True):
        super().__init__(dim_in, len(names) * dim_out, bias)
        self.names = tuple(names)

    def rows(self, name: str) -> slice:
        """Rows of `weight` and `bias` that are layer `name`."""
        size, place = self.out_features // len(self.names), self.names.index(name)
        return slice(place * size, (place + 1) * size)

    def product(self, name: str, x: Tensor) -> Tensor:
        """[..., dim_in] times the weight of layer `name` alone, without its bias -> [..., dim_out]."""
        return F.linear(x, self.weight[self.rows(name)].to(x.device))  # it may lie elsewhere, see nodes/streaming.py

    def parts(self) -> dict[str, Tensor]:
        """Views of every layer's weight and bias by their published names ("to_q.weight")."""
        kinds = [(kind, value.detach()) for kind, value in self.named_parameters(recurse=False)]
        return {f"{name}.{kind}": value[self.rows(name)] for name in self.names for kind, value in kinds}

    def part(self, name: str) -> nn.Linear:
        """Layer `name` as one of its own, whose weights are views of these."""
        rows = self.rows(name)
        layer = nn.Linear(self.in_features, rows.stop - rows.start, self.bias is not None, device="meta")
        for kind, value in self.named_parameters(recurse=False):
            setattr(layer, kind, nn.Parameter(value.detach()[rows], requires_grad=False))
        return layer

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        destination.update({beside(prefix, name): value for name, value in self.parts().items()})


class Apart(nn.Module):
    """In the place of a FusedLinear: its layers one by one, of any kind each, their outputs side by side.

    Its state dict, too, holds each layer by its own name.
    """

    def __init__(self, layers: Mapping[str, nn.Module]):
        super().__init__()
        self.names = tuple(layers)
        self.in_features = next(iter(layers.values())).in_features
        self.out_features = sum(layer.out_features for layer in layers.values())
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        """[..., dim_in] -> [..., out_features]."""
        layers = [self._modules[name] for name in self.names]
        # What packed layers make of their input first is the same for all of them.
        packed = [hasattr(layer, "turned") for layer in layers]
        turned = layers[packed.index(True)].turned(x) if any(packed) else None
        return torch.cat(
            [layer(x, turned) if own else layer(x) for layer, own in zip(layers, packed, strict=True)], dim=-1
        )

    def product(self, name: str, x: Tensor) -> Tensor:
        """As FusedLinear's."""
        layer = self._modules[name]
        return layer.times(x) if hasattr(layer, "times") else F.linear(x, layer.weight.to(x.device))

    def state_dict(self, *args, destination=None, prefix="", keep_vars=False):
        destination = {} if destination is None else destination
        for name in self.names:
            own = beside(prefix, name) + "."
            self._modules[name].state_dict(destination=destination, prefix=own, keep_vars=keep_vars)
        return destination


class Fusing(nn.Module):
    """A module with FusedLinear layers: what a state dict holds of them apart is put together."""

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        for attribute, layer in self.named_children():
            for kind in ("weight", "bias") if isinstance(layer, FusedLinear) else ():
                names = [f"{prefix}{name}.{kind}" for name in layer.names]
                # Left apart when one is missing: torch then says so.
                if all(name in state_dict for name in names):
                    state_dict[f"{prefix}{attribute}.{kind}"] = torch.cat([state_dict.pop(name) for name in names])
            for part in layer.names if isinstance(layer, Apart) else ():
                for name in [name for name in state_dict if name.startswith(f"{prefix}{part}.")]:
                    inner = f"{prefix}{attribute}.{name.removeprefix(prefix)}"
                    state_dict[inner] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *args)


def published_modules(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module by its path, and those of an Apart by their published names."""
    apart = {path for path, module in network.named_modules() if isinstance(module, Apart)}
    for path, module in network.named_modules():
        holder, _, name = path.rpartition(".")
        yield (beside(holder, name) if holder in apart else path), module


def layers_apart(network: nn.Module) -> dict[str, nn.Module]:
    """The same with fused layers taken apart: in place of each of them views of its layers, by their names."""
    found = {}
    for path, module in published_modules(network):
        fused = module.names if isinstance(module, FusedLinear) else ()
        found |= {beside(path, name): module.part(name) for name in fused} or {path: module}
    return found
