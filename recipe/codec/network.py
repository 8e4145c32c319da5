"""The codec as diffusers' VQModel: built, loaded, and its tokens in and out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..data.scenes import CANVAS, Renderer, held_out_scenes
from ..data.subjects import Subject
from .principal_components import nearest, patches, read_encoder

CONFIG = {
    "act_fn": "silu",
    "block_out_channels": [16, 32, 64, 96],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 32,
    "layers_per_block": 1,
    "lookup_from_codebook": True,
    "force_upcast": True,
    "mid_block_add_attention": True,
    "norm_num_groups": 4,
    "norm_type": "group",
    "num_vq_embeddings": 1024,
    "out_channels": 3,
    "sample_size": CANVAS,
    "scaling_factor": 0.18215,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "vq_embed_dim": 32,
}


def new_codec() -> torch.nn.Module:
    from diffusers import VQModel

    return VQModel(**CONFIG)


def decode_latents(codec: torch.nn.Module, latents: torch.Tensor) -> torch.Tensor:
    return codec.decoder(codec.post_quant_conv(latents))


def load_codec(work: Path, device: str = "cpu") -> torch.nn.Module:
    codec = new_codec()
    codec.load_state_dict(torch.load(work / "codec.pt", map_location="cpu", weights_only=True))
    return codec.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)


@torch.no_grad()
def encode_tokens(codec: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """[B, 3, H, W] in 0..1 -> [B, h, w] long."""
    axes, shift = read_encoder(codec)
    latents = patches(images) @ axes + shift
    return nearest(latents.flatten(0, 2), codec.quantize.embedding.weight).view(latents.shape[:3])


@torch.no_grad()
def decode_tokens(codec: torch.nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """[B, h, w] long -> [B, 3, H, W] in 0..1."""
    latents = codec.quantize.embedding.weight[tokens].permute(0, 3, 1, 2)
    return decode_latents(codec, latents).float().clamp(0, 1)


def measure_codec(
    codec: torch.nn.Module, subjects: list[Subject], sprites: np.ndarray, device: str, count: int = 320
) -> dict[str, float]:
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
