"""Training of the codec: first without codebooks, then with them."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import EncodecModel

from mgt_core.files import replace_file

from ..averages import Averages
from ..budget import Budget, rate
from ..files import save_whole
from .codec import CODES, Books, decibels, new_codec, spectral_loss
from .melodies import FRAMES, HOP, combinations, draw, is_held_out, render

log = logging.getLogger(__name__)

BATCH, CUT = 16, 24  # sounds, frames of each
RATE, COMMITMENT = 2e-3, 0.25
QUIET = 0.02  # of full scale
PLAIN = 0.12  # share of the training before codebooks
MEASURED = 64  # held-out sounds
LOG_EVERY, SAVE_SECONDS = 50, 60


def waves(rng: np.random.Generator, count: int, frames: int = FRAMES, held_out: bool = False) -> Tensor:
    """-> [count, 1, frames * HOP], cut at a frame."""
    pool = [c for c in combinations() if is_held_out(c) == held_out]
    made = []
    for _ in range(count):
        start = int(rng.integers(FRAMES - frames + 1)) * HOP
        made.append(render(draw(rng, pool[rng.integers(len(pool))]))[start : start + frames * HOP])
    return torch.from_numpy(np.stack(made))[:, None]


def codec_loss(output: Tensor, target: Tensor) -> Tensor:
    """[B, 1, S] twice. The phase of every note is fixed, so that samples can be compared, too; quiet sounds count as loud ones."""
    error = output - target
    absolute = error.abs().mean((1, 2)) / (target.abs().mean((1, 2)) + QUIET)
    squared = error.square().mean((1, 2)) / (target.square().mean((1, 2)) + QUIET**2)
    return (2 * absolute + squared).mean() + spectral_loss(output, target)


class Trained(nn.Module):
    """What is trained and saved together."""

    def __init__(self) -> None:
        super().__init__()
        self.codec, self.books = new_codec(), Books()

    def forward(self, target: Tensor, quantized: bool) -> tuple[Tensor, Tensor | float, Tensor | None]:
        latents, tokens, commitment = self.codec.encoder(target), None, 0.0
        if quantized:
            latents, tokens, commitment = self.books(latents)
        return self.codec.decoder(latents), commitment, tokens


def train_codec(work: Path, *, minutes: float | None = 25, steps: int | None = None, seed: int = 0) -> Path:
    """-> WORK/codec.pt, state of `Trained`; picks up WORK/codec_state.pt."""
    done, saved = work / "codec.pt", work / "codec_state.pt"
    if done.exists():
        return done
    torch.manual_seed(seed)
    trained = Trained()
    weights = [weight for weight in trained.codec.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=RATE, betas=(0.8, 0.99), weight_decay=1e-4)
    averages, step, before, curve, quantized = Averages(trained.codec), 0, 0.0, [], False
    if saved.exists():
        state = torch.load(saved, weights_only=True)
        trained.load_state_dict(state["trained"])
        optimizer.load_state_dict(state["optimizer"])
        torch._foreach_copy_(averages.means, [state["averages"][name] for name in averages.names])
        step, before, curve, quantized = state["step"], state["elapsed"], state["curve"], state["quantized"]
        torch.manual_seed(seed + step)
    rng = np.random.default_rng(seed + step + 1)
    budget = Budget(steps=steps, minutes=minutes, before=before)
    last_saved, recent = budget.elapsed(), []

    def save() -> None:
        save_whole(
            saved,
            trained=trained.state_dict(),
            optimizer=optimizer.state_dict(),
            averages=averages.state(),
            step=step,
            elapsed=budget.elapsed(),
            curve=curve,
            quantized=quantized,
        )

    while (progress := budget.progress(step)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = RATE * rate(progress, step, warmup=50, hold=0.5)
        target = waves(rng, BATCH, CUT)
        if progress >= PLAIN and not quantized:
            with torch.no_grad():
                latents = trained.codec.encoder(waves(rng, 4 * BATCH, CUT))
                trained.books.start(latents.transpose(1, 2).flatten(0, 1))
            quantized = True
        output, commitment, _ = trained(target, quantized)
        loss = codec_loss(output, target) + COMMITMENT * commitment
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        averages.update(step)
        step += 1
        recent.append((loss.item(), decibels(output.detach(), target).mean().item()))
        if step % LOG_EVERY == 0:
            loss_now, snr = map(float, np.mean(recent, 0))
            curve.append({"step": step, "seconds": round(budget.elapsed()), "loss": round(loss_now, 4), "snr_db": round(snr, 2)})
            log.info("codec %s", curve[-1])
            recent.clear()
            replace_file(work / "codec_curve.json", json.dumps(curve).encode())
        if budget.elapsed() - last_saved > SAVE_SECONDS:
            last_saved = budget.elapsed()
            save()
    save()
    trained.codec.load_state_dict(averages.state(), strict=False)
    figures = measure(trained) | {"steps": step, "seconds": round(budget.elapsed())}
    log.info("codec done: %s", figures)
    replace_file(work / "codec.json", json.dumps(figures, indent=1).encode())
    save_whole(done, **trained.state_dict())
    return done


@torch.no_grad()
def measure(trained: Trained, seed: int = 1_000_000) -> dict[str, float]:
    """Of held-out combinations: signal to error, its tenth percentile, distance of log spectra in dB, share of codes in use."""
    trained.eval()
    target = waves(np.random.default_rng(seed), MEASURED, held_out=True)
    output, _, tokens = trained(target, True)
    snr = decibels(output, target)
    used = np.mean([len(tokens[:, book].unique()) / CODES for book in range(tokens.shape[1])])
    trained.train()
    return {
        "snr_db": round(snr.mean().item(), 2),
        "snr_db_tenth": round(snr.quantile(0.1).item(), 2),
        "log_spectral_distance_db": round(log_spectral_distance(output, target), 2),
        "codes_used": round(float(used), 3),
    }


def log_spectral_distance(output: Tensor, target: Tensor, floor: float = 1e-3) -> float:
    """[B, 1, S] twice -> mean over frames of the root mean square difference of spectra in dB, bins below the floor raised to it."""
    window = torch.hann_window(512)
    made, wanted = (
        20 * torch.stft(w[:, 0], 512, 128, window=window, return_complex=True).abs().div(window.sum()).clamp_min(floor).log10()
        for w in (output, target)
    )
    return (made - wanted).square().mean(1).sqrt().mean().item()


def load_codec(work: Path) -> tuple[EncodecModel, Books]:
    """As stored in the folder: rounded to half precision, so that tokens made from it are the same there."""
    trained = Trained()
    trained.load_state_dict(torch.load(work / "codec.pt", weights_only=True))
    trained = trained.half().float().eval()
    return trained.codec, trained.books
