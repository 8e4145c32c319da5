"""The aims on an H100 or H200, and what was measured beside them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from .names import COPY, PRODUCT, STEP

MET, MISSED, NOT_MEASURED = "met", "missed", "not measured"
GB = 1e9
Report = Mapping


@dataclass(frozen=True)
class Aim:
    """what: measured in `unit`, at most (or, where `least`, at least) `wanted`. find: the figure and what it is of, or
    None where it was not measured."""

    what: str
    unit: str
    wanted: float
    find: Callable[[Report], tuple[float, str] | None]
    least: bool = False

    def told(self, report: Report) -> dict:
        found = self.find(report) if not report.get("tiny") else None
        told = {"what": self.what, "unit": self.unit, "wanted": self.wanted, "least": self.least}
        if found is None:
            return told | {"verdict": NOT_MEASURED, "measured": None, "by": ""}
        value, by = found
        good = value >= self.wanted if self.least else value <= self.wanted
        return told | {"verdict": MET if good else MISSED, "measured": value, "by": by}


def figures(report: Report, part: str) -> dict[str, dict]:
    """Of the tries of a part that were done, by name."""
    tries = report.get("parts", {}).get(part, {})
    return {name: entry["figures"] for name, entry in tries.items() if entry["status"] == "done"}


def costs(report: Report, name: str) -> dict:
    """What a step of the row `name` costs, with its share of what the machine can do, as far as that was measured."""
    own = [found for what, found in figures(report, "runs").items() if what.startswith(f"{STEP}{name}: ")]
    found = {figure: value for each in own for figure, value in each.items()}
    row, limits = figures(report, "runs").get(name, {}), figures(report, "machine")
    if row and "flop_a_step" in found and PRODUCT in limits and COPY in limits:
        found |= shares(found["flop_a_step"], row, limits[PRODUCT]["tflop_a_second"], limits[COPY]["bytes_a_second"])
    return found


def shares(flop: float, row: Mapping, rate: float, copy: float) -> dict[str, float]:
    """How near a step comes to the time that its arithmetic takes at the rate of a large product, TFLOP/s, or, where
    that is longer, to the time in which its weights are read once, at the rate of a large copy in bytes a second."""
    seconds = row["sample_seconds"] / row["steps"]
    products, reading = flop / (rate * 1e12), row["weight_bytes"] / copy
    return {
        "seconds_a_step": seconds,
        "product_seconds_a_step": products,
        "reading_seconds_a_step": reading,
        "roofline_share": max(products, reading) / seconds,
    }


def rows(report: Report) -> dict[str, dict]:
    """Figures of all rows."""
    return {name: row for name, row in figures(report, "runs").items() if not name.startswith(STEP)}


def timed(report: Report) -> dict[str, dict]:
    """Figures of the rows of one picture at a time."""
    return {name: row for name, row in rows(report).items() if row["batch"] == 1}


def least(rows: Iterable[tuple[str, dict]], figure: str) -> tuple[float, str] | None:
    return min(((row[figure], name) for name, row in rows), default=None)


def exact(report: Report) -> list[tuple[str, dict]]:
    return [(name, row) for name, row in timed(report).items() if row["row"]["exact"]]


def approximate(report: Report) -> list[tuple[str, dict]]:
    return [(n, row) for n, row in timed(report).items() if row["row"]["approximate"] and not row["row"]["scheme"]]


def over_original(report: Report) -> tuple[float, str] | None:
    found = figures(report, "original").get("original pipeline", {})
    speeds = ((value, name) for name, value in found.items() if name.endswith("_speed") and "sample" not in name)
    return max(speeds, default=None)


def small_peak(report: Report) -> tuple[float, str] | None:
    peaks = ((row["peak_bytes"], name) for name, row in figures(report, "budget").items() if row["peak_bytes"])
    value = min(peaks, default=None)
    return value and (value[0] / GB, value[1])


def packed_over_float(report: Report) -> tuple[float, str] | None:
    rows = timed(report)
    pairs = (("w4a8, graphs@1", "exact, graphs@1"), ("w4a8@1", "exact@1"))
    both = next(((a, b) for a, b in pairs if a in rows and b in rows), None)
    return both and (rows[both[0]]["sample_seconds"] / rows[both[1]]["sample_seconds"], f"{both[0]} over {both[1]}")


AIMS = (
    Aim("exact, 64 steps at 1024²", "s", 0.6, lambda report: least(exact(report), "sample_seconds")),
    Aim("everything approximate", "s", 0.25, lambda report: least(approximate(report), "sample_seconds")),
    Aim("whole run with text and decode", "s", 1.0, lambda report: least(exact(report), "seconds")),
    Aim("over the original pipeline", "×", 3.0, over_original, least=True),
    Aim("peak with W4A8", "GB", 2.3, small_peak),
    Aim("W4A8's time over bfloat16's", "×", 1.0, packed_over_float),
)


def aims(report: Report) -> list[dict]:
    return [aim.told(report) for aim in AIMS]
