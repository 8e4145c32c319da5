"""Embeddings of large vocabularies in 8 bits, a scale a row, of which only the rows asked for are decoded."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import PackedLayer, packed_layers, parameter
from .packing import GRID

LEAST = 1e-30  # scale of a row


class PackedEmbedding(nn.Module):
    """Takes the place of an Embedding. Its rows come in the type of `weight_scale`, that of the network."""

    name = "int8_tensorwise"
    packed = True  # see PackedLayer

    def __init__(self, weight: Tensor, scale: Tensor):
        """weight: [V, C] int8. scale: [V]."""
        super().__init__()
        self.weight, self.weight_scale = parameter(weight), parameter(scale)

    @classmethod
    def pack(cls, source: nn.Embedding) -> "PackedEmbedding":
        return cls(*rows_in_int8(source.weight.detach()))

    @classmethod
    def empty(cls, source: nn.Embedding) -> "PackedEmbedding":
        """The same without memory, to be filled."""
        shape, dtype = source.weight.shape, source.weight.dtype
        codes = torch.empty(shape, dtype=torch.int8, device="meta")
        return cls(codes, torch.empty(shape[:1], dtype=dtype, device="meta"))

    def config(self) -> dict:
        return {"format": self.name}

    def forward(self, ids: Tensor) -> Tensor:
        """[...] -> [..., C]."""
        scale = F.embedding(ids, self.weight_scale[:, None])
        return F.embedding(ids, self.weight).to(scale.dtype).mul_(scale)


def rows_in_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """[V, C] -> int8 codes, and scales [V] in the type of the weight, by which the codes are rounded."""
    values = weight.float()
    scale = (values.abs().amax(1) / GRID).to(weight.dtype).clamp(min=LEAST if weight.dtype != torch.float16 else 1e-7)
    return (values / scale.float()[:, None]).round_().clamp_(-GRID, GRID).to(torch.int8), scale


def embeddings_in(network: nn.Module, names: Iterable[str]) -> dict[str, nn.Embedding]:
    """Those of the embeddings `names` of a network that are not packed."""
    modules = {name: network.get_submodule(name) for name in names}
    return {name: module for name, module in modules.items() if isinstance(module, nn.Embedding)}


def packed_modules(network: nn.Module) -> dict[str, PackedLayer | PackedEmbedding]:
    """Everything that is packed, by its published name."""
    embeddings = {name: each for name, each in network.named_modules() if isinstance(each, PackedEmbedding)}
    return packed_layers(network) | embeddings
