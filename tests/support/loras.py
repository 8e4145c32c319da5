"""Small LoRA files, random, in the layouts in which people have them."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import mgt_core
from mgt_core.kernels.fused_linear import FusedLinear

# What training scripts of this family adapt by default, and a layer that is not fused.
TARGETS = ("to_q", "to_k", "to_v", "ff.net.2", "context_embedder")

Pairs = dict[str, tuple[Tensor, Tensor]]


def linear_layers(network: nn.Module) -> dict[str, tuple[int, int]]:
    """(in, out) of every linear layer by its published name."""
    found = {}
    for path, layer in network.named_modules():
        if isinstance(layer, FusedLinear):
            for name in layer.names:
                found[f"{path.rpartition('.')[0]}.{name}"] = layer.in_features, layer.out_features // len(layer.names)
        elif isinstance(layer, nn.Linear):
            found[path] = layer.in_features, layer.out_features
    return found


def low_rank_pairs(network: nn.Module, rank: int = 2, seed: int = 0, targets=TARGETS) -> Pairs:
    """Random A [r, in] and B [out, r] for the layers whose names end in `targets`."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: tuple(torch.randn(shape, generator=generator) * 0.2 for shape in ((rank, width), (height, rank)))
        for name, (width, height) in linear_layers(network).items()
        if name.endswith(targets)
    }


def save_peft(folder: Path, pairs: Pairs, alpha: float, **settings) -> Path:
    """A folder as PEFT's save_pretrained leaves it; returns its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, (down, up) in pairs.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = down
        tensors[f"base_model.model.{name}.lora_B.weight"] = up
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"lora_alpha": alpha, "peft_type": "LORA"} | settings))
    return folder / "adapter_model.safetensors"


def save_diffusers(file: Path, pairs: Pairs, alpha: float) -> Path:
    """One file as diffusers' save_lora_adapter writes it, its settings in the header."""
    file.parent.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, (down, up) in pairs.items():
        tensors[f"transformer.{name}.lora_A.weight"] = down
        tensors[f"transformer.{name}.lora_B.weight"] = up
    settings = {"transformer.lora_alpha": alpha, "transformer.r": 2}
    save_file(tensors, file, metadata={"format": "pt", "lora_adapter_metadata": json.dumps(settings)})
    return file


def save_kohya(file: Path, pairs: Pairs, alpha: float) -> Path:
    """One file with `lora_down`, `lora_up` and an `alpha` beside every pair."""
    tensors = {}
    for name, (down, up) in pairs.items():
        tensors |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
        tensors[f"{name}.alpha"] = torch.tensor(float(alpha))
    save_file(tensors, file)
    return file


def logits(pipe, model=None):
    model = model or pipe.model
    grid = (4, 4)
    tokens = torch.arange(16).reshape(1, *grid) % model.codebook_size
    tokens[0, 1] = model.mask_id
    if "labels" in model.network.condition_fields:
        condition = mgt_core.Condition(labels=torch.tensor([1]))
        grid = model.network.trained_grid if model.network.only_trained_grid else grid
        tokens = torch.full((1, *grid), model.mask_id)
    else:
        condition = pipe.text.encode(["a red heart"])
    return model.logits(tokens, condition, 3.0)
