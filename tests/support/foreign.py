"""Tiny stand-ins for what people have beside models of this pack: tensors by the names that tell the kinds apart."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file


def weights(*names: str) -> Callable[[Path], None]:
    return lambda file: save_file({name: torch.zeros(2) for name in names}, file)


def content(data: bytes) -> Callable[[Path], None]:
    return lambda file: file.write_bytes(data)


def cut_off(file: Path) -> None:
    weights("a", "b")(file)
    file.write_bytes(file.read_bytes()[:-5])


def pipeline(named: str) -> Callable[[Path], None]:
    """A folder of diffusers' layout."""

    def make(folder: Path) -> None:
        (folder / "unet").mkdir(parents=True)
        index = {"_class_name": named, "vae": ["diffusers", "AutoencoderKL"]}
        (folder / "model_index.json").write_text(json.dumps(index))
        weights("down_blocks.0.resnets.0.conv1.weight")(folder / "unet" / "diffusion_pytorch_model.safetensors")

    return make


def network(config: dict, *names: str) -> Callable[[Path], None]:
    """A folder with a config and weights."""

    def make(folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        weights(*names)(folder / "model.safetensors")

    return make


# Name -> what makes it there, what is told of it in a list, and what in a sentence.
FOREIGN: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "sd_xl_base_1.0.safetensors": (
        weights(
            "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight",
            "model.diffusion_model.input_blocks.0.0.weight",
            "first_stage_model.encoder.conv_in.weight",
        ),
        "not an MGT: Stable Diffusion XL",
        "is Stable Diffusion XL, which is no MGT: it belongs in models/checkpoints",
    ),
    "v1-5.ckpt": (
        lambda file: torch.save({"state_dict": {"cond_stage_model.transformer.a": torch.zeros(2)}}, file),
        "not an MGT: Stable Diffusion 1",
        "is Stable Diffusion 1, which is no MGT: it belongs in models/checkpoints",
    ),
    "flux1-dev.safetensors": (
        weights("double_blocks.0.img_attn.norm.key_norm.scale", "img_in.weight"),
        "not an MGT: Flux",
        "is Flux, which is no MGT: it belongs in models/diffusion_models",
    ),
    "style.safetensors": (
        weights("lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight"),
        "not an MGT: LoRA",
        "is a LoRA, which is no MGT: it belongs in models/loras",
    ),
    "peft.safetensors": (
        weights("base_model.model.transformer_blocks.0.attn.to_q.lora_A.weight"),
        "not an MGT: LoRA",
        "is a LoRA, which is no MGT: it belongs in models/loras",
    ),
    "dora.safetensors": (
        weights("transformer_blocks.0.attn.to_q.lora_magnitude_vector.weight"),
        "not an MGT: LoRA",
        "is a LoRA, which is no MGT: it belongs in models/loras",
    ),
    "lokr.safetensors": (
        weights("lycoris_blocks_0_attn.lokr_w1", "lycoris_blocks_0_attn.alpha"),
        "not an MGT: LoRA",
        "is a LoRA, which is no MGT: it belongs in models/loras",
    ),
    "loha.safetensors": (
        weights("base_model.model.blocks.0.hada_w1_a"),
        "not an MGT: LoRA",
        "is a LoRA, which is no MGT: it belongs in models/loras",
    ),
    "dora_of_lycoris.safetensors": (
        weights("diffusion_model.blocks.0.attn.dora_scale"),
        "not an MGT: LoRA",
        "is a LoRA, which is no MGT: it belongs in models/loras",
    ),
    "processors.safetensors": (
        weights("unet.mid_block.attn1.processor.to_q_lora.down.weight"),
        "not an MGT: LoRA",
        "is a LoRA, which is no MGT: it belongs in models/loras",
    ),
    "oft.safetensors": (
        weights("transformer.blocks.0.oft_blocks"),
        "not an MGT: LoRA",
        "is a LoRA, which is no MGT: it belongs in models/loras",
    ),
    "branch.safetensors": (
        weights("cls_anchor_gen.mlp_f.weight", "decoders.0.weight"),
        "not an MGT: branch of Self-Guidance",
        "is a branch of Self-Guidance, which is no MGT: it belongs in models/mgt/self_guidance",
    ),
    "sdxl_vae.safetensors": (
        weights("encoder.conv_in.weight", "decoder.conv_in.weight", "quant_conv.weight"),
        "not an MGT: VAE",
        "is a VAE, which is no MGT: it belongs in models/vae",
    ),
    "t5xxl.safetensors": (
        weights("encoder.block.0.layer.0.SelfAttention.q.weight", "shared.weight"),
        "not an MGT: T5 text encoder",
        "is a T5 text encoder, which is no MGT: it belongs in models/text_encoders",
    ),
    "other.safetensors": (
        weights("alpha", "beta"),
        "not an MGT: file of unknown weights",
        "is a file of unknown weights, which is no MGT: its first tensors are alpha, beta",
    ),
    "flux-q4.gguf": (content(b"GGUF"), "not an MGT: GGUF file", "is a GGUF file, which is no MGT"),
    "all.zip": (content(b"PK"), "packed archive", "is a packed archive: unpack it into a folder of its own"),
    "cut.safetensors": (cut_off, "file that is cut off", "is a file that is cut off: it has"),
    "empty.safetensors": (content(b""), "empty file", "is an empty file: download or copy it again"),
    "pointer.safetensors": (
        content(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n"),
        "pointer of git-lfs, not the weights",
        "is a pointer of git-lfs, not the weights: run git lfs pull",
    ),
    "page.bin": (content(b"<!DOCTYPE html><html>"), "web page, not the weights", "is a web page, not the weights"),
    "noise.safetensors": (
        content(struct.pack("<Q", 4) + b"}{}{" + bytes(9)),
        "no readable file of tensors",
        "is no readable file of tensors: ",
    ),
    "objects.pt": (
        lambda file: torch.save(torch.nn.Linear(2, 2), file),
        "no readable file of tensors",
        "is no readable file of tensors: ",
    ),
    "sdxl": (
        pipeline("StableDiffusionXLPipeline"),
        "not an MGT: Stable Diffusion XL",
        "is Stable Diffusion XL, which is no MGT: it belongs in models/diffusers",
    ),
    "kandinsky": (
        pipeline("KandinskyPipeline"),
        "not an MGT: diffusion model (KandinskyPipeline)",
        "is a diffusion model (KandinskyPipeline), which is no MGT",
    ),
    "flux-transformer": (
        network({"_class_name": "FluxTransformer2DModel"}, "transformer_blocks.0.norm1.linear.weight"),
        "not an MGT: network of another kind (FluxTransformer2DModel)",
        "is a network of another kind (FluxTransformer2DModel), which is no MGT",
    ),
}
