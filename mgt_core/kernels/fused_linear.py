"""Linear layers of one input computed as one product, under the names that checkpoints give them."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        outer = prefix[: prefix.rstrip(".").rfind(".") + 1]
        destination.update({outer + name: value for name, value in self.parts().items()})


class Fusing(nn.Module):
    """A module with FusedLinear layers: what a state dict holds of them apart is put together."""

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        for attribute, layer in self.named_children():
            for kind in ("weight", "bias") if isinstance(layer, FusedLinear) else ():
                names = [f"{prefix}{name}.{kind}" for name in layer.names]
                # Left apart when one is missing: torch then says so.
                if all(name in state_dict for name in names):
                    state_dict[f"{prefix}{attribute}.{kind}"] = torch.cat([state_dict.pop(name) for name in names])
        super()._load_from_state_dict(state_dict, prefix, *args)
