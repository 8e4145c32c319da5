"""Encoder and codebook of the codec are computed (`principal_components.py`), the decoder is trained."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from mgt_core.files import replace_file

from ..averages import Averages
from ..budget import Budget, rate
from ..data.scenes import CANVAS, Item, Renderer, SceneSampler
from ..data.subjects import COLOURS, Subject
from ..files import save_whole
from ..precision import fast_precision
from .network import CONFIG, decode_latents, encode_tokens, measure_codec, new_codec
from .principal_components import PATCH, Projection, k_means, patches, principal_axes, write_encoder

log = logging.getLogger(__name__)

BATCH, RATE, RATE_AGAIN = 8, 1e-3, 4e-4  # the last where the decoder was trained before
DISTURBED_EVERY = 4
LOOSE = 0.1  # share of pictures with objects anywhere, so that the codec also serves other pictures
NOISE, NEIGHBOURS = 0.3, 16
FITTED_SCENES, ROUNDS = 3000, 25  # for the codebook
SAVE_SECONDS = 120


class CodecImages:
    """Training pictures: captioned scenes, and looser ones so that it also serves other pictures."""

    def __init__(self, subjects: list[Subject], sprites: np.ndarray, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.scenes = SceneSampler(subjects, self.rng)
        self.renderer = Renderer(sprites)

    def batch(self, count: int) -> torch.Tensor:
        images = np.stack([self._loose() if self.rng.random() < LOOSE else self._scene() for _ in range(count)])
        return torch.from_numpy(images).permute(0, 3, 1, 2)

    def _scene(self) -> np.ndarray:
        return self.renderer.render(self.scenes.draw())

    def _loose(self) -> np.ndarray:
        canvas = np.empty((CANVAS, CANVAS, 3), np.float32)
        named = np.asarray(list(COLOURS.values())[self.rng.integers(len(COLOURS))], np.float32) / 255
        canvas[:] = named if self.rng.random() < 0.5 else self.rng.random(3)
        for _ in range(self.rng.integers(1, 4)):
            size = int(self.rng.integers(6, 20)) * 8
            left, top = self.rng.integers(-size // 3, CANVAS - size * 2 // 3, size=2)
            self.renderer.paste(canvas, Item(int(self.rng.integers(len(self.scenes.names))), size, left, top))
        return canvas


def reconstruction_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """L1 + 6 MSE + half the L1 between neighbouring differences, which keeps outlines sharp."""
    error = output.float() - target
    edges = (error[..., 1:] - error[..., :-1]).abs().mean() + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    return error.abs().mean() + 6 * error.square().mean() + 0.5 * edges


def fit_codebook(images: torch.Tensor, seed: int = 0) -> tuple[Projection, torch.Tensor]:
    """[N, 3, H, W] in 0..1 -> projection of the encoder and codebook [K, D]; flat backgrounds get a code each."""
    generator = torch.Generator().manual_seed(seed)
    samples = patches(images).flatten(0, 2)
    busy = samples[samples.view(-1, PATCH**2, 3).std(1).amax(1) > 1e-3]
    projection = principal_axes(busy, CONFIG["vq_embed_dim"], CONFIG["block_out_channels"][1])
    flat = torch.tensor(list(COLOURS.values())).div(255).repeat(1, PATCH**2)
    latents = (busy - projection.mean) @ projection.axes
    centres = k_means(latents, CONFIG["num_vq_embeddings"] - len(flat), ROUNDS, generator)
    return projection, torch.cat([(flat - projection.mean) @ projection.axes, centres])


@torch.no_grad()
def computed_codec(images: CodecImages, seed: int = 0) -> torch.nn.Module:
    """Encoder and codebook done, decoder as it starts."""
    codec = new_codec()
    projection, book = fit_codebook(images.batch(FITTED_SCENES), seed)
    write_encoder(codec, projection)
    codec.quantize.embedding.weight.copy_(book)
    codec.post_quant_conv.weight[..., 0, 0] = torch.diag(1 / book.std(0))
    return codec.half().float()  # as stored in the bundle: the tokens are the same then


def codec_from(work: Path, bundle: Path) -> None:
    """Write WORK/codec_start.pt, unless it is there: the codec of an existing bundle, whose tokens stay as they are."""
    target = work / "codec_start.pt"
    if not target.exists():
        held = load_file(bundle / "vqvae/diffusion_pytorch_model.safetensors")
        save_whole(target, **{name: tensor.float() for name, tensor in held.items()})


def disturb(tokens: torch.Tensor, neighbours: torch.Tensor) -> torch.Tensor:
    """[B, h, w] -> the same with up to NOISE of the codes of one in DISTURBED_EVERY pictures replaced.

    Half of them by a near code (`neighbours` [K, n]), half by a code from elsewhere in the batch: what a sampler gets
    wrong. The decoder learns to paint over it.
    """
    rate = torch.rand(len(tokens), 1, 1, device=tokens.device) * NOISE
    rate[torch.arange(len(tokens)) % DISTURBED_EVERY > 0] = 0
    column = torch.randint(neighbours.shape[1], tokens.shape, device=tokens.device)
    far = tokens.flatten()[torch.randperm(tokens.numel(), device=tokens.device)].view_as(tokens)
    wrong = torch.where(torch.rand(tokens.shape, device=tokens.device) < 0.5, neighbours[tokens, column], far)
    return torch.where(torch.rand(tokens.shape, device=tokens.device) < rate, wrong, tokens)


def train_codec(
    work: Path,
    subjects: list[Subject],
    sprites: np.ndarray,
    *,
    device: str = "cpu",
    minutes: float | None = 40,
    steps: int | None = None,
    seed: int = 0,
    again: bool = False,
) -> Path:
    """-> WORK/codec.pt, a state dict of diffusers' VQModel; picks up WORK/codec_state.pt.

    The encoder and the codebook are computed, only the decoder is trained. WORK/codec_start.pt is the codec before
    that: its tokens are final. With `again` that one's decoder was trained before, and is trained on. What is kept in
    the end are averaged weights.
    """
    done, saved, start = work / "codec.pt", work / "codec_state.pt", work / "codec_start.pt"
    if done.exists():
        return done
    where = torch.device(device)
    torch.manual_seed(seed)
    if not start.exists():
        save_whole(start, **computed_codec(CodecImages(subjects, sprites, seed), seed).state_dict())
    codec = new_codec()
    codec.load_state_dict(torch.load(start, weights_only=True))
    codec = codec.to(where, memory_format=torch.channels_last).train()
    book = codec.quantize.embedding.weight.detach()
    neighbours = torch.cdist(book, book).topk(NEIGHBOURS + 1, largest=False).indices[:, 1:]
    weights = [*codec.decoder.parameters(), *codec.post_quant_conv.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=RATE, betas=(0.9, 0.99), weight_decay=1e-4)
    averages = Averages(codec)
    peak, step, before, curve = RATE_AGAIN if again else RATE, 0, 0.0, []
    if saved.exists():
        state = torch.load(saved, map_location=where, weights_only=True)
        codec.load_state_dict(state["codec"])
        averages.restore(state["averages"])
        optimizer.load_state_dict(state["optimizer"])
        step, before, curve = state["step"], state["elapsed"], state["curve"]
        torch.manual_seed(seed + step)
    images = CodecImages(subjects, sprites, seed + step + 1)
    budget = Budget(steps=steps, minutes=minutes, before=before)
    last_saved, recent = budget.elapsed(), []

    def save() -> None:
        save_whole(
            saved,
            codec=codec.state_dict(),
            averages=averages.state(),
            optimizer=optimizer.state_dict(),
            step=step,
            elapsed=budget.elapsed(),
            curve=curve,
        )

    while (progress := budget.progress(step)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = peak * rate(progress, step, warmup=50, hold=0.3)
        target = images.batch(BATCH).to(where, memory_format=torch.channels_last)
        latents = book[disturb(encode_tokens(codec, target), neighbours)].permute(0, 3, 1, 2)
        with fast_precision(where):
            output = decode_latents(codec, latents)
        loss = reconstruction_loss(output, target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        averages.update(step)
        step += 1
        recent.append(F.mse_loss(output.detach()[1::2].float().clamp(0, 1), target[1::2]).item())  # undisturbed ones
        if step % 50 == 0:
            curve.append(
                {
                    "step": step,
                    "seconds": round(budget.elapsed(), 1),
                    "psnr_db": round(-10 * float(np.log10(np.mean(recent))), 2),
                }
            )
            log.info("codec %s", curve[-1])
            recent.clear()
            replace_file(work / "codec_curve.json", json.dumps(curve).encode())
        if budget.elapsed() - last_saved > SAVE_SECONDS:
            last_saved = budget.elapsed()
            save()

    save()
    codec.load_state_dict(averages.state(), strict=False)
    figures = measure_codec(codec, subjects, sprites, device) | {"steps": step, "seconds": round(budget.elapsed())}
    log.info("codec done: %s", figures)
    replace_file(work / "codec.json", json.dumps(figures, indent=1).encode())
    save_whole(done, **codec.state_dict())
    return done
