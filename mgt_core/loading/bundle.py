"""Loading of bundles (see layouts.py for their forms), and the settings that lie in them."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ..backbones.base import Backbone
from ..codecs.token_codec import TokenCodec
from ..conditioning.text import TextEncoder
from ..errors import MGTError, whole_number
from ..model import LONGEST_SIDE, TIMESTEP_RULES, MGTModel
from ..patches.guidance_schedule import GuidanceSchedule
from ..placement import pick_device, pick_dtype
from ..quantization.arriving import Packing, packing_of
from ..quantization.marks import read_scheme
from ..quantization.pipeline import calibration_file, quantize_codec, quantize_pipeline, quantize_text, weights_only
from ..quantization.schemes import Scheme, scheme_from
from ..recommended import checked_settings
from ..registry import SCHEDULES
from ..settings import from_json
from ..types import PICTURES
from .beside import with_tensors_beside
from .building import told_of
from .compose import Elsewhere, Layout, Source, find_layout, find_text, language_in, tokenizer_for
from .disk import read_json
from .downloads import told_of_downloads
from .layouts import find_bundle
from .networks import backbone_of, codec_of, prompt_encoder_of, text_of
from .official import encoder_advice
from .part import Part, read_part
from .pipeline import Pipeline

log = logging.getLogger(__name__)


def load(
    source: Source,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    quantization: str | Scheme | None = None,
    text_quantization: str | Scheme | None = None,
    codec_quantization: str | Scheme | None = None,
    *,
    transformer: Source | None = None,
    text_encoder: Source | None = None,
    tokenizer: Source | None = None,
    codec: Source | None = None,
    base: Source | None = None,
    text: bool = True,
    shelves: Sequence[Source] = (),
    calibrate: bool = True,
) -> Pipeline:
    """Load a bundle: the name of a built-in model ("demo"), a folder, or a transformer's folder or file with its codec
    beside it (layouts.py), or alone and a base.

    dtype: of transformer and text encoder; default float32 on a CPU, bfloat16 elsewhere. The codec
    stays float32, which its quantization needs. device: default "cuda" where there is one.
    quantization: of the transformer, a scheme or its name ("w4a8"), by the stored calibration or the default
    one; text_quantization, codec_quantization: of the parts beside it ("w8a16", "fp8").
    transformer, text_encoder, tokenizer, codec: a part from elsewhere, a folder or file that holds it, or a bundle that
    has one. base: a bundle that lends what the source lacks. text: False for no text encoder.
    shelves: folders of text encoders, for a bundle that names one and does not bring it (MAGNeT: T5).
    calibrate: False to leave out a calibration that is still needed, which `quantize_pipeline` then makes.
    Peak memory stays near the size of the loaded weights, packed ones where that takes no calibration of the weights in
    floats (docs/quantization.md, "Loading"). Raises MGTError naming what is wrong.
    """
    device = pick_device(device)
    with told_of_downloads(source, transformer, text_encoder, tokenizer, codec, base):
        layout = find_layout(source, Elsewhere(transformer, text_encoder, tokenizer, codec, base, text, shelves))
    pipe = assemble(
        layout, pick_dtype(dtype, device), device, scheme_from(quantization), weights_only(text_quantization)
    )
    if pipe.advice:
        log.warning("%s: %s", pipe.name, pipe.advice)
    small = quantize_text(pipe.text, text_quantization), quantize_codec(pipe.codec, codec_quantization)
    pipe = replace(pipe, text=small[0], codec=small[1])
    return quantize_pipeline(pipe, quantization) if calibrate else pipe


def load_text_encoder(
    source: Source,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    tokenizer: Source | None = None,
) -> TextEncoder:
    """The text encoder of a folder or file that holds one (a whole CLIPModel too), or of a bundle.

    tokenizer: the folder of another, or a bundle that has one; default what lies with the encoder. dtype, device: as
    `load` has them. Raises MGTError naming what is wrong."""
    device = pick_device(device)
    with told_of_downloads(source, tokenizer):
        path = find_bundle(source, "text_encoder")
        part = find_text(path, [], read_part)
        words = tokenizer_for(part, tokenizer, [])
        language = language_in(path, read_part)
    return text_of(part, words, language, pick_dtype(dtype, device), device)


def assemble(
    layout: Layout,
    dtype: torch.dtype,
    device: torch.device,
    scheme: Scheme | None = None,
    text_scheme: Scheme | None = None,
) -> Pipeline:
    """The networks of a layout, built and filled, with the settings that lie beside them. scheme, text_scheme: by which
    transformer and text encoder are packed while they are read, where that can be.

    Raises MGTError where they do not belong together."""
    part = layout.transformer
    stored_calibration = scheme and calibration_file(part.path, scheme)
    packing = packing_of(part.kind, part.stored, scheme, stored_calibration)
    network = with_tensors_beside(backbone_of(part, dtype, device, packing), part.path.parent)
    with told_of(layout.scheduler, "holds settings that cannot be read"):
        scheduler = read_scheduler(layout.scheduler, network)
    codec = codec_of(layout.codec, torch.float32, device)
    check_codec_fits(codec, network, layout)
    text = None
    if layout.text_encoder is not None:
        text = text_of(
            layout.text_encoder, layout.tokenizer, layout.language, dtype, device, text_scheme and Packing(text_scheme)
        )
        check_text_fits(text, network, layout)
    elif layout.tokenizer is not None:
        text = prompt_encoder_of(network, layout.tokenizer)
    with told_of(layout.transformer.path, "has a header that cannot be read"):
        held = packing.scheme if packing else read_scheme(layout.transformer.stored, network)
    with told_of(layout.codec.path):
        network.fit_codec(codec)
    defaults = {**network.published_settings, **own_settings(scheduler)}
    guidance = defaults.pop("guidance", None)
    model = MGTModel(
        network=network,
        pixels_per_token=codec.scale,
        timestep_rule=scheduler.get("timestep_rule", network.timestep_rule),
        defaults=defaults,
        codec=codec,
        trained_size=trained_size(layout.folder, network, codec, layout.transformer),
        quantization=held,
        sample_rate=getattr(codec, "sample_rate", None),
    )
    if guidance:
        model = model.with_guidance(from_json(GuidanceSchedule, "guidance", guidance))
    advice = encoder_advice(network, text) if layout.whole else ""
    return Pipeline(model, text, codec, model.trained_size, layout.name, layout.transformer.path, advice)


def read_scheduler(path: Path, network: Backbone) -> dict:
    config = read_json(path) if path.is_file() else {}
    mask = config.get("mask_token_id", network.mask_id)
    if mask != network.mask_id:
        raise MGTError(
            f"{path} has mask_token_id {mask} and the transformer {network.mask_id}; they belong to different models"
        )
    if (rule := config.get("timestep_rule", network.timestep_rule)) not in TIMESTEP_RULES:
        raise MGTError(f"{path}: timestep_rule is {rule!r}; accepted are {', '.join(TIMESTEP_RULES)}")
    if not isinstance(config.get("defaults", {}), dict):
        raise MGTError(f"{path} has defaults {config['defaults']!r}; expected sampling settings by name")
    try:
        return {**config, "defaults": checked_settings(config.get("defaults", {}))}
    except MGTError as error:
        raise MGTError(f"{path} has defaults that no run can have: {error}") from None


def own_settings(scheduler: dict) -> dict:
    """What a bundle's own files recommend. Published ones name their schedule, where it is one that is known."""
    named = scheduler.get("masking_schedule")
    return {**({"schedule": named} if named in SCHEDULES.names() else {}), **scheduler.get("defaults", {})}


def trained_size(folder: Path, network: Backbone, codec: TokenCodec, transformer: Part) -> tuple[int, int] | None:
    """Pixels the bundle names (sample_size in model_index.json, else its folder), else those of the network; None for
    sound."""
    if network.makes != PICTURES:
        return None
    index = folder / "model_index.json"
    named = read_json(index).get("sample_size") if index.is_file() else None
    if named is not None:
        side = whole_number(f"sample_size of {index}", named, 1, LONGEST_SIDE)
        return side, side
    if side := network.trained_side(transformer.path.parent.name):
        return side, side
    height, width = (side * codec.scale for side in network.trained_grid)
    if max(height, width) > LONGEST_SIDE:
        raise MGTError(
            f"{shown(transformer)} is of pictures of {height} x {width} pixels; accepted are up to {LONGEST_SIDE}"
        )
    return height, width


def check_codec_fits(codec: TokenCodec, network: Backbone, layout: Layout) -> None:
    if codec.makes != network.makes:
        raise MGTError(
            f"the codec of {shown(layout.codec)} is of {codec.makes} and its transformer makes {network.makes}; they "
            "belong to different models"
        )
    if codec.codebook_size != network.codebook_size:
        raise MGTError(
            f"the codec of {shown(layout.codec)} has {codec.codebook_size} codes and its transformer "
            f"{network.codebook_size}; they belong to different models"
        )


def check_text_fits(text: TextEncoder, network: Backbone, layout: Layout) -> None:
    taken = network.condition_widths.keys() & {"hidden", "pooled"}
    if taken != text.widths.keys():
        raise MGTError(
            f"the text encoder of {shown(layout.text_encoder)} gives {' and '.join(sorted(text.widths))} states and "
            f"its transformer takes {' and '.join(sorted(taken))} ones; they belong to different models"
        )
    for name, width in text.widths.items():
        wanted = network.condition_widths[name]
        if width != wanted:
            part = layout.language if name == "hidden" and layout.language else layout.text_encoder
            raise MGTError(
                f"the text encoder of {shown(part)} gives {name} states of width {width} "
                f"and its transformer takes {wanted}; "
                "they belong to different models"
            )


def shown(part: Part) -> str:
    """Where a part lies, in short."""
    return "/".join(part.path.parts[-2:])
