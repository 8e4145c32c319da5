"""SCQ, secondary calibration quantization (arXiv 2411.10781, section 3.4, after its authors' code).

The same states are shown to the network twice: as it is, which ranks the layers by their output scale, and with
quantized weights, which gives the scales that are kept. States are those that sampling passes through, or given
pictures with some of their tokens masked. Between the two the network can be fine-tuned.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..backbones.base import Backbone
from ..backbones.names import begins
from ..errors import MGTError, join_some
from ..model import MGTModel
from ..types import Callback, Condition
from .calibration import Calibration, CalibrationRun
from .embedding import PackedEmbedding, embeddings_in
from .finetune import finetuned
from .formats import Int4Layer
from .layers import PackedLayer, Treatment, stored_bytes
from .observers import Observed, Watch, mean
from .reconstruction import reconstruct
from .report import LayerReport, Report
from .schemes import Scheme, scheme_from
from .session import Progress, Session, compared
from .surgery import replaced

ROWS_KEPT = 64  # input rows of a layer kept from every recorded state for fine-tuning


@dataclass(frozen=True)
class Quantized:
    """The quantized model, what the calibration found, and the report. first: how every layer would be treated by the
    first calibration alone."""

    model: MGTModel
    calibration: Calibration
    report: Report
    first: Mapping[str, Treatment]


@torch.no_grad()
def quantize(
    model: MGTModel,
    scheme: str | Scheme,
    positive: Condition,
    negative: Condition,
    run: CalibrationRun | None = None,
    progress: Progress | None = None,
    callback: Callback | None = None,
    pictures: Tensor | None = None,
) -> Quantized:
    """A new model with packed weights; the one given stays as it is, and what is not packed is shared (unless the
    network is fine-tuned: then all of it is new).

    positive: conditions to calibrate on, one image each; negative: one condition, or as many. pictures: tokens
    [P, h, w] of pictures to calibrate on in place of sampled ones (see `picture_tokens`), with one condition or P.
    progress is called with how much is done of how much, and may raise to stop; callback with every sampled step.
    Patches stay attached, and take no part in the calibration. Raises MGTError for
    conditions of another model and for a model that is quantized.
    """
    scheme, run = scheme_from(scheme), run or CalibrationRun()
    if scheme is None:
        raise MGTError("quantization is 'none': there is nothing to calibrate")
    layers = layers_of(model, scheme)
    session = Session.of(model, positive, negative, run, len(layers), progress, callback, pictures)
    states = session.states()

    keep = ROWS_KEPT if scheme.reconstruct else 0
    first = {name: Watch(scheme.rotation(layer), keep) for name, layer in layers.items()}
    expected = session.replay({name: Observed(layer, first[name]) for name, layer in layers.items()}, states)
    how = treatments(first, scheme)
    if run.finetune:
        network = finetuned(session, scheme, how)
        model = replace(model, network=network, placement=None)
        layers = layers_of(model, scheme)
    packed = calibrated(model.network, layers, first, how, scheme, session.meter.tick)

    if run.second and scheme.static:
        second = {name: Watch(scheme.rotation(layer)) for name, layer in layers.items()}
        plain = {name: packed[name].treated(Treatment()) for name in layers}
        session.replay({name: Observed(plain[name], second[name]) for name in layers}, states)
        packed = {name: layer.treated(rescaled(how[name], second[name], scheme)) for name, layer in packed.items()}

    last = {name: Watch() for name in layers}
    judged = session.replay({n: Observed(packed[n], last[n], layer) for n, layer in layers.items()}, states, expected)
    quantized = with_layers(model, packed, scheme)
    agreement, shift = compared(expected, judged)
    report = Report(
        scheme=scheme.in_words(),
        layers=tuple(layer_report(n, layer, packed[n], first[n], last[n], scheme) for n, layer in layers.items()),
        before=stored_bytes(model.network),
        after=stored_bytes(quantized.network),
        agreement=agreement,
        shift=shift,
    )
    kinds = {name: layer.treatment for name, layer in packed.items()}
    return Quantized(quantized, Calibration(repr(scheme), kinds, run.finetune), report, how)


@torch.no_grad()
def apply(model: MGTModel, scheme: str | Scheme, calibration: Calibration | None = None) -> MGTModel:
    """A new model with packed weights, without running it: from a stored calibration, or for schemes that
    need none. Raises MGTError where the calibration is of another network or is missing and needed."""
    scheme = scheme_from(scheme)
    layers = layers_of(model, scheme)
    how = treatments_by(model.network, layers, scheme, calibration)
    packed = {name: layer.treated(how[name]) for name, layer in scheme.packed(model.network, layers)}
    return with_layers(model, packed, scheme)


def treatments_by(
    network: nn.Module, layers: Collection[str], scheme: Scheme, calibration: Calibration | None
) -> dict[str, Treatment]:
    """What becomes of the layers' inputs, as `apply` has it."""
    if calibration is None:
        if scheme.needs_calibration:
            raise MGTError(f"{scheme.in_words()} needs a calibration: which layers take int8 inputs, and their scales")
        return dict.fromkeys(layers, Treatment(scheme.activation_scales if scheme.int8_share else "float"))
    if calibration.finetuned:
        raise MGTError(
            f"the stored calibration is of weights that were fine-tuned by {calibration.finetuned} steps, and not "
            "of these; load the bundle that was written with it"
        )
    how = calibration.of(network)
    if odd := sorted(how.keys() ^ set(layers)):
        raise MGTError(f"the stored calibration is of another network or other settings: {join_some(odd)} differ")
    return how


def layers_of(model: MGTModel, scheme: Scheme) -> dict[str, nn.Module]:
    """The layers to pack, by the names that checkpoints give them. Raises MGTError for a model that is quantized and
    where none is left."""
    if model.quantization is not None:
        held = model.quantization.in_words()
        raise MGTError(f"the model is quantized already ({held}); start from the original weights")
    return chosen_of(model.network, scheme, model.network.unquantized)


def chosen_of(
    network: nn.Module, scheme: Scheme, kept: tuple[str, ...], convolutions: bool = False
) -> dict[str, nn.Module]:
    """The same of a network by itself. kept: beginnings of names that are left out."""
    chosen = {n: layer for n, layer in scheme.chosen(network, convolutions).items() if not begins(n, kept)}
    if not chosen:
        raise MGTError("no layer is left to quantize: the network has no linear layers beyond those that are kept")
    return chosen


def treatments(watches: Mapping[str, Watch], scheme: Scheme) -> dict[str, Treatment]:
    """What the first calibration gives every layer: int8 inputs for the share with the smallest output scales."""
    apart = scheme.condition_scales == "apart"
    ranked = sorted(scheme.ranked(watches), key=lambda name: mean(watches[name].outputs.values(apart)))
    int8 = set(ranked[: round(scheme.int8_share * len(ranked))])
    kinds = {name: scheme.activation_scales if name in int8 else "float" for name in watches}
    rounded = {name: Treatment(kind, outputs=(1.0,) if scheme.reads_int8(name) else ()) for name, kind in kinds.items()}
    return {name: rescaled(rounded[name], watch, scheme) for name, watch in watches.items()}


def rescaled(how: Treatment, watch: Watch, scheme: Scheme) -> Treatment:
    """The same with the scales of `watch`, where it has static ones."""
    if how.kind != "static":
        return Treatment(how.kind)
    apart = scheme.condition_scales == "apart"
    return Treatment(how.kind, watch.inputs.values(apart), watch.outputs.values(apart) if how.outputs else ())


def calibrated(
    network: Backbone,
    layers: Mapping[str, nn.Module],
    watches: Mapping[str, Watch],
    how: Mapping[str, Treatment],
    scheme: Scheme,
    tick: Callable[[], None],
) -> dict[str, PackedLayer]:
    """Every layer packed by what the first calibration saw of it, and fine-tuned where the scheme has it."""
    packed = {}
    for name, found in scheme.packed(network, layers):
        samples = watches[name].samples
        if scheme.reconstruct and isinstance(found, Int4Layer) and samples:
            found = reconstruct(found, layers[name], torch.cat(samples), scheme.reconstruct)
            samples.clear()
        packed[name] = found.treated(how[name])
        tick()
    return packed


def with_layers(model: MGTModel, packed: Mapping[str, PackedLayer], scheme: Scheme) -> MGTModel:
    """Large embeddings are packed as well."""
    embeddings = embeddings_in(model.network, model.network.embeddings)
    layers = {**packed, **{name: PackedEmbedding.pack(each) for name, each in embeddings.items()}}
    return replace(model, network=replaced(model.network, layers), placement=None, quantization=scheme)


def layer_report(
    name: str, layer: nn.Module, packed: PackedLayer, first: Watch, last: Watch, scheme: Scheme
) -> LayerReport:
    """first: of the layer before it was packed; last: of both on the same inputs."""
    apart = scheme.condition_scales == "apart"
    return LayerReport(
        name=name,
        parameters=layer.weight.numel(),
        activations=packed.settings.activations,
        input_scale=mean(first.inputs.values(apart)),
        output_scale=mean(first.outputs.values(apart)),
        kept_scale=mean(packed.treatment.inputs),
        error=last.relative_error,
        before=stored_bytes(layer),
        after=stored_bytes(packed),
    )
