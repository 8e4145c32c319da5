"""Train the network on the bank: cross entropy of what is hidden of one book."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from mgt_core.files import replace_file

from ..averages import Averages
from ..budget import Budget, rate
from ..files import save_whole
from ..precision import fast_precision
from ..transformer.muon import Muon
from .bank import Bank
from .codec import BOOKS
from .masking import hide
from .network import SoundNetwork

log = logging.getLogger(__name__)

BATCH, DECAY, EMPTY_SHARE = 24, 0.02, 0.2
WHOLE_SHARE = 0.7  # of the captions tell the tempo; the others leave it open
RATES = (1e-2, 3e-3)  # Muon, AdamW
WARMUP, HOLD = 50, 0.4
LOG_EVERY, SAVE_SECONDS = 50, 60


def captions_for(bank: Bank, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of the bank -> (hidden [B, L, D], shown [B, L]): whole captions, open ones and empty ones."""
    told = torch.randint(1, bank.hidden.shape[1], rows.shape).masked_fill(torch.rand(rows.shape) < WHOLE_SHARE, 0)
    which = bank.combination[rows]
    shown = bank.shown[which, told] * (torch.rand(len(rows), 1) >= EMPTY_SHARE)
    return bank.hidden[which, told], shown


def optimizers_of(network: SoundNetwork) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for the rest."""
    linear = [weight for weight in network.transformer.parameters() if weight.ndim == 2]
    chosen = {id(weight) for weight in linear}
    rest = [weight for weight in network.parameters() if id(weight) not in chosen]
    return [
        Muon(linear, lr=RATES[0], weight_decay=DECAY),
        torch.optim.AdamW(rest, lr=RATES[1], betas=(0.9, 0.98), weight_decay=0.0),
    ]


def train_network(
    work: Path, bank: Bank, *, minutes: float | None = 25, steps: int | None = None, seed: int = 0
) -> Path:
    """-> WORK/network.pt, averaged weights of `SoundNetwork`; picks up WORK/network_state.pt.

    WORK/network_start.pt, if there is one, holds the weights to begin with.
    """
    done, saved, start = work / "network.pt", work / "network_state.pt", work / "network_start.pt"
    if done.exists():
        return done
    torch.manual_seed(seed)
    network = SoundNetwork()
    if start.exists():
        network.load_state_dict(torch.load(start, weights_only=True))
    optimizers, averages = optimizers_of(network), Averages(network)
    step, before, curve = 0, 0.0, []
    if saved.exists():
        state = torch.load(saved, weights_only=True)
        network.load_state_dict(state["network"])
        for optimizer, stored in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(stored)
        averages.restore(state["averages"])
        step, before, curve = state["step"], state["elapsed"], state["curve"]
        torch.manual_seed(seed + step)
    budget = Budget(steps=steps, minutes=minutes, before=before)
    last_saved, losses = budget.elapsed(), []

    def save() -> None:
        save_whole(
            saved,
            network=network.state_dict(),
            optimizers=[optimizer.state_dict() for optimizer in optimizers],
            averages=averages.state(),
            step=step,
            elapsed=budget.elapsed(),
            curve=curve,
        )

    while (progress := budget.progress(step)) < 1:
        for optimizer, peak in zip(optimizers, RATES, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * rate(progress, step, warmup=WARMUP, hold=HOLD)
        rows = torch.randint(len(bank.tokens), (BATCH,))
        with fast_precision(torch.device("cpu")):
            loss = loss_of(network, bank.tokens[rows], *captions_for(bank, rows))
        network.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        averages.update(step)
        step += 1
        losses.append(loss.item())
        if step % LOG_EVERY == 0:
            mean = sum(losses) / len(losses)
            curve.append({"step": step, "seconds": round(budget.elapsed()), "loss": round(mean, 4)})
            log.info("network %s", curve[-1])
            losses.clear()
            replace_file(work / "network_curve.json", json.dumps(curve).encode())
        if budget.elapsed() - last_saved > SAVE_SECONDS:
            last_saved = budget.elapsed()
            save()
    save()
    save_whole(done, **averages.state())
    return done


def loss_of(network: SoundNetwork, tokens: Tensor, hidden: Tensor, shown: Tensor, stage: int | None = None) -> Tensor:
    """tokens [B, K, T] -> mean cross entropy, nats, of what is hidden of the book of each sequence."""
    made = hide(tokens, stage=stage)
    logits = network(made.tokens, hidden, shown, made.stages)
    wanted = tokens[torch.arange(len(tokens)), made.stages]
    return F.cross_entropy(logits[made.mask].float(), wanted[made.mask])


@torch.no_grad()
def cross_entropies(network: SoundNetwork, bank: Bank, *, empty: bool = False, seed: int = 0) -> list[float]:
    """Of each book, in nats, over the whole of a bank with whole captions, or with none."""
    found = []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        which = bank.combination
        shown = bank.shown[which, 0] * (not empty)
        for stage in range(BOOKS):
            found.append(round(loss_of(network, bank.tokens, bank.hidden[which, 0], shown, stage).item(), 4))
    return found


def load_network(work: Path) -> SoundNetwork:
    """As stored in the folder: rounded to half precision."""
    network = SoundNetwork()
    network.load_state_dict(torch.load(work / "network.pt", weights_only=True))
    return network.half().float().eval()
