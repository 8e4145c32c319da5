"""A picture of a calibration's report."""

from torch import Tensor

from ..errors import MGTError
from ..views.plots import drawn, new_figure
from .report import Report


def report_plot(report: Report) -> Tensor:
    """Relative error and output scale of every layer, in the order of the network; those with int8 inputs
    are marked. -> image [1, H, W, 3] float in 0..1."""
    if not report.layers:
        raise MGTError("the report names no layers; there is nothing to plot")
    figure = new_figure((10, 6))
    errors, scales = figure.subplots(2, 1, sharex=True)
    places = list(range(len(report.layers)))
    colours = [
        "tab:orange" if layer.kept_scale or layer.activations == "dynamic" else "tab:blue" for layer in report.layers
    ]
    errors.bar(places, [100 * layer.error for layer in report.layers], color=colours)
    errors.set(ylabel="error of the output (%)", title=f"{report.before / 1e6:.1f} MB → {report.after / 1e6:.1f} MB")
    scales.scatter(places, [layer.output_scale for layer in report.layers], c=colours, s=12, label="output")
    scales.scatter(places, [layer.input_scale for layer in report.layers], marker="x", c="grey", s=12, label="input")
    scales.set(ylabel="scale (largest value / 127)", yscale="log", xlabel="layer (orange: int8 inputs)")
    scales.legend(fontsize=8)
    for axes in (errors, scales):
        axes.grid(alpha=0.3)
    return drawn(figure)
