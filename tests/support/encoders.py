"""Tiny text encoders as they are published: whole CLIP models with their tokenizer beside them."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file

from .golden import bundles

TOKENIZER = bundles()[0] / "tokenizer"


def clip_model(folder: Path, width: int = 40, projection: int = 48, heads: int = 2, seed: int = 7) -> Path:
    """A random CLIPModel whose text side fits the first golden bundle, saved as laion's repositories hold theirs: one
    file with the side for pictures in it, the config of both, and the tokenizer."""
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(seed)
    layers = {"num_hidden_layers": 3, "num_attention_heads": heads, "hidden_act": "gelu", "projection_dim": projection}
    text = {"vocab_size": 534, "hidden_size": width, "intermediate_size": 80, "bos_token_id": 0, "eos_token_id": 2}
    pictures = {"hidden_size": 24, "intermediate_size": 48, "image_size": 28, "patch_size": 14}
    config = CLIPConfig(text_config={**text, **layers}, vision_config={**pictures, **layers}, projection_dim=projection)
    network = CLIPModel(config)
    for value in network.parameters():
        torch.nn.init.normal_(value, std=0.2)
    network.save_pretrained(folder)
    for file in TOKENIZER.iterdir():
        shutil.copy(file, folder)
    return folder


def edit_text_config(folder: Path, **changes) -> None:
    """Set entries of what a whole model's config says of the text side."""
    file = folder / "config.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps(values | {"text_config": values["text_config"] | changes}))


def pickled(folder: Path) -> Path:
    """The same folder with its weights as torch.save writes them, and beside them those of another library."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    torch.save({"transformer.resblocks.0.ln_1.weight": torch.ones(4)}, folder / "open_clip_pytorch_model.bin")
    return folder
