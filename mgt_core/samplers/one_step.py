"""One evaluation of a distilled network."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..backbones.hooks import Hooks
from ..patches.base import Call, RunPatch
from ..placement import sent
from ..registry import SAMPLERS
from ..sampling.draws import seeded_generator
from ..sampling.run import Run
from ..sampling.step import least_confident
from ..settings import number, share
from .base import Sampler

log = logging.getLogger(__name__)


@SAMPLERS.register("one_step")
@dataclass(frozen=True)
class OneStep(Sampler):
    """Di[M]O (arXiv 2503.15457): one evaluation, all of whose variety comes from where it starts. The cells to be
    filled get random codes, or for a share of them the mask; the token embeddings e become
    sqrt(1 - sigma^2) e + sigma noise; and one evaluation draws all those cells, whatever they held.

    It takes weights distilled for it, which want guidance 1. Of a longer run there is only this one step.
    masked: share of the cells that start masked (0.6 in the released checkpoints). noise: sigma (0.1).
    softmax_temperature: what the logits are divided by before modifiers see them (1; 1.2 in the authors' notes on
    benchmarks).
    """

    neutral = None
    recommends = {"steps": 1, "cfg": 1.0}

    masked: float = share(0.6, "one-step masked share")
    noise: float = share(0.1, "one-step noise")
    softmax_temperature: float = number(1.0, 0.05, 100.0, "one-step softmax temperature", 0.05, kw_only=True)

    def steps_made(self, steps: int) -> int:
        if steps > 1:
            log.warning("the one-step sampler makes one step, and the run asks for %d", steps)
        return 1

    def loop(self, run: Run) -> None:
        free = run.tokens == run.model.mask_id
        start = torch.where(free, self.start(run, free), run.tokens)
        if self.noise:
            run.model.network.check_supports("perturb", "noise on the embeddings")
            run.network.patches.append(NoisyEmbeddings(self.noise, run.seeds))
        if self.softmax_temperature != 1:
            run.modifiers.insert(0, lambda logits, step: logits / self.softmax_temperature)
        drawn = run.draw(0, start, wanted=free)
        run.accept(run.keep(drawn, drawn.log_probability))

    def start(self, run: Run, free: Tensor) -> Tensor:
        """[B, N] a random code in every cell, but the mask in a share of the free ones."""
        codes, uniform = self.numbers(run)
        # The released code masks the cells whose entry in the order is small, not those that come early in it.
        order = uniform.argsort(dim=1).float()
        counts = [round(self.masked * count) for count in run.left]
        return codes.masked_fill(free & least_confident(order, free, counts), run.model.mask_id)

    def numbers(self, run: Run) -> tuple[Tensor, Tensor]:
        """[B, N] codes, and uniform numbers that say which cells start masked."""
        codes = [torch.randint(run.model.codebook_size, (run.cells,), generator=g) for g in run.generators]
        uniform = [torch.rand(run.cells, generator=g) for g in run.generators]
        return sent(torch.stack(codes), run.device), sent(torch.stack(uniform), run.device)


class NoisyEmbeddings(RunPatch):
    """What the one step of a run does inside the network."""

    def __init__(self, sigma: float, seeds: Sequence[int]):
        self.sigma, self.seeds = sigma, seeds

    def hooks(self, hooks: Hooks, call: Call) -> Hooks:
        return replace(hooks, perturb=lambda embeddings: noisy(embeddings, self.sigma, self.seeds))


def noisy(embeddings: Tensor, sigma: float, seeds: Sequence[int]) -> Tensor:
    """[B, h, w, C] mixed with standard normal noise at the same variance; the same noise for both conditions of a
    guided pair. Drawn on the embeddings' device: an image does not depend on its batch, but on the kind of device."""
    own = normal(embeddings.shape[1:], seeds, embeddings.device)
    noise = own.repeat(len(embeddings) // len(seeds), 1, 1, 1).to(embeddings.dtype)
    return sigma * noise + math.sqrt(1 - sigma**2) * embeddings


def normal(shape: Sequence[int], seeds: Sequence[int], device: torch.device) -> Tensor:
    """[B, *shape], of each image by its seed."""
    own = [torch.randn(shape, generator=seeded_generator(f"embeddings/{s}", device), device=device) for s in seeds]
    return torch.stack(own)
