"""What quantizing a network did to it, layer by layer and as a whole."""

from dataclasses import dataclass

from ..errors import join_some


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

    def text(self) -> str:
        """For people: what came of it in sentences, and the layers as a table of Markdown."""
        return f"{self.sentences()}\n\n{self.table()}"

    def sentences(self, worst: int = 3) -> str:
        """What came of the whole, a sentence a line. worst: layers that are named."""
        rounded = sum(layer.activations != "float" for layer in self.layers)
        largest = join_some((f"{layer.name} {100 * layer.error:.2f} %" for layer in self.by_error()[:worst]), worst)
        return "\n".join(
            [
                f"Quantized as {self.scheme}: {self.before / 1e6:.1f} MB before, {self.after / 1e6:.1f} MB after.",
                f"The likeliest token is the same in {100 * self.agreement:.1f} % of the masked cells, and its "
                f"log-probability moved by {self.shift:.3f}.",
                f"{rounded} of {len(self.layers)} layers take their inputs in 8 bits.",
                f"Largest errors of a layer's output: {largest}.",
            ]
        )

    def table(self, limit: int | None = None) -> str:
        """Rows of layers, the largest errors first, all or the first few, whose columns stand below each other."""
        rows = [HEADINGS, *map(cells, self.by_error()[:limit])]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["| " + " | ".join(map(aligned, row, widths, range(len(row)))) + " |" for row in rows]
        rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
        return "\n".join([lines[0], rule, *lines[1:]])

    def by_error(self) -> list[LayerReport]:
        return sorted(self.layers, key=lambda layer: -layer.error)


HEADINGS = ("layer", "weights", "inputs", "output scale", "input scale", "kept scale", "error")


def cells(layer: LayerReport) -> tuple[str, ...]:
    """A row of the table."""
    kept = f"{layer.kept_scale:.3g}" if layer.kept_scale else "–"
    scales = f"{layer.output_scale:.3g}", f"{layer.input_scale:.3g}", kept
    return layer.name, f"{layer.parameters:,}", layer.activations, *scales, f"{100 * layer.error:.2f} %"


def aligned(text: str, width: int, place: int) -> str:
    """Names to the left, numbers to the right."""
    return text.rjust(width) if place else text.ljust(width)
