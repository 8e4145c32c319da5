"""Random numbers for thousands of pictures at once, where it does not matter which picture is which."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..sampling.draws import GeneratorDraws, cpu_generator, exact_device, seeded_generator
from ..types import Step


class BatchDraws(GeneratorDraws):
    """As a run's own draws, but from one generator for the whole batch, seeded by its first picture's: a picture then
    depends on its batch, and a small one costs no generator of its own. Give it to a sampler as `draws`."""

    def __init__(self, generators: Sequence[torch.Generator], cells: int):
        super().__init__(generators, cells)
        self.shared = cpu_generator(self.generators[0].initial_seed())

    def uniform(self, device: torch.device) -> Tensor:
        drawn = torch.rand(len(self.generators), self.cells, generator=self.shared, dtype=torch.float64)
        return drawn.to(exact_device(device))


def batch_noise(step: Step, like: Tensor) -> Tensor:
    """Noise [B, M, V] for noise regularization, one generator for the whole batch. Give it as `source`."""
    name = f"batch noise/{step.seeds[0]}/{step.index}/{step.visit}"
    return torch.randn(like.shape, generator=seeded_generator(name, like.device), device=like.device)
