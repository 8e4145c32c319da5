"""Classifier-free guidance: its value over a run, the network calls it needs, and how they combine."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .errors import MGTError, finite_number
from .interval import check_interval, in_interval
from .patches import NO_PATCHES, Patches
from .types import Condition

if TYPE_CHECKING:
    from .model import MGTModel

# Weight between the value outside and the full value, at x from 0 (first step) to 1 (last).
GUIDANCE_SHAPES: dict[str, Callable[[float], float]] = {
    "constant": lambda x: 1.0,
    "rising": lambda x: x,
    "falling": lambda x: 1 - x,
    "cosine rising": lambda x: (1 - math.cos(math.pi * x)) / 2,
}


@dataclass(frozen=True)
class GuidanceSchedule:
    """Guidance over the run. Step k of T uses the run's value w when start <= k / T < end, and
    `outside` elsewhere (1: the positive condition alone, at half the cost).

    Guidance interval, arXiv 2404.07724; eMIGM (arXiv 2503.07197) finds it for masked models.
    shape: inside the interval: constant (always w), rising from `outside` at its first step to w at its
    last, falling, or cosine rising.
    """

    start: float = 0.0
    end: float = 1.0
    shape: str = "constant"
    outside: float = 1.0

    def __post_init__(self):
        check_interval("guidance", self.start, self.end)
        finite_number("guidance outside", self.outside, 0, 1000)
        if self.shape not in GUIDANCE_SHAPES:
            raise MGTError(f"guidance shape is {self.shape!r}; accepted are {', '.join(GUIDANCE_SHAPES)}")

    def at(self, cfg: float, index: int, total: int) -> float:
        """Guidance of step `index` of `total` when the run asks for `cfg`."""
        if not in_interval(self.start, self.end, index, total):
            return self.outside
        if self.shape == "constant":
            return cfg
        first, last = math.ceil(self.start * total), math.ceil(self.end * total) - 1
        x = (index - first) / (last - first) if last > first else 1.0
        return self.outside + (cfg - self.outside) * GUIDANCE_SHAPES[self.shape](x)


@dataclass
class GuidedNetwork:
    """The network with the conditions of one run. What depends on condition and grid is prepared once."""

    model: "MGTModel"
    positive: Condition | None
    negative: Condition | None
    grid: tuple[int, int]
    patches: Patches = NO_PATCHES
    calls: int = 0
    passes: int = 0
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
        if self.alike:
            both = self._evaluate("pair", tokens.repeat(2, 1, 1), timestep.repeat(2), positions)
            unconditional, conditional = both.chunk(2)
        else:
            unconditional = self._evaluate("negative", tokens, timestep, positions)
            conditional = self._evaluate("positive", tokens, timestep, positions)
        return torch.lerp(unconditional, conditional, cfg)

    @property
    def alike(self) -> bool:
        """Whether both conditions fit one call; prompts of different length take two."""
        return self.positive.shapes == self.negative.shapes

    def _evaluate(self, role: str, tokens: Tensor, timestep: Tensor, positions: Tensor | None) -> Tensor:
        self.calls += 1
        self.passes += 2 if role == "pair" else 1
        features = self.model.network.features(tokens, timestep, self._prepare(role), self.patches).flatten(1, 2)
        if positions is not None:
            index = positions.repeat(features.shape[0] // positions.shape[0], 1)
            features = features.gather(1, index[..., None].expand(-1, -1, features.shape[-1]))
        return self.model.network.head(features).float()

    def _prepare(self, role: str):
        if role not in self._prepared:
            both = role == "pair"
            condition = Condition.cat([self.negative, self.positive]) if both else getattr(self, role)
            self._prepared[role] = self.model.network.prepare(condition, self.grid)
        return self._prepared[role]
