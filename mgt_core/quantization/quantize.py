"""SCQ, secondary calibration quantization (arXiv 2411.10781, section 3.4, after its authors' code).

The states that sampling passes through are recorded once and shown to the network twice: as it is, which
ranks the layers by their output scale, and with quantized weights, which gives the scales that are kept.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from ..errors import MGTError, join_some
from ..model import MGTModel
from ..types import Callback, Condition
from .calibration import Calibration, CalibrationRun
from .formats import Int4Layer
from .layers import PackedLayer, stored_bytes
from .observers import Observed, Watch
from .reconstruction import reconstruct
from .report import LayerReport, Report
from .schemes import Scheme, scheme_from
from .session import Progress, Session, compared
from .surgery import replaced

ROWS_KEPT = 64  # input rows of a layer kept from every recorded state for fine-tuning


@dataclass(frozen=True)
class Quantized:
    """The quantized model, what the calibration found, and the report."""

    model: MGTModel
    calibration: Calibration
    report: Report


@torch.no_grad()
def quantize(
    model: MGTModel,
    scheme: str | Scheme,
    positive: Condition,
    negative: Condition,
    run: CalibrationRun | None = None,
    progress: Progress | None = None,
    callback: Callback | None = None,
) -> Quantized:
    """A new model with packed weights; the one given stays as it is, and what is not packed is shared.

    positive: conditions to calibrate on, one image each; negative: one condition, or as many. progress is
    called with how much is done of how much, and may raise to stop; callback with every sampled step.
    Patches stay attached, and take no part in the calibration. Raises MGTError for
    conditions of another model and for a model that is quantized.
    """
    scheme, run = scheme_from(scheme), run or CalibrationRun()
    if scheme is None:
        raise MGTError("quantization is 'none': there is nothing to calibrate")
    layers = layers_of(model, scheme)
    session = Session.of(model, positive, negative, run, len(layers), progress, callback)
    states = session.record()

    keep = ROWS_KEPT if scheme.reconstruct else 0
    first = {name: Watch(scheme.rotation(layer), keep) for name, layer in layers.items()}
    expected = session.replay({name: Observed(layer, first[name]) for name, layer in layers.items()}, states)
    packed = calibrated(layers, first, scheme, session.meter.tick)

    if run.second and scheme.static:
        second = {name: Watch(scheme.rotation(layer)) for name, layer in layers.items()}
        session.replay({name: Observed(with_float_input(packed[name]), second[name]) for name in layers}, states)
        for name, layer in packed.items():
            set_scale(layer, second[name].input_scale)

    last = {name: Watch() for name in layers}
    judged = session.replay({n: Observed(packed[n], last[n], layer) for n, layer in layers.items()}, states, expected)
    quantized = with_layers(model, packed, scheme)
    agreement, shift = compared(expected, judged)
    report = Report(
        scheme=repr(scheme),
        layers=tuple(layer_report(n, layer, packed[n], first[n], last[n]) for n, layer in layers.items()),
        before=stored_bytes(model.network),
        after=stored_bytes(quantized.network),
        agreement=agreement,
        shift=shift,
    )
    kinds = {name: (layer.settings.activations, scale_of(layer)) for name, layer in packed.items()}
    return Quantized(quantized, Calibration(repr(scheme), kinds), report)


@torch.no_grad()
def apply(model: MGTModel, scheme: str | Scheme, calibration: Calibration | None = None) -> MGTModel:
    """A new model with packed weights, without running it: from a stored calibration, or for schemes that
    need none. Raises MGTError where the calibration is of another network or is missing and needed."""
    scheme = scheme_from(scheme)
    layers = layers_of(model, scheme)
    if calibration is None:
        if scheme.needs_calibration:
            raise MGTError(f"{scheme!r} needs a calibration: which layers take int8 inputs, and their scales")
        kind = scheme.activation_scales if scheme.int8_share else "float"
        kinds = dict.fromkeys(layers, (kind, 0.0))
    else:
        kinds = calibration.layers
        if kinds.keys() != layers.keys():
            odd = sorted(kinds.keys() ^ layers.keys())
            raise MGTError(f"the stored calibration is of another network or other settings: {join_some(odd)} differ")
    packed = {name: set_scale(scheme.pack(layer, kinds[name][0]), kinds[name][1]) for name, layer in layers.items()}
    return with_layers(model, packed, scheme)


def layers_of(model: MGTModel, scheme: Scheme) -> dict[str, nn.Module]:
    """The layers to pack, by name. Raises MGTError for a model that is quantized and where none is left."""
    if model.quantization is not None:
        raise MGTError(f"the model is quantized already ({model.quantization!r}); start from the original weights")
    kept = model.network.unquantized
    chosen = {n: layer for n, layer in scheme.chosen(model.network).items() if not n.startswith(kept)}
    if not chosen:
        raise MGTError("no layer is left to quantize: the network has no linear layers beyond those that are kept")
    return chosen


def calibrated(
    layers: Mapping[str, nn.Module], watches: Mapping[str, Watch], scheme: Scheme, tick: Callable[[], None]
) -> dict[str, PackedLayer]:
    """Every layer packed by what the first calibration saw of it, and fine-tuned where the scheme has it."""
    int8 = smallest(watches, scheme.int8_share)
    packed = {}
    for name, layer in layers.items():
        found = scheme.pack(layer, scheme.activation_scales if name in int8 else "float")
        set_scale(found, watches[name].input_scale)
        samples = watches[name].samples
        if scheme.reconstruct and isinstance(found, Int4Layer) and samples:
            found = reconstruct(found, layer, torch.cat(samples), scheme.reconstruct)
            samples.clear()
        packed[name] = found
        tick()
    return packed


def smallest(watches: Mapping[str, Watch], share: float) -> set[str]:
    """The `share` of layers with the smallest output scales."""
    ranked = sorted(watches, key=lambda name: watches[name].output_scale or 0.0)
    return set(ranked[: round(share * len(ranked))])


def with_float_input(layer: PackedLayer) -> PackedLayer:
    """The same weights, its inputs taken as they come."""
    layer = copy.copy(layer)
    layer.settings = replace(layer.settings, activations="float")
    return layer


def set_scale(layer: PackedLayer, scale: float | None) -> PackedLayer:
    if layer.settings.activations == "static":
        layer.input_scale.fill_(scale or 1.0)
    return layer


def scale_of(layer: PackedLayer) -> float:
    return float(layer.input_scale) if layer.settings.activations == "static" else 0.0


def with_layers(model: MGTModel, packed: Mapping[str, PackedLayer], scheme: Scheme) -> MGTModel:
    return replace(model, network=replaced(model.network, packed), placement=None, quantization=scheme)


def layer_report(name: str, layer: nn.Module, packed: PackedLayer, first: Watch, last: Watch) -> LayerReport:
    """first: of the layer before it was packed; last: of both on the same inputs."""
    return LayerReport(
        name=name,
        parameters=layer.weight.numel(),
        activations=packed.settings.activations,
        input_scale=first.input_scale or 0.0,
        output_scale=first.output_scale or 0.0,
        kept_scale=scale_of(packed),
        error=last.relative_error,
        before=stored_bytes(layer),
        after=stored_bytes(packed),
    )
