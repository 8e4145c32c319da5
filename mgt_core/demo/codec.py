"""Train the VQ codec: reconstruction first, then a codebook kept by exponential averages.

A codebook learned by gradient stalls near 15 dB on this data, hence the averages.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from .budget import Budget, rate, save_whole
from .compose import CANVAS, Item, Renderer, SceneSampler, held_out_scenes
from .subjects import COLOURS, Subject

log = logging.getLogger(__name__)

CONFIG = {
    "act_fn": "silu",
    "block_out_channels": [32, 64, 96],
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "in_channels": 3,
    "latent_channels": 16,
    "layers_per_block": 1,
    "lookup_from_codebook": True,
    "force_upcast": True,
    "mid_block_add_attention": False,
    "norm_num_groups": 4,
    "norm_type": "group",
    "num_vq_embeddings": 1024,
    "out_channels": 3,
    "sample_size": CANVAS,
    "scaling_factor": 0.18215,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "vq_embed_dim": 16,
}
BATCH, RATE, COMMITMENT, AVERAGING = 16, 6e-4, 0.25, 0.98
FREE_STEPS = 300  # without quantization, so that k-means starts from a latent space that means something
SAVE_SECONDS = 150


class AveragedCodebook:
    """Codebook [K, D] whose entries follow the mean of the vectors they quantize; unused ones restart."""

    def __init__(self, codes: int, width: int, device: torch.device) -> None:
        self.vectors = torch.zeros(codes, width, device=device)
        self.sums = torch.zeros_like(self.vectors)
        self.counts = torch.zeros(codes, device=device)

    def start(self, samples: torch.Tensor, rounds: int = 12) -> None:
        """k-means on `samples` [N, D]."""
        chosen = torch.randperm(len(samples), device=samples.device)[: len(self.vectors)]
        self.vectors = samples[chosen].clone()
        for _ in range(rounds):
            index = self.nearest(samples)
            self._tally(samples, index, keep=0.0)
            self._restart(samples)

    def nearest(self, vectors: torch.Tensor) -> torch.Tensor:
        """[N, D] float -> [N] long."""
        return (0.5 * self.vectors.square().sum(1) - vectors @ self.vectors.T).argmin(1)

    def update(self, vectors: torch.Tensor, index: torch.Tensor) -> None:
        self._tally(vectors, index, keep=AVERAGING)
        self._restart(vectors)

    def _tally(self, vectors: torch.Tensor, index: torch.Tensor, keep: float) -> None:
        counts = torch.bincount(index, minlength=len(self.counts)).to(vectors.dtype)
        sums = torch.zeros_like(self.sums).index_add_(0, index, vectors)
        self.counts = keep * self.counts + (1 - keep) * counts
        self.sums = keep * self.sums + (1 - keep) * sums
        used = self.counts > 1e-3
        self.vectors = torch.where(used[:, None], self.sums / self.counts.clamp_min(1e-3)[:, None], self.vectors)

    def _restart(self, vectors: torch.Tensor) -> None:
        unused = (self.counts < 0.03).nonzero().squeeze(1)
        if len(unused) == 0:
            return
        fresh = vectors[torch.randint(len(vectors), (len(unused),), device=vectors.device)]
        self.vectors[unused], self.sums[unused], self.counts[unused] = fresh, fresh.clone(), 1.0


def new_codec() -> torch.nn.Module:
    from diffusers import VQModel

    return VQModel(**CONFIG)


def encode_latents(codec: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """[B, 3, H, W] in 0..1 -> [B, D, h, w]; published codecs of this family take 0..1 as well."""
    return codec.quant_conv(codec.encoder(images))


def decode_latents(codec: torch.nn.Module, latents: torch.Tensor) -> torch.Tensor:
    return codec.decoder(codec.post_quant_conv(latents))


class CodecImages:
    """Training pictures: captioned scenes, and looser ones so that it also serves other pictures."""

    def __init__(self, subjects: list[Subject], sprites: np.ndarray, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.scenes = SceneSampler(subjects, self.rng)
        self.renderer = Renderer(sprites)

    def batch(self, count: int) -> torch.Tensor:
        images = np.stack([self._loose() if self.rng.random() < 0.2 else self._scene() for _ in range(count)])
        return torch.from_numpy(images).permute(0, 3, 1, 2)

    def _scene(self) -> np.ndarray:
        return self.renderer.render(self.scenes.draw())

    def _loose(self) -> np.ndarray:
        canvas = np.empty((CANVAS, CANVAS, 3), np.float32)
        named = np.asarray(list(COLOURS.values())[self.rng.integers(len(COLOURS))], np.float32) / 255
        canvas[:] = named if self.rng.random() < 0.5 else self.rng.random(3)
        for _ in range(self.rng.integers(1, 4)):
            size = int(self.rng.integers(6, 20)) * 4
            left, top = self.rng.integers(-size // 3, CANVAS - size * 2 // 3, size=2)
            self.renderer.paste(canvas, Item(int(self.rng.integers(len(self.scenes.names))), size, left, top))
        return canvas


def reconstruction_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """L1 + 2 MSE + L1 between neighbouring differences, which keeps outlines sharp."""
    error = output.float() - target
    edges = (error[..., 1:] - error[..., :-1]).abs().mean() + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    return error.abs().mean() + 2 * error.square().mean() + 0.5 * edges


def train_codec(work: Path, subjects: list[Subject], sprites: np.ndarray, *, device: str = "cpu",
                minutes: float | None = 22, steps: int | None = None, seed: int = 0) -> Path:
    """-> WORK/codec.pt, a state dict of diffusers' VQModel; picks up WORK/codec_state.pt."""
    done, saved = work / "codec.pt", work / "codec_state.pt"
    if done.exists():
        return done
    where = torch.device(device)
    torch.manual_seed(seed)
    codec = new_codec().to(where, memory_format=torch.channels_last)
    weights = [p for name, p in codec.named_parameters() if not name.startswith("quantize.")]
    optimizer = torch.optim.AdamW(weights, lr=RATE, betas=(0.9, 0.99), weight_decay=1e-4)
    book = AveragedCodebook(CONFIG["num_vq_embeddings"], CONFIG["vq_embed_dim"], where)
    step, before = 0, 0.0
    if saved.exists():
        state = torch.load(saved, map_location=where, weights_only=True)
        codec.load_state_dict(state["codec"])
        optimizer.load_state_dict(state["optimizer"])
        book.vectors, book.sums, book.counts = state["book"]
        step, before = state["step"], state["elapsed"]
    images = CodecImages(subjects, sprites, seed + step)
    budget = Budget(steps=steps, minutes=minutes, before=before)
    last_saved, recent = budget.elapsed(), []

    while (progress := budget.progress(step)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = RATE * rate(progress, step, warmup=50, hold=0.35)
        target = images.batch(BATCH).to(where, memory_format=torch.channels_last)
        with torch.autocast(where.type, torch.bfloat16):
            latents = encode_latents(codec, target).float()
        flat = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1])
        commitment = flat.new_zeros(())
        if step == FREE_STEPS:
            with torch.no_grad(), torch.autocast(where.type, torch.bfloat16):
                more = [encode_latents(codec, images.batch(64).to(where)).float() for _ in range(6)]
            book.start(torch.cat([z.permute(0, 2, 3, 1).reshape(-1, z.shape[1]) for z in more]))
        if step >= FREE_STEPS:
            with torch.no_grad():
                index = book.nearest(flat)
                quantized = book.vectors[index]
                book.update(flat.detach(), index)
            commitment = F.mse_loss(flat, quantized)
            straight = flat + (quantized - flat).detach()
            latents = straight.view(latents.shape[0], *latents.shape[2:], -1).permute(0, 3, 1, 2)
        with torch.autocast(where.type, torch.bfloat16):
            output = decode_latents(codec, latents)
        loss = reconstruction_loss(output, target) + COMMITMENT * commitment
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        step += 1
        recent.append(F.mse_loss(output.detach().float().clamp(0, 1), target).item())
        if step % 50 == 0:
            log.info("codec step %d, %.0f s, loss %.4f, %.2f dB", step, budget.elapsed(), loss.item(),
                     -10 * np.log10(np.mean(recent)))
            recent.clear()
        if budget.elapsed() - last_saved > SAVE_SECONDS:
            last_saved = budget.elapsed()
            save_whole(saved, codec=codec.state_dict(), optimizer=optimizer.state_dict(), step=step, elapsed=last_saved,
                       book=[book.vectors, book.sums, book.counts])

    with torch.no_grad():
        codec.quantize.embedding.weight.copy_(book.vectors)
    figures = measure_codec(codec, subjects, sprites, device) | {"steps": step, "seconds": round(budget.elapsed())}
    log.info("codec done: %s", figures)
    (work / "codec.json").write_text(json.dumps(figures, indent=1))
    save_whole(done, **codec.state_dict())
    return done


def load_codec(work: Path, device: str = "cpu") -> torch.nn.Module:
    codec = new_codec()
    codec.load_state_dict(torch.load(work / "codec.pt", map_location="cpu", weights_only=True))
    return codec.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)


@torch.no_grad()
def encode_tokens(codec: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """[B, 3, H, W] in 0..1 -> [B, h, w] long."""
    latents = encode_latents(codec, images).float().permute(0, 2, 3, 1)
    vectors = codec.quantize.embedding.weight
    index = (0.5 * vectors.square().sum(1) - latents @ vectors.T).argmin(-1)
    return index


@torch.no_grad()
def decode_tokens(codec: torch.nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """[B, h, w] long -> [B, 3, H, W] in 0..1."""
    latents = codec.quantize.embedding.weight[tokens].permute(0, 3, 1, 2)
    return decode_latents(codec, latents).float().clamp(0, 1)


def measure_codec(codec: torch.nn.Module, subjects: list[Subject], sprites: np.ndarray, device: str,
                  count: int = 320) -> dict[str, float]:
    """PSNR over scenes with held-out pairs (mean error over all of them) and the share of codes that they use."""
    renderer, codec = Renderer(sprites), codec.eval()
    scenes = held_out_scenes(subjects, count)
    errors, used = [], set()
    for start in range(0, len(scenes), 32):
        images = np.stack([renderer.render(scene) for scene in scenes[start : start + 32]])
        target = torch.from_numpy(images).permute(0, 3, 1, 2).to(device)
        tokens = encode_tokens(codec, target)
        errors.append((decode_tokens(codec, tokens) - target).square().mean((1, 2, 3)))
        used.update(tokens.unique().tolist())
    mse = torch.cat(errors)
    return {
        "psnr_db": round(-10 * torch.log10(mse.mean()).item(), 2),
        "psnr_per_image_db": round((-10 * torch.log10(mse)).mean().item(), 2),
        "codes_used": round(len(used) / CONFIG["num_vq_embeddings"], 4),
        "images": len(scenes),
    }
