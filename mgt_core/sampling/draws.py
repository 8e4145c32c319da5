"""Where random numbers come from: one CPU generator per image, so an image does not depend on its batch."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..errors import MGTError, whole_number
from ..placement import sent
from ..plain import members
from ..types import Step

SEED_SPAN, WORD = 2**64, 2**32
TWISTER = slice(24, 24 + 624 * 8)  # bytes of a torch generator's state that hold the Mersenne Twister's 624 words
ROWS = 1024  # rows of logits held at once on a CPU
GPU_BYTES = 2**30  # what those held at once on a GPU may take, where every part of them costs kernels
DRAWING = 3  # float32 tables that a draw takes beside the logits: their softmax, and its sum in float64

Chooser = Callable[[Tensor, Tensor], Tensor]  # (logits [B, m, V], their cells [B, m]) -> ids [B, m]


class Draws(Protocol):
    """A source of draws for one run; tests put recorded ones in its place."""

    def categorical(self, logits: Tensor, step: Step) -> Tensor:
        """One id per row of logits [B, M, V] (cells step.positions [B, M]) -> [B, M] long.

        A source with `chooser(step)` -> Chooser can draw for some of the step's cells at a time.
        """
        ...

    def gumbel(self, step: Step) -> Tensor:
        """[B, N] float32 standard Gumbel noise, one value a cell."""
        ...


def image_seeds(seed: int | Sequence[int], batch: int, counted: str = "images") -> tuple[int, ...]:
    """Seed of each image: `seed + index`, or its own. Raises MGTError for seeds of another number of images, or of what
    else is `counted`."""
    if (own := members(seed)) is not None:
        if len(own) != batch:
            raise MGTError(f"there are {len(own)} seeds for {batch} {counted}; give one for each, or one number")
        return tuple(whole_number("seed", each, 0, SEED_SPAN - 1) for each in own)
    seed = whole_number("seed", seed, 0, SEED_SPAN - 1)
    return tuple((seed + index) % SEED_SPAN for index in range(batch))


def stage_seed(seed: int, stage: int) -> int:
    """Of an image whose grid is filled in stages: the first is seeded as the image is, each other by a seed that has
    nothing to do with those beside it."""
    if not stage:
        return seed
    return int.from_bytes(hashlib.blake2b(f"stage/{seed}/{stage}".encode(), digest_size=8).digest(), "big")


def image_generators(seeds: Sequence[int]) -> tuple[torch.Generator, ...]:
    """One CPU generator per seed."""
    return tuple(map(cpu_generator, seeds))


def cpu_generator(seed: int) -> torch.Generator:
    """A generator on the CPU, seeded with all 64 bits: torch's own seeding takes the low 32 of them, and is what seeds
    below 2**32 mean. Others are spread over the generator's state as the Mersenne Twister's authors do with keys of
    several words (Matsumoto and Nishimura 2002, init_by_array), so that no two seeds begin alike."""
    seed = whole_number("seed", seed, 0, SEED_SPAN - 1)
    generator = torch.Generator().manual_seed(seed)
    if seed < WORD:
        return generator
    state = generator.get_state()
    _, words, *_ = np.random.RandomState([seed % WORD, seed // WORD]).get_state()
    state[TWISTER].view(torch.int64).copy_(torch.from_numpy(words.astype(np.int64)))
    return generator.set_state(state) or generator


def seeded_generator(name: str, device: torch.device) -> torch.Generator:
    """For bulk noise, which is drawn where it is used; `name` says what for."""
    number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=7).digest(), "big")
    return torch.Generator(device).manual_seed(number)


class GeneratorDraws:
    """One uniform per cell for the token and one for the confidence, whether the cell is masked or not,
    so that what a cell draws does not depend on the others."""

    def __init__(self, generators: Sequence[torch.Generator], cells: int):
        self.generators = tuple(generators)
        self.cells = cells

    def uniform(self, device: torch.device) -> Tensor:
        """[B, N] float64 in [0, 1)."""
        rows = [torch.rand(self.cells, generator=g, dtype=torch.float64) for g in self.generators]
        return sent(torch.stack(rows), exact_device(device))

    def chooser(self, step: Step) -> Chooser:
        uniform = self.uniform(step.tokens.device)

        def choose(logits: Tensor, positions: Tensor) -> Tensor:
            own = uniform.gather(1, positions.to(uniform.device))
            return inverse_cdf(logits.to(uniform.device), own).to(logits.device)

        return choose

    def categorical(self, logits: Tensor, step: Step) -> Tensor:
        return self.chooser(step)(logits, step.positions)

    def gumbel(self, step: Step) -> Tensor:
        u = self.uniform(step.tokens.device).clamp_min(1e-20)
        return -torch.log((-torch.log(u)).clamp_min(1e-20)).float().to(step.tokens.device)


def rows_held(codes: int, device: torch.device, conditions: int = 0) -> int:
    """Rows of logits to hold at once, those of every condition and what a draw takes."""
    return ROWS if device.type != "cuda" else max(ROWS, GPU_BYTES // (4 * codes * (conditions + DRAWING)))


def exact_device(device: torch.device) -> torch.device:
    """Where to accumulate in float64: Apple's GPUs cannot, so the CPU does it for them."""
    return torch.device("cpu") if device.type == "mps" else device


def inverse_cdf(logits: Tensor, uniform: Tensor) -> Tensor:
    """Smallest id whose cumulative probability exceeds the uniform; accumulated in float64.

    logits: [..., V] float; uniform: [...] float64 in [0, 1) -> [...] long.
    """
    rows, u = logits.reshape(-1, logits.shape[-1]), uniform.reshape(-1, 1)
    size, ids = rows_held(rows.shape[-1], rows.device), []
    for part, own in zip(rows.split(size), u.split(size), strict=True):
        cumulative = part.softmax(-1).double().cumsum_(-1)
        # Scaling by the last entry keeps u below the end whatever the rounding of the softmax.
        ids.append(torch.searchsorted(cumulative, own * cumulative[:, -1:], right=True).clamp_max_(rows.shape[-1] - 1))
    return (ids[0] if len(ids) == 1 else torch.cat(ids)).reshape(uniform.shape)
