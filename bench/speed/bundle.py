"""A Meissonic with random weights in the published layout, written tensor by tensor.

What a forward costs does not depend on the weights, so speed can be measured without anybody's checkpoint. The
spread is that of a trained network: unit gain through linear layers and convolutions, modulations a few tenths,
norm scales around 1. What is written is a bundle like any other: `mgt_core.load` and other implementations read it.
"""

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from mgt_core.backbones.meissonic.network import MeissonicConfig, MeissonicTransformer
from recipe import MODEL_DIR
from recipe.files import save_sharded, write_json

SHARD_BYTES = 2**29  # weights held at once while writing
TOKENIZER = MODEL_DIR / "tokenizer"
WORDS = 77  # tokens a prompt is padded or cut to
SCHEDULE = "cosine"


@dataclass(frozen=True)
class Sizes:
    """Sizes of the three networks, as their config.json files have them, and the pixels they are measured at."""

    name: str
    transformer: dict
    text_encoder: dict
    vqvae: dict
    pixels: int


def vqvae_config(channels: list[int], latent: int, codes: int, groups: int, layers: int = 2) -> dict:
    return {
        "act_fn": "silu",
        "block_out_channels": channels,
        "down_block_types": ["DownEncoderBlock2D"] * len(channels),
        "up_block_types": ["UpDecoderBlock2D"] * len(channels),
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": latent,
        "vq_embed_dim": latent,
        "num_vq_embeddings": codes,
        "layers_per_block": layers,
        "norm_num_groups": groups,
        "norm_type": "group",
        "mid_block_add_attention": False,
        "lookup_from_codebook": True,
        "force_upcast": True,
        "sample_size": 32,
        "scaling_factor": 0.18215,
    }


def text_config(width: int, layers: int, heads: int, words: int, projection: int) -> dict:
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "hidden_act": "gelu",
        "vocab_size": words,
        "projection_dim": projection,
        "max_position_embeddings": WORDS,
    }


def transformer_config(joint: int, single: int, heads: int, axes: list[int], text: int, codes: int, spare: int) -> dict:
    return {
        "num_layers": joint,
        "num_single_layers": single,
        "num_attention_heads": heads,
        "attention_head_dim": sum(axes),
        "axes_dims_rope": axes,
        "joint_attention_dim": text,
        "pooled_projection_dim": heads * sum(axes),
        "in_channels": heads * sum(axes),
        "vocab_size": codes + spare,
        "codebook_size": codes,
        "downsample": True,
        "upsample": True,
        "guidance_embeds": False,
        "patch_size": 1,
    }


# The sizes of MeissonFlow/Meissonic: network, CLIP ViT-H/14 text encoder, VQ codec of 16 x 16 pixels a token.
FULL = Sizes(
    "full",
    transformer_config(14, 28, 8, [16, 56, 56], text=1024, codes=8192, spare=64),
    text_config(1024, 24, 16, 49408, 1024),
    vqvae_config([128, 256, 256, 512, 768], 64, 8192, 32),
    pixels=1024,
)
TINY = Sizes(
    "tiny",
    transformer_config(2, 3, 3, [4, 6, 6], text=40, codes=64, spare=8),
    text_config(40, 3, 2, 1024, 48),
    vqvae_config([4, 8, 8], 8, 64, 4, layers=1),
    pixels=64,
)


def text_settings(sizes: Sizes) -> dict:
    """CLIPTextConfig's, of an encoder that takes the built-in model's tokenizer."""
    words = json.loads((TOKENIZER / "tokenizer_config.json").read_text())
    vocabulary = json.loads((TOKENIZER / "vocab.json").read_text())
    end = vocabulary[words["eos_token"]]
    text = sizes.text_encoder | {"bos_token_id": end - 1, "eos_token_id": end, "pad_token_id": end}
    return text | {"vocab_size": max(text["vocab_size"], len(vocabulary))}  # of TINY: as many as the tokenizer has


def write_bundle(folder: Path, sizes: Sizes, seed: int = 0) -> Path:
    """Write a bundle with random weights into `folder`; at most SHARD_BYTES of them are held at once."""
    from diffusers import VQModel
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    shutil.copytree(TOKENIZER, folder / "tokenizer")
    words = json.loads((folder / "tokenizer/tokenizer_config.json").read_text()) | {"model_max_length": WORDS}
    write_json(folder / "tokenizer/tokenizer_config.json", words)
    text = text_settings(sizes)
    with torch.device("meta"):
        networks = {
            "transformer": MeissonicTransformer(MeissonicConfig.from_dict(sizes.transformer)),
            "text_encoder": CLIPTextModelWithProjection(CLIPTextConfig(**text)),
            "vqvae": VQModel.from_config(sizes.vqvae),
        }
    configs = {
        "transformer": {"_class_name": "Transformer2DModel", **sizes.transformer},
        "text_encoder": {"architectures": ["CLIPTextModelWithProjection"], "model_type": "clip_text_model", **text},
        "vqvae": {"_class_name": "VQModel", **sizes.vqvae},
    }
    generator = torch.Generator().manual_seed(seed)
    for part, network in networks.items():
        write_json(folder / part / "config.json", configs[part])
        weights = ((name, random_weight(name, like.shape, generator)) for name, like in network.state_dict().items())
        stem = "model" if part == "text_encoder" else "diffusion_pytorch_model"
        save_sharded(weights, folder / part, stem, SHARD_BYTES)
    mask = sizes.transformer["vocab_size"] - 1
    scheduler = {"_class_name": "Scheduler", "mask_token_id": mask, "masking_schedule": SCHEDULE}
    write_json(folder / "scheduler/scheduler_config.json", scheduler)
    write_json(folder / "model_index.json", {"_class_name": "Pipeline", "sample_size": sizes.pixels})
    return folder


def random_weight(name: str, shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """float32 of `shape`, spread as below."""
    return spread(name, torch.randn(shape, generator=generator))


def spread(name: str, weight: torch.Tensor) -> torch.Tensor:
    """Standard normal numbers made the weight `name` of a network, in place: biases small, norm scales around 1,
    matrices of unit gain."""
    shape = weight.shape
    if len(shape) < 2:
        return weight.mul_(0.02) if name.endswith("bias") else weight.mul_(0.1).add_(1)
    if "embedding" in name and "embedder" not in name:  # tables of tokens, words and positions
        return weight.mul_(0.5)
    fan_in = shape[0] if "upsample" in name and "conv" in name and shape[2] == 2 else shape[1:].numel()
    modulation = ".norm" in name and name.endswith("linear.weight")
    return weight.mul_((0.2 if modulation else 1.0) / math.sqrt(fan_in))
