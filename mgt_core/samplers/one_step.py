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
from ..settings import share
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
    """

    neutral = None
    recommends = {"steps": 1, "cfg": 1.0}

    masked: float = share(0.6, "one-step masked share")
    noise: float = share(0.1, "one-step noise")

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
        drawn = run.draw(0, start, wanted=free)
        run.accept(run.keep(drawn, drawn.log_probability))

    def start(self, run: Run, free: Tensor) -> Tensor:
        """[B, N] a random code in every cell, but the mask in a share of the free ones."""
        codes = [torch.randint(run.model.codebook_size, (run.cells,), generator=g) for g in run.generators]
        order = [torch.rand(run.cells, generator=g) for g in run.generators]
        codes, order = (sent(torch.stack(rows), free.device) for rows in (codes, order))
        counts = [round(self.masked * count) for count in run.left]
        return codes.masked_fill(free & least_confident(order, free, counts), run.model.mask_id)


class NoisyEmbeddings(RunPatch):
    """What the one step of a run does inside the network."""

    def __init__(self, sigma: float, seeds: Sequence[int]):
        self.sigma, self.seeds = sigma, seeds

    def hooks(self, hooks: Hooks, call: Call) -> Hooks:
        return replace(hooks, perturb=lambda embeddings: noisy(embeddings, self.sigma, self.seeds))


def noisy(embeddings: Tensor, sigma: float, seeds: Sequence[int]) -> Tensor:
    """[B, h, w, C] mixed with standard normal noise at the same variance; the same noise for both conditions of a
    guided pair. Drawn on the embeddings' device: an image does not depend on its batch, but on the kind of device."""
    shape, device = embeddings.shape[1:], embeddings.device
    own = [torch.randn(shape, generator=seeded_generator(f"embeddings/{s}", device), device=device) for s in seeds]
    noise = torch.stack(own).repeat(len(embeddings) // len(seeds), 1, 1, 1).to(embeddings.dtype)
    return sigma * noise + math.sqrt(1 - sigma**2) * embeddings
