"""Write the trained parts as a bundle in the published (Hugging Face) layout."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from .codec.training import CONFIG as CODEC_CONFIG
from .codec.training import load_codec
from .data.scenes import CANVAS
from .transformer.training import CONFIG, MASK_ID, load_network

log = logging.getLogger(__name__)

SHARD_BYTES = 12_000_000
DEFAULTS = {"steps": 24, "cfg": 2.0, "temperature": [0.5, 0.0], "schedule": "cosine"}
NAME = "diffusion_pytorch_model"


def export(work: Path, folder: Path, defaults: dict | None = None) -> None:
    """WORK's latest averaged weights -> `folder`: all in float16."""
    network, codec = load_network(work), load_codec(work)
    if folder.exists():
        shutil.rmtree(folder)
    for part in ("transformer", "vqvae", "text_encoder", "scheduler"):
        (folder / part).mkdir(parents=True)
    _save_sharded(network.backbone.half().state_dict(), folder / "transformer")
    _json(folder / "transformer/config.json", CONFIG)
    save_file({k: v.contiguous() for k, v in codec.half().state_dict().items()}, folder / f"vqvae/{NAME}.safetensors")
    _json(folder / "vqvae/config.json", {"_class_name": "VQModel", **CODEC_CONFIG})
    network.text.half().save_pretrained(folder / "text_encoder")
    shutil.copytree(work / "tokenizer", folder / "tokenizer")
    _json(
        folder / "scheduler/scheduler_config.json",
        {
            "_class_name": "Scheduler",
            "mask_token_id": MASK_ID,
            "masking_schedule": "cosine",
            "timestep_rule": "mask_ratio",
            "defaults": defaults or DEFAULTS,
        },
    )
    _json(
        folder / "model_index.json",
        {
            "_class_name": "Pipeline",
            "sample_size": CANVAS,
            "scheduler": ["scheduler", "Scheduler"],
            "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "transformer": ["transformer", "Transformer2DModel"],
            "vqvae": ["diffusers", "VQModel"],
        },
    )
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        path.chmod(0o644)  # safetensors writes for the owner only
    total = sum(path.stat().st_size for path in files)
    log.info("exported to %s, %.1f MB", folder, total / 1e6)


def _save_sharded(weights: dict[str, torch.Tensor], folder: Path) -> None:
    shards: list[dict[str, torch.Tensor]] = [{}]
    room = SHARD_BYTES
    for key, tensor in weights.items():
        size = tensor.numel() * tensor.element_size()
        if size > room and shards[-1]:
            shards.append({})
            room = SHARD_BYTES
        shards[-1][key] = tensor.contiguous()
        room -= size
    where = {}
    for number, shard in enumerate(shards, 1):
        name = f"{NAME}-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file(shard, folder / name, metadata={"format": "pt"})
        where |= dict.fromkeys(shard, name)
    total = sum(t.numel() * t.element_size() for t in weights.values())
    _json(folder / f"{NAME}.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": where})


def _json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", "utf-8")
