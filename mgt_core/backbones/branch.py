"""Self-Guidance (arXiv 2410.13136): logits steered away from those of a second pass through the same network.

The second pass sees a blank canvas and, through a small trained branch, what the first pass ended with: the
branch weighs the last hidden states h by their likeness to an anchor a, and sends them down the network
(top-down attention, TOAST, arXiv 2305.15542):

    x = (clamp(cos(h, a), 0, 1) h) T
    for l = L-1 ... 0:  x = P_l x,  t_l = Q_l x        second pass: value_l(y) + value_l(t_l)

It was trained to restore corrupted tokens, so its logits l_H are those of the meaning with the detail smoothed
away, and what the first pass knows beyond them is amplified:  l = l_H + (1 + s)(l - l_H) = l + s (l - l_H).

With classifier-free guidance the two terms add up, both from the same first pass, and the branch follows the
positive condition alone: l = l_u + w (l_c - l_u) + s (l_c - l_H). It costs one more pass a step.
"""

from abc import ABC, abstractmethod
from collections.abc import MutableSequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import MGTError
from ..registry import BACKBONES
from ..sampling.draws import cpu_generator
from .base import Backbone
from .hooks import Hooks

FACTOR = 16  # vectors that make up a class anchor ("tg_factor")
TENSORS = ("cls_anchor_gen.", "decoders.", "top_down_transform")  # beginnings of a branch's names in a file


class Decoder(nn.Module):
    """linear: P_l, on the way down; linear2: Q_l, into the layer."""

    def __init__(self, width: int):
        super().__init__()
        self.linear, self.linear2 = (nn.Linear(width, width, bias=False) for _ in range(2))


class Branch(nn.Module, ABC):
    """The trained part: anchor, T (`top_down_transform`) and the decoders, by their published names.

    S stands for what the network's blocks see of the image. A subclass says where the anchor comes from.
    """

    cls_anchor_gen: nn.Module

    def __init__(self, layers: int, width: int):
        super().__init__()
        self.top_down_transform = nn.Parameter(torch.eye(width))
        self.decoders = nn.ModuleList(Decoder(width) for _ in range(layers))

    @classmethod
    @abstractmethod
    def for_network(cls, network: Backbone, factor: int = FACTOR) -> "Branch":
        """A fresh branch of the network's sizes."""

    @abstractmethod
    def anchor(self, network: Backbone, prepared: Any) -> Tensor:
        """[B, C] for what the network was prepared with."""

    def blank(self, network: Backbone, prepared: Any) -> Any:
        """`prepared` for the second pass."""
        return prepared

    def training_logits(self, network: Backbone, features: Tensor) -> Tensor:
        """[..., C] -> logits over all that the loss counts with."""
        return network.head(features)

    def top_down(self, hidden: Tensor, anchor: Tensor) -> list[Tensor]:
        """t_l of every layer, [B, S, C] each. hidden: [B, S, C]; anchor: [B, C]."""
        likeness = F.cosine_similarity(hidden, anchor[:, None], dim=-1, eps=1e-12)
        x, down = (hidden * likeness.clamp(0, 1)[..., None]) @ self.top_down_transform, []
        for decoder in reversed(self.decoders):
            x = decoder.linear(x)
            down.append(decoder.linear2(x))
        return down[::-1]

    def second_pass(
        self,
        network: Backbone,
        hidden: Tensor,
        tokens: Tensor,
        timestep: Tensor,
        prepared: Any,
        taps: MutableSequence[Tensor] | None = None,
    ) -> Tensor:
        """Features of the second pass [B, h, w, C], from the last hidden states [B, S, C] of the first."""
        down = self.top_down(hidden, self.anchor(network, prepared).to(hidden.dtype))
        blank = torch.full_like(tokens, network.mask_id)
        return network.features(blank, timestep, self.blank(network, prepared), Hooks(top_down=down, taps=taps))

    def check(self, network: Backbone) -> None:
        """Raises MGTError where this branch is not one for `network`."""
        with torch.device("meta"):
            fresh = branch_class(network).for_network(network, self.factor)
        wanted = {n: list(v.shape) for n, v in fresh.state_dict().items()}
        held = {n: list(v.shape) for n, v in self.state_dict().items()}
        if wanted != held:
            wrong = sorted(n for n in wanted.keys() | held.keys() if wanted.get(n) != held.get(n))
            raise MGTError(
                f"the Self-Guidance branch was trained for another model: it has {wrong[0]} of "
                f"{held.get(wrong[0], 'no')} where this model takes {wanted.get(wrong[0], 'none')}"
            )

    @property
    def factor(self) -> int:
        return FACTOR


class PooledAnchor(nn.Module):
    """An anchor for every condition, from the one vector of it that enters the network's modulation."""

    def __init__(self, width: int):
        super().__init__()
        self.layer_norm = nn.LayerNorm(width)
        self.mlp_t = nn.Linear(width, width)

    def forward(self, pooled: Tensor) -> Tensor:
        """[B, C] -> [B, C]."""
        return self.mlp_t(self.layer_norm(pooled))


def branch_class(network: Backbone) -> type[Branch]:
    """Raises MGTError for a network that no branch can be attached to."""
    if network.self_guidance_branch is None:
        able = [kind.__name__ for kind in map(BACKBONES.get, BACKBONES) if kind.self_guidance_branch is not None]
        raise MGTError(
            "Self-Guidance needs a model whose attention its branch can reach into: "
            f"{' or '.join(able)}, and this one is {type(network).__name__}{network.why('top_down')}"
        )
    return network.self_guidance_branch


def fresh_branch(network: Backbone, seed: int = 0) -> Branch:
    """An untrained branch, on the CPU: P_l = 1 and Q_l = 0, so that nothing comes down and l_H is what the network
    makes of the blank canvas alone. With it Self-Guidance amplifies what the tokens chosen so far say."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.set_state(cpu_generator(seed).get_state())  # torch.manual_seed would seed GPUs too
        branch = branch_class(network).for_network(network)
    for decoder in branch.decoders:
        nn.init.eye_(decoder.linear.weight)
        nn.init.zeros_(decoder.linear2.weight)
    return branch
