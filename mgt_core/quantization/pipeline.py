"""Quantization of a loaded bundle: the transformer, and the text encoder and codec beside it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ..codecs.base import Codec
from ..conditioning.text import TextEncoder
from ..errors import MGTError
from ..loading.pipeline import Pipeline
from ..model import MGTModel
from ..types import UNCONDITIONAL, Condition
from .calibration import PROMPTS, Calibration, CalibrationRun
from .later import calibrate_packed, treated
from .quantize import apply, quantize
from .schemes import SCHEMES, Scheme, scheme_from
from .session import Progress
from .surgery import replaced

LOAD_RUN = CalibrationRun(states=4)
LARGE_RUN = CalibrationRun(steps=8, states=4)  # of networks that are packed first: 32 steps of four prompts in all


def quantize_pipeline(pipe: Pipeline, quantization: str | Scheme | None, progress: Progress | None = None) -> Pipeline:
    """The bundle with its transformer quantized: by the calibration stored beside its weights
    (transformer/calibration.SCHEME.json) where there is one, else by the default one, which samples a few
    prompts. A bundle that is stored quantized is taken as it is; packed weights that no calibration has seen, as `load`
    leaves large ones with calibrate=False, are calibrated. Raises MGTError when it is stored otherwise."""
    scheme = scheme_from(quantization)
    stored = pipe.model.quantization
    if scheme is None or stored == scheme:
        return pipe
    if stored is not None and stored != scheme.weights_alone:
        held = stored.in_words()
        raise MGTError(f"{pipe.name} is stored as {held}; load it with quantization 'none', which keeps it so")
    file = calibration_file(pipe.source, scheme) if pipe.source else None
    if file is not None and file.is_file():
        by = treated if stored else apply
        return replace(pipe, model=by(pipe.model, scheme, Calibration.load(file)))
    if not scheme.needs_calibration:
        return replace(pipe, model=apply(pipe.model, scheme))
    conditions = calibration_conditions(pipe.model, pipe.text)
    if stored is not None:
        return replace(pipe, model=calibrate_packed(pipe.model, scheme, *conditions, LARGE_RUN, progress)[0])
    return replace(pipe, model=quantize(pipe.model, scheme, *conditions, LOAD_RUN, progress).model)


def calibration_conditions(
    model: MGTModel, text: TextEncoder | None, prompts: Sequence[str] = PROMPTS
) -> tuple[Condition, Condition]:
    """Positive and negative conditions to calibrate on: the prompts beside empty ones, or, for a model of
    classes, as many of its classes beside the unconditional one (or the first, where there is none)."""
    if "labels" in model.network.condition_fields:
        count, classes = len(prompts), model.network.num_classes
        labels = torch.arange(count) * classes // count
        other = UNCONDITIONAL if model.network.has_unconditional_class else 0
        return Condition(labels=labels), Condition(labels=torch.full((count,), other))
    if text is None:
        raise MGTError("calibrating takes the text encoder of the model, and none was given")
    if not prompts:
        raise MGTError("calibrating takes at least one prompt, and none was given")
    return text.encode(list(prompts)), text.encode([""] * len(prompts))


def picture_conditions(
    model: MGTModel, text: TextEncoder | None, captions: Sequence[str] = (), labels: Tensor | None = None
) -> tuple[Condition, Condition]:
    """The same for given pictures: what they show, one caption for all or one each, beside the empty prompt; without
    captions the empty prompt twice, as where nothing is known. For a model of classes their labels [P] beside no class
    (or the first, where there is none), without labels that twice."""
    if "labels" in model.network.condition_fields:
        other = torch.tensor([UNCONDITIONAL if model.network.has_unconditional_class else 0])
        labels = other if labels is None else labels
        return Condition(labels=labels), Condition(labels=other.expand(len(labels)))
    return calibration_conditions(model, text, list(captions) or [""])


def calibration_file(weights: Path, scheme: Scheme) -> Path:
    """Where the calibration of a transformer's weights (a folder or file) lies."""
    name = f"calibration.{SCHEMES.name_of(type(scheme))}.json"
    return weights / name if weights.is_dir() else weights.with_suffix("." + name)


def quantize_text(text: TextEncoder | None, quantization: str | Scheme | None) -> TextEncoder | None:
    """The text encoder with packed weights; for schemes that leave activations as they are (w8a16, fp8, w4a16)."""
    scheme = weights_only(quantization)
    if scheme is None or text is None:
        return text
    return replace(text, network=packed(text.network, scheme, False), placement=None)


def quantize_codec(codec: Codec, quantization: str | Scheme | None) -> Codec:
    """The codec with packed weights, convolutions included (w8a16, fp8)."""
    scheme = weights_only(quantization)
    if scheme is not None and scheme.format == "asym_w4a8_int8":
        raise MGTError("the codec's convolutions take 8 bits; accepted are w8a16 and fp8")
    if scheme is not None and not scheme.chosen(codec.network, True):  # EnCodec makes its weights as it computes
        raise MGTError("the codec has no layers that can be packed; load it as it is")
    return codec if scheme is None else replace(codec, network=packed(codec.network, scheme, True), placement=None)


def weights_only(quantization: str | Scheme | None) -> Scheme | None:
    scheme = scheme_from(quantization)
    if scheme is not None and scheme.int8_share:
        raise MGTError(f"{scheme.in_words()} quantizes activations; text encoder and codec take w4a16, w8a16 and fp8")
    return scheme


def packed(network: nn.Module, scheme: Scheme, convolutions: bool) -> nn.Module:
    layers = scheme.chosen(network, convolutions)
    return replaced(network, {name: scheme.pack(layer) for name, layer in layers.items()})
