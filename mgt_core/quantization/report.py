"""What quantizing a network did to it, layer by layer and as a whole."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerReport:
    """One layer. parameters: weights in it. input_scale, output_scale: of the first calibration (largest
    value / 127, averaged, and over the sides of guidance where they are apart). kept_scale: likewise of the second, 0
    where the input stays as it is. error: of its output
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
