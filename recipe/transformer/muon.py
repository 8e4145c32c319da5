"""Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) for matrices.

torch.optim.Muon computes in bfloat16 alone, which takes most of a step on processors without instructions for it.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

COEFFICIENTS, ITERATIONS = (3.4445, -4.7750, 2.0315), 5


def orthogonalize(batch: Tensor) -> Tensor:
    """[K, m, n] -> the same with all singular values near 1, by a quintic Newton-Schulz iteration."""
    wide = batch.shape[1] <= batch.shape[2]
    x = batch if wide else batch.mT
    x = x / x.flatten(1).norm(dim=1).clamp_min(1e-7)[:, None, None]
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if wide else x.mT


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalized, at the scale of AdamW's updates (Liu et al. 2025, arXiv 2502.16982, eq. 4)."""

    def __init__(self, weights: list[Tensor], lr: float, weight_decay: float = 0.0, momentum: float = 0.95) -> None:
        super().__init__(weights, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            alike = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    alike[weight.shape].append(weight)
            for shape, weights in alike.items():
                updates = []
                for weight in weights:
                    if "momentum" not in self.state[weight]:
                        self.state[weight]["momentum"] = torch.zeros_like(weight)
                    held = self.state[weight]["momentum"]
                    held.lerp_(weight.grad, 1 - group["momentum"])
                    updates.append(weight.grad.lerp(held, group["momentum"]))
                scale = group["lr"] * 0.2 * max(shape) ** 0.5
                for weight, update in zip(weights, orthogonalize(torch.stack(updates)), strict=True):
                    weight.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=scale)
