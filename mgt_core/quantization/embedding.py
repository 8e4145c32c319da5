"""Embeddings of large vocabularies in 8 bits, a scale a row, of which only the rows asked for are decoded."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import PackedLayer, packed_layers, parameter
from .packing import GRID, ROWS_AT_ONCE

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
    least = max(LEAST, torch.finfo(weight.dtype).tiny)
    codes = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
    scale = weight.new_empty(len(weight))
    for rows in torch.arange(len(weight)).split(max(1, ROWS_AT_ONCE // weight.shape[1])):
        part = slice(int(rows[0]), int(rows[-1]) + 1)
        values = weight[part].to(torch.float32, copy=True)
        scale[part] = (values.abs().amax(1) / GRID).clamp(min=least)
        codes[part] = values.div_(scale[part].float()[:, None]).round_().clamp_(-GRID, GRID)
    return codes, scale


def embeddings_in(network: nn.Module, names: Iterable[str]) -> dict[str, nn.Embedding]:
    """Those of the embeddings `names` of a network that are not packed."""
    modules = {name: network.get_submodule(name) for name in names}
    return {name: module for name, module in modules.items() if isinstance(module, nn.Embedding)}


def packed_modules(network: nn.Module) -> dict[str, PackedLayer | PackedEmbedding]:
    """Everything that is packed, by its published name."""
    embeddings = {name: each for name, each in network.named_modules() if isinstance(each, PackedEmbedding)}
    return packed_layers(network) | embeddings
