"""Write the trained parts as a bundle in the published (Hugging Face) layout."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from safetensors.torch import save_file

from .codec.network import CONFIG as CODEC_CONFIG
from .codec.network import load_codec
from .data.scenes import CANVAS
from .files import save_sharded, write_json
from .transformer.network import CONFIG, MASK_ID, load_network

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
    save_sharded(network.backbone.half().state_dict().items(), folder / "transformer", NAME, SHARD_BYTES)
    write_json(folder / "transformer/config.json", CONFIG)
    save_file({k: v.contiguous() for k, v in codec.half().state_dict().items()}, folder / f"vqvae/{NAME}.safetensors")
    write_json(folder / "vqvae/config.json", {"_class_name": "VQModel", **CODEC_CONFIG})
    network.text.half().save_pretrained(folder / "text_encoder")
    shutil.copytree(work / "tokenizer", folder / "tokenizer")
    write_json(
        folder / "scheduler/scheduler_config.json",
        {
            "_class_name": "Scheduler",
            "mask_token_id": MASK_ID,
            "masking_schedule": "cosine",
            "timestep_rule": "mask_ratio",
            "defaults": defaults or DEFAULTS,
        },
    )
    write_json(
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
