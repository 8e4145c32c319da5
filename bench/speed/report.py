"""From timings to figures with names, and to a table."""

from collections.abc import Callable, Sequence
from statistics import median

from .roofline import Roofline
from .rows import REFERENCE, ROWS
from .runs import Timing

Runs = dict[str, list[Timing]]
NOT_MEASURED = "not measured"


def paired_ratio(over: Sequence[Timing], under: Sequence[Timing], value: Callable[[Timing], float]) -> float:
    """Median over the repeats of over / under: each ratio is of two runs that followed one another."""
    return median(value(a) / value(b) for a, b in zip(over, under, strict=True))


def later_steps(timing: Timing) -> float:
    """Seconds a step after the first, in which nothing is known yet and some techniques do not act."""
    return sum(timing.steps[1:]) / max(len(timing.steps) - 1, 1)


def row_figures(name: str, runs: list[Timing], exact: list[Timing], batch: int) -> dict[str, float | int | None]:
    """Figures of one row at one batch size, in seconds and bytes; speeds are against the exact row."""
    peaks = [run.peak for run in runs if run.peak is not None]
    figures = {
        "seconds_min": min(run.total for run in runs),
        "seconds_median": median(run.total for run in runs),
        "sampling_seconds_median": median(run.sample for run in runs),
        "images_per_second": batch / median(run.total for run in runs),
        "speed": paired_ratio(exact, runs, lambda run: run.total),
        "sampling_speed": paired_ratio(exact, runs, lambda run: run.sample),
        "calls": runs[0].calls,
        "passes": runs[0].passes,
        "peak_bytes": max(peaks, default=None),
    }
    if all(len(run.steps) > 1 for run in runs):
        figures["later_steps_speed"] = paired_ratio(exact, runs, later_steps)
    return figures


def part_figures(profiled: list[Timing], steps: int) -> dict[str, float]:
    """Where the time of an exact run goes, from its fastest repeat."""
    run = min(profiled, key=lambda run: run.sample)
    inside = sum(run.network.values())
    return {
        "text_seconds": run.text,
        "backbone_seconds_a_step": (run.network["prepare"] + run.network["features"]) / steps,
        "head_seconds_a_step": run.network["head"] / steps,
        "selection_seconds_a_step": (run.sample - inside) / steps,
        "selection_share": (run.sample - inside) / run.sample,
        "decode_seconds": run.decode,
    }


def roofline_figures(roofline: Roofline, seconds: float) -> dict[str, float]:
    return {
        "guided_forward_tflop": roofline.flops / 1e12,
        "product_tflop_a_second": roofline.rate / 1e12,
        "guided_forward_bound_seconds": roofline.bound_seconds,
        "guided_forward_seconds": seconds,
        "roofline_share": roofline.bound_seconds / seconds,
    }


def headline(rows: dict[str, dict], dtype: str) -> dict[str, float]:
    """The ratios that are asked for by name."""
    figures = {}
    if REFERENCE in rows:
        figures["exact_over_reference"] = 1 / rows[REFERENCE]["speed"]
        figures["exact_over_reference_sampling"] = 1 / rows[REFERENCE]["sampling_speed"]
    if dtype == "float32" and "bfloat16" in rows:
        figures["bfloat16_over_float32"] = rows["bfloat16"]["speed"]
        figures["bfloat16_over_float32_sampling"] = rows["bfloat16"]["sampling_speed"]
    return figures


def flat(prefix: str, values: dict) -> dict:
    return {f"{prefix}.{name}": value for name, value in values.items()}


def label(name: str) -> str:
    return "original pipeline" if name == REFERENCE else ROWS[name].label


def shown(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def markdown(report: dict) -> str:
    """The table of rows, with what it was measured on above and the parts below."""
    hardware, settings, figures = report["hardware"], report["settings"], report["figures"]
    where = hardware["gpu"] or f"{hardware['cpu']}, {hardware['threads']} threads"
    model = report["model"]
    lines = [
        f"{where}, torch {hardware['torch']}; {model['name']} size, {model['parameters'] / 1e6:.0f} M parameters, "
        f"random weights; {settings['size']} × {settings['size']}, {settings['steps']} steps, "
        f"guidance {settings['cfg']:g}, {settings['dtype']}; {settings['repeats']} repeats, rows alternating.",
        "",
        "| Row | Batch | Seconds, min / median | Speed | Later steps | Calls / passes | Peak beside weights "
        "| KL | Tokens agree | Judge: object |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    distances = report["distance"].get("rows", {})
    for key, row in report["rows"].items():
        name, batch = key.split("@")
        near = distances.get(name, {}) if batch == "1" else {}
        peak = row["peak_bytes"]
        lines.append(
            f"| {label(name)} | {batch} | {row['seconds_min']:.3g} / {row['seconds_median']:.3g} "
            f"| {row['speed']:.2f} | {shown(row.get('later_steps_speed'), '.2f')} "
            f"| {row['calls']} / {row['passes']} | {shown(peak and peak / 2**20, '.0f')} MiB "
            f"| {shown(near.get('kl'), '.3g')} | {shown(near.get('tokens_agree'), '.1%')} "
            f"| {shown(near.get('object_accuracy'), '.1%')} |"
        )
    lines += [f"| {label(name)} | | {NOT_MEASURED}: {why} | | | | | | | |" for name, why in report["skipped"].items()]
    lines += ["", "| Figure | Value |", "|---|---|"]
    lines += [f"| {name} | {value:.4g} |" for name, value in figures.items() if "." not in name]
    return "\n".join(lines) + "\n"
