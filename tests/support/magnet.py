"""Small MAGNeTs with random weights, conditions and tokens for them."""

from dataclasses import replace

import torch
from torch import Tensor

from mgt_core import Condition, MGTModel, TokenState, empty_state
from mgt_core.backbones.magnet.config import MagnetConfig
from mgt_core.backbones.magnet.network import MAGNeT
from mgt_core.sampling.draws import cpu_generator

from .device import DEVICE

NOW = torch.zeros(1)
TINY = MagnetConfig(dim=12, heads=2, layers=2, hidden_scale=2, books=4, codes=9, text_width=6, reach=2, seconds=0.5)


def magnet(seed: int = 0, **changed) -> MAGNeT:
    """Of TINY's sizes, but for those that are given."""
    network = MAGNeT(replace(TINY, **changed)).eval().requires_grad_(False)
    generator = cpu_generator(seed)
    for name, value in network.named_parameters():
        spread = 0.2 if "norm" in name or name.endswith("bias") else 1.5 * value.shape[-1] ** -0.5
        value.copy_(spread * torch.randn(value.shape, generator=generator) + ("norm" in name and "weight" in name))
    return network.to(DEVICE)


def model_of(network: MAGNeT) -> MGTModel:
    return MGTModel(network, pixels_per_token=4, sample_rate=200)


def words(network: MAGNeT, batch: int = 1, length: int = 4, seed: int = 0, visible: Tensor | None = None) -> Condition:
    hidden = torch.randn(batch, length, network.config.text_width, generator=cpu_generator(seed))
    return Condition(hidden=hidden, visible=visible).to(DEVICE)


def no_words(network: MAGNeT, batch: int = 1, length: int = 4) -> Condition:
    return Condition(hidden=torch.zeros(batch, length, network.config.text_width)).to(DEVICE)


def tokens_for(network: MAGNeT, batch: int = 1, frames: int = 10, seed: int = 0, masked: float = 0.3) -> Tensor:
    """[batch, books, frames], some of them masked."""
    generator, shape = cpu_generator(seed), (batch, network.config.books, frames)
    ids = torch.randint(network.codebook_size, shape, generator=generator)
    return ids.masked_fill(torch.rand(shape, generator=generator) < masked, network.mask_id).to(DEVICE)


def blank(network: MAGNeT, batch: int = 1, frames: int = 10) -> TokenState:
    return empty_state(batch, (network.config.books, frames), network.mask_id, network.codebook_size)


def logits_at(network: MAGNeT, stage: int, tokens: Tensor, condition: Condition, **hooks) -> Tensor:
    """[B, T, codes] of one book."""
    view = network.at_stage(stage, tokens)
    prepared = view.prepare(condition, (1, tokens.shape[2]))
    return view.head(view.features(tokens[:, stage : stage + 1], NOW, prepared, **hooks))[:, 0]
