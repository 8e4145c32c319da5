"""What a Self-Guidance branch learns: to restore tokens that were replaced (arXiv 2410.13136, section 4.2).

A share of the visible tokens is replaced by others, the second pass has to name the tokens that stood there, and
its loss is the cross entropy there, with label smoothing. TOAST's variational term (arXiv 2305.15542) asks every
P_l to undo layer l: from the layer's output, what went in.

Every function takes the random numbers it needs, so that recorded ones can be fed.
"""

import math
from collections import deque
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..backbones.base import Backbone
from ..backbones.branch import Branch
from ..backbones.hooks import Hooks

IGNORED = -100  # a cell that the loss leaves out
SUBSTITUTED = 0.3  # share of the visible tokens that is replaced
SMOOTHING = 0.1
VARIATION = 0.1  # weight of the variational term


def mask_some(tokens: Tensor, mask_id: int, progress: Tensor, uniform: Tensor) -> Tensor:
    """Mask a share cos(pi u / 2) of each image's tokens, one at least.

    tokens: [B, N] long; progress: u [B] in 0..1; uniform: [B, N], one number a cell, which decides the order.
    """
    total = tokens.shape[1]
    counts = (total * torch.cos(progress * math.pi / 2)).round().clamp(1, total)
    return tokens.masked_fill(uniform.argsort(1) < counts[:, None], mask_id)


@torch.no_grad()
def propose(network: Backbone, shape: tuple, prepared: Any, race: Tensor, flat: bool) -> Tensor:
    """[B, N] codes that the network draws for a canvas with nothing on it.

    shape: (B, h, w); race: [B, N, V] standard exponential draws. flat: as the published code, which takes the
    softmax of the softmax, so that every code is about as likely as any other.
    """
    blank = torch.full(shape, network.mask_id, device=race.device)
    time = torch.ones(shape[0], device=race.device)
    p = network.head(network.features(blank, time, prepared)).flatten(1, 2).float().softmax(-1)
    return ((p.softmax(-1) if flat else p) / race).argmax(-1)


def substitute(masked: Tensor, proposed: Tensor, mask_id: int, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Replace a share of the visible tokens, one cell at least: (tokens, labels), [B, N] long each.

    labels: what stood where a token was replaced, else IGNORED. Masked cells stay masked, unless nothing is
    visible: then one of them is replaced, and its label is the mask token, as published.
    """
    hidden = masked == mask_id
    counts = (SUBSTITUTED * (~hidden).sum(1)).round().clamp_min(1)
    chosen = (uniform + hidden.to(uniform.dtype)).argsort(1).argsort(1) < counts[:, None]
    return torch.where(chosen, proposed, masked), masked.masked_fill(~chosen, IGNORED)


@dataclass(frozen=True)
class Loss:
    """restoration: cross entropy where tokens were replaced; variation: TOAST's term, weighted."""

    restoration: Tensor
    variation: Tensor

    @property
    def total(self) -> Tensor:
        return self.restoration + self.variation


@torch.no_grad()
def first_pass(network: Backbone, tokens: Tensor, timestep: Tensor, prepared: Any) -> Tensor:
    """[B, S, C] the network's last hidden states."""
    last: deque[Tensor] = deque(maxlen=1)
    network.features(tokens, timestep, prepared, Hooks(taps=last))
    return last[0]


def branch_loss(
    branch: Branch, network: Backbone, tokens: Tensor, labels: Tensor, timestep: Tensor, prepared: Any
) -> Loss:
    """tokens: [B, h, w] long, some replaced; labels: [B, N]; the network's own weights are left alone."""
    states: list[Tensor] = []
    hidden = first_pass(network, tokens, timestep, prepared)
    features = branch.second_pass(network, hidden, tokens, timestep, prepared, states).flatten(1, 2)
    # Only those rows: the head over a whole grid is most of the work.
    counted = labels != IGNORED
    logits, wanted = branch.training_logits(network, features[counted]).float(), labels[counted]
    wanted = wanted.masked_fill(wanted >= logits.shape[-1], IGNORED)  # a network without a logit for the mask token
    restoration = F.cross_entropy(logits, wanted, ignore_index=IGNORED, label_smoothing=SMOOTHING, reduction="sum")
    restoration = restoration / (wanted != IGNORED).sum().clamp_min(1)  # in a batch without a visible token none counts
    states = [state.detach() for state in states]
    undone = [
        F.mse_loss(decoder.linear(out).float(), into.float())
        for decoder, into, out in zip(branch.decoders, states[:-1], states[1:], strict=True)
    ]
    return Loss(restoration, VARIATION * torch.stack(undone).sum())
