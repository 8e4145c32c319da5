"""Write the trained parts in the published layout: two files of torch.save and the folder of the text encoder."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import torch
import yaml
from torch import Tensor
from transformers import EncodecModel

from ..files import save_whole, write_json
from .codebooks import Books
from .codec import BOOKS, CODES, CONFIG, FILTERS, RATIOS
from .melodies import FRAMES, HOP, RATE
from .network import CONTEXT, SIZES, SPAN
from .text import save_text_encoder

log = logging.getLogger(__name__)

VERSION = "1.4.0a2"  # whose form it is
DEFAULTS = {"steps": 50, "cfg": 3.0, "sampler_settings": {"temperature": 1.0, "top_p": 0.9}}


def export(
    folder: Path, network: dict[str, Tensor], codec: EncodecModel, books: Books, defaults: dict | None = None
) -> None:
    """All of them -> `folder`, in float16. network: by the published names."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    write_state(folder / "state_dict.bin", network, network_config())
    write_state(folder / "compression_state_dict.bin", codec_state(codec, books), codec_config())
    save_text_encoder(folder / "text_encoder")
    write_json(
        folder / "scheduler/scheduler_config.json", {"_class_name": "Scheduler", "defaults": defaults or DEFAULTS}
    )
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        path.chmod(0o644)  # safetensors writes for the owner only
    log.info("exported to %s, %.0f kB", folder, sum(path.stat().st_size for path in files) / 1000)


def write_state(path: Path, state: dict[str, Tensor], config: dict) -> None:
    halves = {name: value.detach().half().contiguous().clone() for name, value in state.items()}
    written = {
        "best_state": halves,
        "xp.cfg": yaml.safe_dump(config, sort_keys=False),
        "version": VERSION,
        "exported": True,
    }
    save_whole(path, **written)


def codec_state(codec: EncodecModel, books: Books) -> dict[str, Tensor]:
    """By the published names."""
    state = {}
    for name, value in codec.state_dict().items():
        if name.startswith("quantizer."):
            continue
        name = name.replace(".layers.", ".model.", 1)
        name = name.replace(".parametrizations.weight.original0", ".weight_g").replace(
            ".parametrizations.weight.original1", ".weight_v"
        )
        kind = "convtr" if value.ndim and _is_transposed(codec, name) else "conv"
        state[name.replace(".conv.", f".{kind}.{kind}.")] = value
    for book in range(BOOKS):
        held = f"quantizer.vq.layers.{book}._codebook."
        state[held + "inited"] = torch.ones(1)
        state[held + "cluster_size"] = torch.ones(CODES)
        state[held + "embed"] = state[held + "embed_avg"] = books.codes[book]
    return state


def _is_transposed(codec: EncodecModel, name: str) -> bool:
    part, _, place, *_ = name.split(".")
    return type(getattr(codec, part).layers[int(place)]).__name__ == "EncodecConvTranspose1d"


def network_config() -> dict:
    """What is read of a network's xp.cfg."""
    return {
        "solver": "magnet",
        "sample_rate": RATE,
        "channels": 1,
        "lm_model": "transformer_lm_magnet",
        "dataset": {"segment_duration": FRAMES * HOP // RATE},
        "masking": {"span_len": SPAN},
        "conditioners": {"description": {"model": "t5", "t5": {"name": "t5-base", "finetune": False}}},
        "fuser": {"cross_attention_pos_emb": False, "cross": ["description"]},
        "transformer_lm": {
            **SIZES,
            "n_q": BOOKS,
            "card": CODES,
            "activation": "gelu",
            "norm_first": True,
            "bias_ff": False,
            "bias_attn": False,
            "bias_proj": False,
            "causal": False,
            "positional_embedding": "sin",
            "norm": "layer_norm",
            "subcodes_context": CONTEXT,
            "compression_model_framerate": RATE // HOP,
            "segment_duration": FRAMES * HOP // RATE,
            "span_len": SPAN,
        },
    }


def codec_config() -> dict:
    """What is read of a codec's xp.cfg."""
    return {
        "solver": "compression",
        "sample_rate": RATE,
        "channels": 1,
        "compression_model": "encodec",
        "encodec": {
            "autoencoder": "seanet",
            "quantizer": "rvq",
            "sample_rate": "${sample_rate}",
            "channels": "${channels}",
            "causal": False,
            "renormalize": False,
        },
        "seanet": {
            "dimension": CONFIG["hidden_size"],
            "channels": "${channels}",
            "causal": "${encodec.causal}",
            "n_filters": FILTERS,
            "n_residual_layers": CONFIG["num_residual_layers"],
            "ratios": list(RATIOS),
            "activation": "ELU",
            "activation_params": {"alpha": 1.0},
            "norm": CONFIG["norm_type"],
            "norm_params": {},
            "kernel_size": CONFIG["kernel_size"],
            "residual_kernel_size": CONFIG["residual_kernel_size"],
            "last_kernel_size": CONFIG["last_kernel_size"],
            "dilation_base": CONFIG["dilation_growth_rate"],
            "pad_mode": CONFIG["pad_mode"],
            "true_skip": True,
            "compress": CONFIG["compress"],
            "lstm": CONFIG["num_lstm_layers"],
            "disable_norm_outer_blocks": 0,
            "decoder": {"trim_right_ratio": 1.0, "final_activation": None, "final_activation_params": None},
        },
        "rvq": {"n_q": BOOKS, "q_dropout": False, "bins": CODES, "decay": 0.99, "kmeans_init": True},
    }
