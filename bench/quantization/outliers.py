"""Random weights and inputs with the spread of trained ones: rows of different size, some inputs far larger."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from mgt_core.backbones.meissonic.network import MeissonicConfig, MeissonicTransformer
from mgt_core.quantization.storage import WEIGHTS
from recipe.files import save_sharded, write_json

OUTLIERS, OUTLIER_SIZE = 0.004, 12.0  # share of the input channels, and how much larger they are
SHARD_BYTES = 2**28


def write_network(folder: Path, config: dict) -> None:
    """A transformer folder of a Meissonic, bfloat16; at most SHARD_BYTES of weights are held at once."""
    write_json(folder / "config.json", config)
    with torch.device("meta"):
        wanted = MeissonicTransformer(MeissonicConfig.from_dict(config)).state_dict()
    save_sharded(random_weights(wanted), folder, WEIGHTS.removesuffix(".safetensors"), SHARD_BYTES)


def random_weights(wanted: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """One for each of `wanted`, of its shape. Matrices are cut from one pool of noise, which is quicker to draw."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2**24, generator=generator)
    for name, like in wanted.items():
        shape = like.shape
        if len(shape) < 2:
            value = torch.ones(shape) if "norm" in name else 0.02 * torch.randn(shape, generator=generator)
        else:
            start = int(torch.randint(2**24 - shape.numel(), (1,), generator=generator)) if shape.numel() < 2**24 else 0
            value = noise[start : start + shape.numel()].reshape(shape) / math.sqrt(shape[1:].numel())
            rows = torch.exp(0.4 * torch.randn(shape[0], generator=generator))
            columns = torch.where(torch.rand(shape[1], generator=generator) < OUTLIERS, OUTLIER_SIZE, 1.0)
            value = value * rows.view(-1, *[1] * (len(shape) - 1)) * columns.view(1, -1, *[1] * (len(shape) - 2))
        yield name, value.to(torch.bfloat16)


def inputs_of(layer: torch.nn.Linear, generator: torch.Generator) -> Tensor:
    """[64, K] with outlier channels, as trained transformers have them."""
    x = torch.randn(64, layer.in_features, generator=generator)
    return x * torch.where(torch.rand(layer.in_features, generator=generator) < OUTLIERS, OUTLIER_SIZE, 1.0)
