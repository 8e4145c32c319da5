"""The loop that trains a Self-Guidance branch: resumable, half precision where it helps, the network frozen."""

import contextlib
import glob
import math
import time
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from ..backbones.base import Backbone
from ..backbones.branch import Branch, fresh_branch
from ..errors import MGTError, finite_number, path_named, whole_number
from ..files import alone, sweep
from ..loading.pipeline import Pipeline
from ..model import told_index
from ..plain import plain_number
from ..sampling.draws import SEED_SPAN, cpu_generator
from ..settings import hold
from ..types import PICTURES, check_makes
from .examples import Examples
from .identity import weights_mark
from .kept import Kept, check_output, told_of
from .objective import branch_loss, first_pass, mask_some, propose, substitute

AVERAGING = 0.9999
WARMUP = 100
INDEX_STEPS = 64  # of a run, where the network is told the number of steps to come


@dataclass(frozen=True)
class TrainingSettings:
    """steps, batch: of the optimizer. rate: learning rate, after a warm-up and with a cosine to 0.
    flat: replacement tokens as the published code draws them, nearly uniform; else from the network's own
    distribution over a blank canvas, as the paper has it. save_every: seconds between checkpoints.
    The number format is the network's; the branch itself is kept in float32."""

    steps: int = 5000
    batch: int = 32
    rate: float = 1e-4
    seed: int = 0
    flat: bool = False
    save_every: float = 120.0

    def __post_init__(self):
        hold(
            self,
            steps=whole_number("steps", self.steps, 1, 10**9),
            batch=whole_number("batch", self.batch, 1, 65536),
            seed=whole_number("seed", self.seed, 0, 2**63 - 1),
            rate=finite_number("rate", self.rate, 1e-9, 1),
            flat=plain_number(self.flat),
            save_every=plain_number(self.save_every),
        )


def train(pipe: Pipeline, examples: Examples, out: str | PathLike, settings: TrainingSettings) -> Branch:
    """Trains until `settings.steps` and writes OUT (.safetensors, float16: the averaged branch) and OUT.png.

    OUT.state is where a run that was stopped goes on; it stays, so that more steps can be added, from where on the rate
    follows the new number of steps. All of them are written whole or not at all, OUT.state first. The step's random
    numbers depend on seed and step alone: a run that was stopped trains the same. Raises MGTError when OUT.state was
    made with other settings, another model or other examples, when OUT is not of a training, when another process
    trains it, when the disk is full, and for a model of sound.
    """
    check_makes(PICTURES, "training Self-Guidance", model=pipe.model)
    out = path_named("out", out)
    with alone(out, "training"):
        sweep(out.parent, glob.escape(out.stem) + ".*")
        check_output(out, settings)
        return go_on(pipe, examples, out, settings)


def go_on(pipe: Pipeline, examples: Examples, out: Path, settings: TrainingSettings) -> Branch:
    """From the state that was kept, or from the beginning."""
    network = pipe.model.network
    device = pipe.model.acquire()
    branch = fresh_branch(network, settings.seed).to(device).train()
    kept, told = Kept(branch, settings.rate, out, depends_on(pipe, examples, settings)), told_of(network, settings)
    if not kept.restore(device):
        with number_format(pipe, device):
            aim(branch, network, corrupted(pipe, examples, 0, settings))
        kept.average(1.0)
    if kept.step > settings.steps:
        raise MGTError(f"{kept.file} is at step {kept.step} already; give as many steps or more, or another --out")
    saved, written = time.monotonic(), 0
    bar = tqdm(range(kept.step, settings.steps), initial=kept.step, total=settings.steps, desc=out.name)
    for step in bar:
        for group in kept.optimizer.param_groups:
            group["lr"] = settings.rate * rate(step, settings.steps)
        with number_format(pipe, device):
            batch = corrupted(pipe, examples, step, settings)
            restoration, variation = one_step(network, branch, batch, kept.optimizer)
        if not math.isfinite(restoration + variation):
            raise MGTError(f"the loss of step {step + 1} is no finite number; begin anew with a smaller rate")
        kept.average(1 - min(AVERAGING, (step + 1) / (step + 10)))
        kept.curve.append((round(restoration, 4), round(variation, 4)))
        bar.set_postfix(restoration=f"{restoration:.3f}", variation=f"{variation:.3f}")
        if time.monotonic() - saved > settings.save_every or kept.step == settings.steps:
            kept.save(told)
            saved, written = time.monotonic(), kept.step
    if not written:  # a run that was killed may have left the state alone
        kept.save_branch(told)
    branch.load_state_dict(kept.averages)
    return branch.eval().requires_grad_(False)


def depends_on(pipe: Pipeline, examples: Examples, settings: TrainingSettings) -> dict[str, Any]:
    """What has to be the same for a training to go on."""
    chosen = {name: getattr(settings, name) for name in ("batch", "rate", "seed", "flat")}
    return chosen | {"model": weights_mark(pipe.model.network), "examples": examples.mark()}


@dataclass(frozen=True)
class Batch:
    """Corrupted examples: shown [B, h, w], labels [B, N], and what the network is told about them."""

    shown: Tensor
    labels: Tensor
    timestep: Tensor
    prepared: Any


@torch.no_grad()
def corrupted(pipe: Pipeline, examples: Examples, step: int, settings: TrainingSettings) -> Batch:
    """The batch of step `step`, whose random numbers depend on seed and step alone."""
    network, device = pipe.model.network, pipe.model.acquire()
    generator = cpu_generator((settings.seed * 1_000_003 + step) % SEED_SPAN)
    rows = torch.randint(len(examples), (settings.batch,), generator=generator)
    tokens = examples.tokens[rows].long().to(device)
    batch, grid = len(tokens), tuple(tokens.shape[1:])
    cells = grid[0] * grid[1]
    progress = torch.rand(batch, generator=generator).to(device)
    order, ranks = (torch.rand(batch, cells, generator=generator).to(device) for _ in range(2))
    race = torch.empty(batch, cells, network.codebook_size).exponential_(generator=generator).to(device)
    condition = pipe.model.complete(examples.condition(rows, pipe), batch, grid, "training")
    prepared = network.prepare(condition.to(device), grid)
    proposed = propose(network, tuple(tokens.shape), prepared, race, settings.flat)
    masked = mask_some(tokens.flatten(1), network.mask_id, progress, order)
    shown, labels = substitute(masked, proposed, network.mask_id, ranks)
    told = timestep(pipe.model.timestep_rule, masked == network.mask_id, progress)
    return Batch(shown.unflatten(1, grid), labels, told, prepared)


def one_step(network: Backbone, branch: Branch, batch: Batch, optimizer: torch.optim.Optimizer) -> tuple[float, float]:
    """One update of the branch; the two losses before it."""
    loss = branch_loss(branch, network, batch.shown, batch.labels, batch.timestep, batch.prepared)
    optimizer.zero_grad(set_to_none=True)
    loss.total.backward()
    optimizer.step()
    return loss.restoration.item(), loss.variation.item()


def number_format(pipe: Pipeline, device: torch.device) -> contextlib.ExitStack:
    """The network's, for the branch too, whose weights stay float32."""
    stack = contextlib.ExitStack()
    dtype = pipe.model.dtype
    stack.enter_context(torch.autocast(device.type, dtype, enabled=dtype != torch.float32))
    if device.type == "cpu":  # where the fused kernel's backward pass takes twice as long as plain products
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
    return stack


def timestep(rule: str, masked: Tensor, progress: Tensor) -> Tensor:
    """[B] what a run would tell the network about tokens with `masked` [B, N] bool at progress u [B]."""
    if rule == "mask_ratio":
        return masked.float().mean(1)
    return told_index(rule, (progress * INDEX_STEPS).floor(), INDEX_STEPS)


def rate(step: int, steps: int) -> float:
    """Factor of the learning rate."""
    return min(1.0, (step + 1) / min(WARMUP, 1 + steps // 10)) * 0.5 * (1 + math.cos(math.pi * step / steps))


@torch.no_grad()
def aim(branch: Branch, network: Backbone, batch: Batch) -> None:
    """Point every anchor at the mean state, or half of the gates begin shut and learn nothing."""
    hidden = first_pass(network, batch.shown, batch.timestep, batch.prepared)
    branch.cls_anchor_gen.mlp_t.bias.copy_(hidden.float().mean((0, 1)))
