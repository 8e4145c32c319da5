"""Classifier-free guidance: which network calls a guidance value needs, and how they combine."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .model import MGTModel
from .types import Condition


@dataclass
class GuidedNetwork:
    """The network with the conditions of one run. What depends on condition and grid is prepared once."""

    model: MGTModel
    positive: Condition | None
    negative: Condition | None
    grid: tuple[int, int]
    calls: int = 0
    _prepared: dict = field(default_factory=dict)

    def logits(self, tokens: Tensor, timestep: Tensor, cfg: float, positions: Tensor | None = None) -> Tensor:
        """l_u + cfg (l_c - l_u). cfg 1 evaluates the positive condition only, cfg 0 the negative only.

        tokens: [B, h, w] long; timestep: [B]; positions: [B, M] cells (row-major) to evaluate the head
        on, all of them by default -> [B, M, V] float32.
        """
        if cfg == 1:
            return self._evaluate("positive", tokens, timestep, positions)
        if cfg == 0:
            return self._evaluate("negative", tokens, timestep, positions)
        both = self._evaluate("pair", tokens.repeat(2, 1, 1), timestep.repeat(2), positions)
        unconditional, conditional = both.chunk(2)
        return torch.lerp(unconditional, conditional, cfg)

    def _evaluate(self, role: str, tokens: Tensor, timestep: Tensor, positions: Tensor | None) -> Tensor:
        self.calls += 1
        features = self.model.network.features(tokens, timestep, self._prepare(role)).flatten(1, 2)
        if positions is not None:
            index = positions.repeat(features.shape[0] // positions.shape[0], 1)
            features = features.gather(1, index[..., None].expand(-1, -1, features.shape[-1]))
        return self.model.network.head(features).float()

    def _prepare(self, role: str):
        if role not in self._prepared:
            condition = {
                "positive": lambda: self.positive,
                "negative": lambda: self.negative,
                "pair": lambda: Condition.cat([self.negative, self.positive]),
            }[role]()
            self._prepared[role] = self.model.network.prepare(condition, self.grid)
        return self._prepared[role]
