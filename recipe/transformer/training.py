"""Train the masked transformer together with its text encoder on the token bank."""

from __future__ import annotations

import contextlib
import json
import logging
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from mgt_core.files import replace_file
from mgt_core.kernels.fused_linear import FusedLinear

from ..averages import Averages
from ..budget import Budget, rate
from ..files import save_whole
from ..precision import fast_precision
from .muon import Muon
from .network import MASK_ID, DemoNetwork
from .token_bank import Bank

log = logging.getLogger(__name__)

BATCH, DECAY, EMPTY_SHARE = 48, 0.02, 0.3
RATES, RATES_AGAIN = (3.2e-3, 1e-3), (2e-3, 7e-4)  # Muon, AdamW; the latter where weights were trained before
WARMUP, HOLD = 200, 0.5
SAVE_SECONDS = 180


def mask_tokens(tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """[B, h, w] -> (tokens with some replaced by the mask, mask [B, h, w] bool, share masked [B]).

    Shares follow cos(pi/2 u), with u spread evenly over the batch: the loss is less noisy that way.
    """
    batch, height, width = tokens.shape
    total = height * width
    u = (torch.arange(batch, device=tokens.device) + torch.rand(batch, device=tokens.device)) / batch
    counts = (torch.cos(u * math.pi / 2) * total).ceil().clamp(1, total)
    ranks = torch.rand(batch, total, device=tokens.device).argsort(1).argsort(1)
    mask = (ranks < counts[:, None]).view_as(tokens)
    return tokens.masked_fill(mask, MASK_ID), mask, counts / total


def _attention(device: torch.device) -> contextlib.AbstractContextManager:
    """On a CPU the fused kernel's backward pass takes twice as long as plain matrix products at this length."""
    if device.type != "cpu":
        return contextlib.nullcontext()
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)  # of the CPU as well; else it computes in float32
    return sdpa_kernel(SDPBackend.MATH)


def _fused_weights(network: nn.Module) -> dict[nn.Parameter, list[Tensor]]:
    """Views of the layers in every fused weight: Muon is to make the update of each orthogonal by itself."""
    fused = [m for m in network.modules() if isinstance(m, FusedLinear)]
    return {m.weight: list(m.weight.detach().chunk(len(m.names))) for m in fused}


def _optimizers(network: DemoNetwork, fused: dict[nn.Parameter, list[Tensor]]) -> list[torch.optim.Optimizer]:
    """Muon for the linear layers, AdamW for the rest.

    What the network has to learn is a table, subject and place to token; on it Muon needs far fewer steps.
    """
    linear = [m.weight for m in network.modules() if isinstance(m, nn.Linear)]
    chosen = {id(weight) for weight in linear}
    rest = [p for p in network.parameters() if id(p) not in chosen]
    apart = [part for weight in linear for part in fused.get(weight, [weight])]
    return [
        Muon(apart, lr=RATES[0], weight_decay=DECAY),
        torch.optim.AdamW(
            [
                {"params": [p for p in rest if p.ndim >= 2], "weight_decay": DECAY},
                {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
            ],
            lr=RATES[1],
            betas=(0.9, 0.98),
            fused=True,
        ),
    ]


def train_transformer(
    work: Path,
    bank: Bank,
    *,
    device: str = "cpu",
    minutes: float | None = 90,
    steps: int | None = None,
    seed: int = 0,
    compiled: bool = False,
) -> Path:
    """-> WORK/transformer.pt, averaged weights of `DemoNetwork`; picks up WORK/transformer_state.pt.

    WORK/transformer_start.pt, if there is one, holds the weights to begin with. The learning curve goes to
    WORK/curve.json, one entry per 100 steps.
    """
    done, saved, curve_path = work / "transformer.pt", work / "transformer_state.pt", work / "curve.json"
    if done.exists():
        return done
    start = work / "transformer_start.pt"
    where = torch.device(device)
    torch.manual_seed(seed)
    network = DemoNetwork(work / "tokenizer").to(where).train()
    rates = RATES_AGAIN if start.exists() else RATES
    if start.exists():
        network.load_state_dict(torch.load(start, map_location=where, weights_only=True))
    fused = _fused_weights(network)
    optimizers = _optimizers(network, fused)
    averages = Averages(network)
    step, before, curve = 0, 0.0, []
    if saved.exists():
        state = torch.load(saved, map_location=where, weights_only=True)
        network.load_state_dict(state["network"])
        for optimizer, stored in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(stored)
        averages.restore(state["averages"])
        step, before, curve = state["step"], state["elapsed"], state["curve"]
        torch.manual_seed(seed + step)
    backbone = network.backbone
    # The head stays outside: how many cells it sees differs from batch to batch.
    features = torch.compile(backbone.features) if compiled else backbone.features
    budget = Budget(steps=steps, minutes=minutes, before=before)
    last_saved, losses = budget.elapsed(), []
    tokens, text, empty = (part.to(where) for part in (bank.tokens, bank.text, bank.empty))
    order = torch.empty(0, dtype=torch.long, device=where)

    def save() -> None:
        save_whole(
            saved,
            network=network.state_dict(),
            optimizers=[o.state_dict() for o in optimizers],
            averages=averages.state(),
            step=step,
            elapsed=budget.elapsed(),
            curve=curve,
        )

    while (progress := budget.progress(step)) < 1:
        for optimizer, peak in zip(optimizers, rates):
            for group in optimizer.param_groups:
                group["lr"] = peak * rate(progress, step, warmup=WARMUP, hold=HOLD)
        if len(order) < BATCH:
            order = torch.randperm(len(tokens), device=where)
        picked, order = order[:BATCH], order[BATCH:]
        target, ids = tokens[picked].long(), text[picked].long()
        ids = torch.where(torch.rand(len(ids), 1, device=where) < EMPTY_SHARE, empty.long(), ids)
        shown, mask, ratio = mask_tokens(target)
        with fast_precision(where), _attention(where):
            prepared = backbone.prepare(network.condition(ids), tuple(shown.shape[1:]))
            logits = backbone.head(features(shown, ratio, prepared)[mask])
        loss = F.cross_entropy(logits.float(), target[mask])
        network.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for weight, parts in fused.items():
            for part, gradient in zip(parts, weight.grad.chunk(len(parts)), strict=True):
                part.grad = gradient
        with fast_precision(where):  # of Muon's products
            for optimizer in optimizers:
                optimizer.step()
        averages.update(step)
        step += 1
        losses.append(loss.item())
        if step % 100 == 0:
            curve.append(
                {
                    "step": step,
                    "samples": step * BATCH,
                    "seconds": round(budget.elapsed(), 1),
                    "loss": round(sum(losses) / len(losses), 4),
                }
            )
            log.info("transformer %s", curve[-1])
            losses.clear()
            replace_file(curve_path, json.dumps(curve).encode())
        if budget.elapsed() - last_saved > SAVE_SECONDS:
            last_saved = budget.elapsed()
            save()

    save()
    save_whole(done, **averages.state())
    return done
