"""Averages of weights over the steps of a training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

AVERAGING = 0.999


class Averages:
    """Exponential averages of all weights, shorter while few steps have been made."""

    def __init__(self, network: nn.Module) -> None:
        weights = {name: value for name, value in network.state_dict().items() if value.is_floating_point()}
        self.names, self.live = list(weights), list(weights.values())
        self.means = [value.clone() for value in self.live]

    @torch.no_grad()
    def update(self, step: int) -> None:
        torch._foreach_lerp_(self.means, self.live, 1 - min(AVERAGING, (step + 1) / (step + 10)))

    @torch.no_grad()
    def restore(self, state: dict[str, Tensor]) -> None:
        """As they were when `state` was asked for."""
        torch._foreach_copy_(self.means, [state[name] for name in self.names])

    def state(self) -> dict[str, Tensor]:
        return dict(zip(self.names, self.means))
