"""What flows through a layer: moving averages of its largest input and output, and its error."""

from dataclasses import dataclass, field

from torch import Tensor, nn

from ..kernels.sides import SIDES, sides_of
from .packing import GRID, rotate

MOMENTUM = 0.9


@dataclass
class Scale:
    """Moving averages of int8 scales (largest value / 127): over all rows of a call, and over those of each side of
    guidance, where it is known. None before the first call."""

    together: float | None = None
    apart: list[float | None] = field(default_factory=lambda: [None] * SIDES)

    def see(self, values: Tensor) -> None:
        """values: [B, ...]."""
        self.together = averaged(self.together, values)
        if (of := sides_of(values)) is None:
            return
        for side in range(SIDES):
            if len(own := values[of == side]):
                self.apart[side] = averaged(self.apart[side], own)

    def values(self, apart: bool) -> tuple[float, ...]:
        """One scale, or one for each side; that of the other where a side was never seen."""
        if self.together is None:
            return ()
        if not apart:
            return (self.together,)
        seen = [scale for scale in self.apart if scale is not None] or [self.together]
        return tuple(seen[0] if scale is None else scale for scale in self.apart)


@dataclass
class Watch:
    """Statistics of one layer during one calibration.

    rotation: the input is observed as the packed layer will quantize it. samples: rows of the input kept
    for fine-tuning, at most `keep` of them, in the order in which they came.
    """

    rotation: int = 1
    keep: int = 0
    inputs: Scale = field(default_factory=Scale)
    outputs: Scale = field(default_factory=Scale)
    error: float = 0.0
    power: float = 0.0
    samples: list[Tensor] = field(default_factory=list)

    @property
    def relative_error(self) -> float:
        """Root of the squared error over the squared output of the reference."""
        return (self.error / self.power) ** 0.5 if self.power else 0.0

    def see(self, x: Tensor, y: Tensor, reference: Tensor | None) -> None:
        self.inputs.see(rotate(x, self.rotation))
        self.outputs.see(y)
        if reference is not None:
            self.error += float((y.float() - reference.float()).square().sum())
            self.power += float(reference.float().square().sum())
        if self.keep:
            rows = x.flatten(0, -2)
            self.samples.append(rows[:: max(1, len(rows) // self.keep)][: self.keep].float().clone())


def mean(values: tuple[float, ...]) -> float:
    """0 of none."""
    return sum(values) / len(values) if values else 0.0


def averaged(before: float | None, values: Tensor) -> float:
    now = float(values.abs().max()) / GRID
    return now if before is None else MOMENTUM * before + (1 - MOMENTUM) * now


class Observed(nn.Module):
    """A layer that reports to its watch. reference: the layer whose output is the right one."""

    def __init__(self, layer: nn.Module, watch: Watch, reference: nn.Module | None = None):
        super().__init__()
        self.layer, self.watch, self.reference = layer, watch, reference
        self.in_features, self.out_features = layer.in_features, layer.out_features

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        self.watch.see(x, y, None if self.reference is None else self.reference(x))
        return y
