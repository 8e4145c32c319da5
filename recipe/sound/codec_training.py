"""Encoder and decoder are trained side by side, each on the computed tokens: waves to latents, and tokens to waves."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import EncodecModel

from mgt_core.files import replace_file

from ..averages import Averages
from ..budget import Budget, rate
from ..files import save_whole
from .codebooks import Books, load_books
from .codec import CODES, decibels, new_codec, spectral_loss
from .melodies import FRAMES, HOP, combinations, draw, is_held_out, render

log = logging.getLogger(__name__)

BATCH, CUT = 8, 18  # sounds, frames of each
PEAK = 3e-3
QUIET = 0.02  # of full scale
HARDEST, HARDEST_MORE = "bell", 3  # its partials are highest; sounds of it are as many times more frequent
ENCODER_EVERY = 3  # steps; it learns faster than the decoder
MEASURED = 64  # held-out sounds
LOG_EVERY, SAVE_SECONDS = 100, 60


def waves(rng: np.random.Generator, count: int, frames: int = FRAMES, held_out: bool = False) -> Tensor:
    """-> [count, 1, frames * HOP], cut at a frame."""
    pool = [c for c in combinations() if is_held_out(c) == held_out]
    if not held_out:
        pool += [c for c in pool if c[1] == HARDEST] * HARDEST_MORE
    made = []
    for _ in range(count):
        start = int(rng.integers(FRAMES - frames + 1)) * HOP
        made.append(render(draw(rng, pool[rng.integers(len(pool))], loose=not held_out))[start : start + frames * HOP])
    return torch.from_numpy(np.stack(made))[:, None]


def decoder_loss(output: Tensor, target: Tensor) -> Tensor:
    """[B, 1, S] twice. The phase of every note is fixed, so that samples can be compared; quiet sounds count as much as
    loud ones."""
    error = output - target
    absolute = error.abs().mean((1, 2)) / (target.abs().mean((1, 2)) + QUIET)
    squared = error.square().mean((1, 2)) / (target.square().mean((1, 2)) + QUIET**2)
    return (2 * absolute + squared).mean() + 0.5 * spectral_loss(output, target)


def train_codec(work: Path, *, minutes: float | None = 25, steps: int | None = None, seed: int = 0) -> Path:
    """-> WORK/codec.pt, averaged weights of an EncodecModel; picks up WORK/codec_state.pt."""
    done, saved = work / "codec.pt", work / "codec_state.pt"
    if done.exists():
        return done
    torch.manual_seed(seed)
    books, codec = load_books(work), new_codec()
    weights = [weight for weight in codec.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=PEAK, betas=(0.8, 0.99), weight_decay=1e-4)
    averages, step, before, curve = Averages(codec), 0, 0.0, []
    if saved.exists():
        state = torch.load(saved, weights_only=True)
        codec.load_state_dict(state["codec"])
        optimizer.load_state_dict(state["optimizer"])
        averages.restore(state["averages"])
        step, before, curve = state["step"], state["elapsed"], state["curve"]
    rng = np.random.default_rng(seed + step + 1)
    budget = Budget(steps=steps, minutes=minutes, before=before)
    last_saved, recent, read = budget.elapsed(), [], torch.zeros(())

    def save() -> None:
        save_whole(
            saved,
            codec=codec.state_dict(),
            optimizer=optimizer.state_dict(),
            averages=averages.state(),
            step=step,
            elapsed=budget.elapsed(),
            curve=curve,
        )

    while (progress := budget.progress(step)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = PEAK * rate(progress, step, warmup=50, hold=0.4)
        target = waves(rng, BATCH, CUT)
        latents = books.latents(target)
        output = codec.decoder(books.vectors(books.tokens(latents)))
        loss = decoder_loss(output, target)
        if step % ENCODER_EVERY == 0:
            read = F.mse_loss(codec.encoder(target).transpose(1, 2), latents)
            loss = loss + read
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for half in (codec.encoder, codec.decoder):  # which have nothing in common
            nn.utils.clip_grad_norm_(half.parameters(), 1.0)
        optimizer.step()
        averages.update(step)
        step += 1
        recent.append((decibels(output.detach(), target).mean().item(), read.item()))
        if step % LOG_EVERY == 0:
            snr, error = map(float, np.mean(recent, 0))
            curve.append(
                {"step": step, "seconds": round(budget.elapsed()), "snr_db": round(snr, 2), "read": round(error, 4)}
            )
            log.info("codec %s", curve[-1])
            recent.clear()
            replace_file(work / "codec_curve.json", json.dumps(curve).encode())
        if budget.elapsed() - last_saved > SAVE_SECONDS:
            last_saved = budget.elapsed()
            save()
    save()
    codec.load_state_dict(averages.state(), strict=False)
    figures = measure(codec, books) | {"steps": step, "seconds": round(budget.elapsed())}
    log.info("codec done: %s", figures)
    replace_file(work / "codec.json", json.dumps(figures, indent=1).encode())
    save_whole(done, **codec.state_dict())
    return done


@torch.no_grad()
def measure(codec: EncodecModel, books: Books, seed: int = 1_000_000) -> dict[str, float]:
    """Of held-out combinations: signal to error from computed tokens and from the encoder's, distance of log spectra in
    dB, share of the codes that the encoder finds, of each book."""
    target = waves(np.random.default_rng(seed), MEASURED, held_out=True)
    wanted = books.tokens(books.latents(target))
    found = books.tokens(codec.encoder(target).transpose(1, 2))
    output, again = (codec.decoder(books.vectors(tokens)) for tokens in (wanted, found))
    return {
        "snr_db": round(decibels(output, target).mean().item(), 2),
        "snr_db_tenth": round(decibels(output, target).quantile(0.1).item(), 2),
        "snr_db_through_encoder": round(decibels(again, target).mean().item(), 2),
        "log_spectral_distance_db": round(log_spectral_distance(output, target), 2),
        "codes_found": [round(share, 3) for share in (wanted == found).float().mean((0, 2)).tolist()],
        "codes_used": round(float(np.mean([len(row.unique()) for row in wanted.unbind(1)])) / CODES, 3),
    }


def log_spectral_distance(output: Tensor, target: Tensor, floor: float = 1e-3) -> float:
    """[B, 1, S] twice -> mean over frames of the root mean square difference of spectra in dB; what is below the floor
    counts as the floor."""
    window = torch.hann_window(512)
    made, wanted = (
        20
        * torch.stft(w[:, 0], 512, 128, window=window, return_complex=True)
        .abs()
        .div(window.sum())
        .clamp_min(floor)
        .log10()
        for w in (output, target)
    )
    return (made - wanted).square().mean(1).sqrt().mean().item()


def load_codec(work: Path) -> EncodecModel:
    """As stored in the folder: rounded to half precision."""
    codec = new_codec()
    codec.load_state_dict(torch.load(work / "codec.pt", weights_only=True))
    return codec.half().float().eval()
