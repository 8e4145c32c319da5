"""Loading of bundles (see layouts.py for their forms), and the settings that lie in them."""

from dataclasses import replace
from pathlib import Path

import torch

from ..backbones.base import Backbone
from ..codecs.base import Codec
from ..conditioning.text import TextEncoder
from ..errors import MGTError
from ..model import MGTModel
from ..placement import pick_device, pick_dtype
from ..quantization.marks import read_scheme
from ..quantization.pipeline import quantize_codec, quantize_pipeline, quantize_text
from ..quantization.schemes import Scheme
from .layouts import Layout, find_layout
from .networks import backbone_of, codec_of, load_text_encoder
from .pipeline import Pipeline
from .weights import read_json


def load(
    source: str | Path,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    quantization: str | Scheme | None = None,
    text_quantization: str | Scheme | None = None,
    codec_quantization: str | Scheme | None = None,
) -> Pipeline:
    """Load a bundle: the name of a built-in model ("demo"), a folder, or a transformer file with its codec
    beside it (layouts.py).

    dtype: of transformer and text encoder; default float32 on a CPU, bfloat16 elsewhere. The codec
    stays float32, which its quantization needs. device: default "cuda" where there is one.
    quantization: of the transformer, a scheme or its name ("w4a8"), by the stored calibration or the default
    one; text_quantization, codec_quantization: of the parts beside it ("w8a16", "fp8").
    Peak memory stays near the size of the loaded weights. Raises MGTError naming what is wrong.
    """
    device = pick_device(device)
    pipe = assemble(find_layout(source), pick_dtype(dtype, device), device)
    text, codec = quantize_text(pipe.text, text_quantization), quantize_codec(pipe.codec, codec_quantization)
    return quantize_pipeline(replace(pipe, text=text, codec=codec), quantization)


def assemble(layout: Layout, dtype: torch.dtype, device: torch.device) -> Pipeline:
    """The networks of a layout, built and filled, with the settings that lie beside them.

    Raises MGTError where they do not belong together."""
    folder = layout.folder
    network = backbone_of(layout.transformer, dtype, device)
    scheduler = read_scheduler(folder, network)
    codec = codec_of(layout.codec, torch.float32, device)
    check_codec_fits(codec, network, folder)
    text = None
    if "hidden" in network.condition_fields:
        text = load_text_encoder(layout.text_encoder, layout.tokenizer, dtype, device)
        check_text_fits(text, network, folder)
    model = MGTModel(
        network=network,
        pixels_per_token=codec.scale,
        timestep_rule=scheduler.get("timestep_rule", "index"),
        defaults={**network.published_settings, **scheduler.get("defaults", {})},
        codec=codec,
        trained_size=trained_size(folder, network, codec),
        quantization=read_scheme(layout.transformer.stored, network),
    )
    return Pipeline(model, text, codec, model.trained_size, layout.name, layout.transformer.path)


def read_scheduler(folder: Path, network: Backbone) -> dict:
    path = folder / "scheduler" / "scheduler_config.json"
    config = read_json(path) if path.is_file() else {}
    mask = config.get("mask_token_id", network.mask_id)
    if mask != network.mask_id:
        raise MGTError(
            f"{path} has mask_token_id {mask} and the transformer {network.mask_id}; they belong to different models"
        )
    if not isinstance(config.get("defaults", {}), dict):
        raise MGTError(f"{path} has defaults {config['defaults']!r}; expected sampling settings by name")
    return config


def trained_size(folder: Path, network: Backbone, codec: Codec) -> tuple[int, int]:
    """Pixels the bundle names (sample_size in model_index.json), else those of the network's layout."""
    index = folder / "model_index.json"
    named = read_json(index).get("sample_size") if index.is_file() else None
    if isinstance(named, int) and named > 0:
        return named, named
    return network.trained_grid[0] * codec.scale, network.trained_grid[1] * codec.scale


def check_codec_fits(codec: Codec, network: Backbone, folder: Path) -> None:
    if codec.codebook_size < network.codebook_size:
        raise MGTError(
            f"the codec of {folder.name} has {codec.codebook_size} codes and its transformer {network.codebook_size}; "
            "they belong to different models"
        )


def check_text_fits(text: TextEncoder, network: Backbone, folder: Path) -> None:
    config = text.network.config
    for name, width in (("hidden", config.hidden_size), ("pooled", config.projection_dim)):
        wanted = network.condition_widths[name]
        if width != wanted:
            raise MGTError(
                f"the text encoder of {folder.name} gives {name} states of width {width} "
                f"and its transformer takes {wanted}; "
                "they belong to different models"
            )
