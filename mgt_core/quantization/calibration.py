"""SCQ, secondary calibration quantization (arXiv 2411.10781, section 3.4, after its authors' code).

The states that sampling passes through are recorded once and shown to the network twice: as it is, which
ranks the layers by their output scale, and with quantized weights, which gives the scales that are kept.
"""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import MGTError, join_some, whole_number
from ..model import MGTModel
from ..sampling.guided import GuidedNetwork
from ..sampling.run import chosen_log_probability, sample
from ..types import Callback, Condition, Step, empty_state
from .formats import Int4Layer
from .layers import PackedLayer, stored_bytes
from .observers import Observed, Watch
from .reconstruction import reconstruct
from .schemes import Scheme, scheme_from
from .surgery import replaced

PROMPTS = (
    "a photograph of a mountain lake at sunrise",
    "portrait of an old man with a white beard, oil painting",
    "a red bicycle leaning against a brick wall",
    "a cat sleeping on a blue sofa",
)
CELLS_COMPARED = 512  # masked cells of every recorded state whose predictions are compared
ROWS_KEPT = 64  # input rows of a layer kept from every recorded state for fine-tuning

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CalibrationRun:
    """What is sampled to calibrate on. steps, cfg: None takes what the model recommends (else 48 and 9).

    states: how many of the steps are recorded, spread evenly. grid: (height, width) in tokens, None for the
    one the model was trained at. seed: of the first image. second: whether the scales of the second
    calibration are kept; without it those of the first are, to compare.
    """

    steps: int | None = None
    states: int = 6
    cfg: float | None = None
    seed: int = 0
    grid: tuple[int, int] | None = None
    second: bool = True

    def __post_init__(self):
        whole_number("states", self.states, 1, 1000)


@dataclass(frozen=True)
class LayerReport:
    """One layer. parameters: weights in it. input_scale, output_scale: of the first calibration (largest
    value / 127, averaged). kept_scale: of the second, 0 where the input stays as it is. error: of its output
    on the calibration states, relative. before, after: bytes."""

    name: str
    parameters: int
    activations: str
    input_scale: float
    output_scale: float
    kept_scale: float
    error: float
    before: int
    after: int


@dataclass(frozen=True)
class Report:
    """What quantizing did. before, after: bytes of the whole network. agreement: share of masked cells whose
    likeliest token stayed the same; shift: mean change of its log-probability."""

    scheme: str
    layers: tuple[LayerReport, ...]
    before: int
    after: int
    agreement: float
    shift: float

    def table(self, limit: int | None = None) -> str:
        """The totals and one line a layer, the largest errors first."""
        lines = [
            f"{self.scheme}: {self.before / 1e6:.1f} MB before, {self.after / 1e6:.1f} MB after; likeliest token "
            f"unchanged in {100 * self.agreement:.1f} % of masked cells, its log-probability moved by {self.shift:.3f}",
            f"{'layer':<48} {'weights':>10} {'inputs':>8} {'output scale':>13} {'input scale':>12} {'kept':>9} "
            f"{'error':>7}",
        ]
        for layer in sorted(self.layers, key=lambda one: -one.error)[:limit]:
            kept = f"{layer.kept_scale:.3g}" if layer.kept_scale else "-"
            lines.append(
                f"{layer.name:<48} {layer.parameters:>10} {layer.activations:>8} {layer.output_scale:>13.3g} "
                f"{layer.input_scale:>12.3g} {kept:>9} {100 * layer.error:>6.2f}%"
            )
        return "\n".join(lines)


@dataclass(frozen=True)
class Calibration:
    """What a calibration found, which packs the same network again without running it.

    layers: for every quantized layer how its inputs are treated, and the int8 scale of those that are static.
    """

    scheme: str
    layers: dict[str, tuple[str, float]] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Calibration":
        """Raises MGTError for a file that holds something else."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            layers = {str(name): (str(kind), float(scale)) for name, (kind, scale) in values["layers"].items()}
            return cls(str(values["scheme"]), layers)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise MGTError(f"{path} is not a stored calibration ({error})") from None


@dataclass(frozen=True)
class Quantized:
    """The quantized model, what the calibration found, and the report."""

    model: MGTModel
    calibration: Calibration
    report: Report


@dataclass(frozen=True)
class Recorded:
    """A state on the way: tokens [1, h, w] and what the network is told of the time [1]; cells [1, M] whose
    predictions are compared. place: which of the conditions it was sampled for."""

    place: int
    tokens: Tensor
    timestep: Tensor
    cells: Tensor


@dataclass
class Meter:
    """Counts what is done for a progress bar."""

    total: int
    report: Progress | None
    done: int = 0

    def tick(self) -> None:
        self.done += 1
        if self.report is not None:
            self.report(min(self.done, self.total), self.total)


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
    int8 = smallest(first, scheme.int8_share)
    packed = {}
    for name, layer in layers.items():
        packed[name] = scheme.pack(layer, scheme.activation_scales if name in int8 else "float")
        set_scale(packed[name], first[name].input_scale)
        if scheme.reconstruct and isinstance(packed[name], Int4Layer) and first[name].samples:
            packed[name] = reconstruct(packed[name], layer, torch.cat(first[name].samples), scheme.reconstruct)
            first[name].samples.clear()
        session.meter.tick()

    if run.second and scheme.static:
        second = {name: Watch(scheme.rotation(layer)) for name, layer in layers.items()}
        session.replay({name: Observed(with_float_input(packed[name]), second[name]) for name in layers}, states)
        for name, layer in packed.items():
            set_scale(layer, second[name].input_scale)

    last = {name: Watch() for name in layers}
    judged = session.replay({n: Observed(packed[n], last[n], layer) for n, layer in layers.items()}, states, expected)
    network = replaced(model.network, packed)
    agreement, shift = compared(expected, judged)
    report = Report(
        scheme=repr(scheme),
        layers=tuple(
            LayerReport(
                name=name,
                parameters=layer.weight.numel(),
                activations=packed[name].settings.activations,
                input_scale=first[name].input_scale or 0.0,
                output_scale=first[name].output_scale or 0.0,
                kept_scale=scale_of(packed[name]),
                error=last[name].relative_error,
                before=stored_bytes(layer),
                after=stored_bytes(packed[name]),
            )
            for name, layer in layers.items()
        ),
        before=stored_bytes(model.network),
        after=stored_bytes(network),
        agreement=agreement,
        shift=shift,
    )
    kinds = {name: (layer.settings.activations, scale_of(layer)) for name, layer in packed.items()}
    return Quantized(
        replace(model, network=network, placement=None, quantization=scheme), Calibration(repr(scheme), kinds), report
    )


@torch.no_grad()
def apply(model: MGTModel, scheme: str | Scheme, calibration: Calibration | None = None) -> MGTModel:
    """A new model with packed weights, without running it: from a stored calibration, or for schemes that
    need none. Raises MGTError where the calibration is of another network or is missing and needed."""
    scheme = scheme_from(scheme)
    chosen = layers_of(model, scheme)
    if calibration is None:
        if scheme.needs_calibration:
            raise MGTError(f"{scheme!r} needs a calibration: which layers take int8 inputs, and their scales")
        kind = scheme.activation_scales if scheme.int8_share else "float"
        kinds = dict.fromkeys(chosen, (kind, 0.0))
    else:
        kinds = calibration.layers
        if kinds.keys() != chosen.keys():
            odd = sorted(kinds.keys() ^ chosen.keys())
            raise MGTError(f"the stored calibration is of another network or other settings: {join_some(odd)} differ")
    packed = {name: set_scale(scheme.pack(layer, kinds[name][0]), kinds[name][1]) for name, layer in chosen.items()}
    return replace(model, network=replaced(model.network, packed), placement=None, quantization=scheme)


def layers_of(model: MGTModel, scheme: Scheme) -> dict[str, nn.Module]:
    if model.quantization is not None:
        raise MGTError(f"the model is quantized already ({model.quantization!r}); start from the original weights")
    kept = model.network.unquantized
    chosen = {n: layer for n, layer in scheme.chosen(model.network).items() if not n.startswith(kept)}
    if not chosen:
        raise MGTError("no layer is left to quantize: the network has no linear layers beyond those that are kept")
    return chosen


@dataclass(frozen=True)
class Predicted:
    """Likeliest token of each compared cell [1, M] as the float network has it, and its log-probability."""

    best: Tensor
    score: Tensor


@dataclass(frozen=True)
class Session:
    """One calibration: the model without patches, its conditions on the device, and the progress."""

    model: MGTModel
    conditions: tuple[tuple[Condition, Condition], ...]
    grid: tuple[int, int]
    run: CalibrationRun
    meter: Meter
    callback: Callback | None = None

    @classmethod
    def of(cls, model, positive, negative, run, layers=0, progress=None, callback=None) -> "Session":
        grid = run.grid or (model.grid_for(*model.trained_size) if model.trained_size else model.network.trained_grid)
        run = replace(
            run,
            steps=run.steps or model.defaults.get("steps", 48),
            cfg=model.defaults.get("cfg", 9.0) if run.cfg is None else run.cfg,
            states=min(run.states, run.steps or model.defaults.get("steps", 48)),
        )
        count = positive.batch
        positive = model.complete(positive, count, grid, "positive")
        negative = model.complete(negative, count, grid, "negative")
        conditions = tuple((nth(positive, place), nth(negative, place)) for place in range(count))
        plain = MGTModel(
            model.network, model.pixels_per_token, model.timestep_rule, model.defaults, placement=model.placement
        )
        total = count * (run.steps + 3 * run.states) + layers
        return cls(plain, conditions, grid, run, Meter(total, progress), callback)

    def record(self) -> list[Recorded]:
        """States of one sampling run for each pair of conditions, evenly spread over its steps."""
        run, states = self.run, []
        wanted = {round(i * (run.steps - 1) / max(1, run.states - 1)) for i in range(run.states)}
        empty = empty_state(1, self.grid, self.model.mask_id, self.model.codebook_size)

        def note(step: Step, place: int) -> None:
            self.meter.tick()
            if self.callback is not None:
                self.callback(step)
            if step.index in wanted:
                masked = (step.tokens == self.model.mask_id).flatten(1)
                count = int(masked.sum())
                ratio = self.model.timestep_rule == "mask_ratio"
                time = count / masked.numel() if ratio else run.steps - 1 - step.index
                cells = masked[0].nonzero()[:: -(-count // CELLS_COMPARED), 0][None]
                states.append(Recorded(place, step.tokens, torch.full((1,), float(time), device=cells.device), cells))

        for place, (positive, negative) in enumerate(self.conditions):
            sample(
                self.model,
                empty,
                positive,
                negative,
                steps=run.steps,
                cfg=run.cfg,
                temperature=tuple(self.model.defaults.get("temperature", (2.0, 0.0))),
                seed=run.seed + place,
                callback=partial(note, place=place),
            )
        return states

    def replay(
        self, layers: Mapping[str, nn.Module], states: Sequence[Recorded], expected: Sequence[Predicted] | None = None
    ) -> list[Predicted]:
        """Show every state to the network with `layers` in it. With `expected`, scores are of its tokens."""
        device = self.model.acquire()
        model = replace(self.model, network=replaced(self.model.network, layers), placement=None)
        pairs = [[condition.to(device) for condition in pair] for pair in self.conditions]
        networks = [GuidedNetwork(model, *pair, self.grid) for pair in pairs]
        found = []
        for index, state in enumerate(states):
            logits = networks[state.place].logits(state.tokens, state.timestep, self.run.cfg, state.cells)
            best = logits.argmax(-1)
            score = chosen_log_probability(logits, best if expected is None else expected[index].best)
            found.append(Predicted(best, score))
            self.meter.tick()
        return found


def nth(condition: Condition, place: int) -> Condition:
    parts = {f.name: getattr(condition, f.name) for f in fields(condition)}
    return Condition(**{name: None if value is None else value[place : place + 1] for name, value in parts.items()})


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


def compared(expected: Sequence[Predicted], found: Sequence[Predicted]) -> tuple[float, float]:
    """Share of cells whose likeliest token stayed, and the mean change of its log-probability."""
    same = [(a.best == b.best).float().mean() for a, b in zip(expected, found, strict=True)]
    moved = [(a.score - b.score).abs().mean() for a, b in zip(expected, found, strict=True)]
    return float(torch.stack(same).mean()), float(torch.stack(moved).mean())
