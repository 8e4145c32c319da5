"""A report in rows of words, for the table that is printed and for the page."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .aims import aims, costs, figures, rows
from .journal import DONE, LEFT_OUT, NO_TIME
from .names import DIFFERS, GUIDED, PRODUCT, TIES

NONE = "–"
Rows = list[list[str]]


@dataclass(frozen=True)
class Section:
    """head: names of the columns with " | " between them, none for sentences. short: rows that are printed."""

    title: str
    head: str
    rows: Rows
    short: int | None = None


def sections(report: Mapping) -> list[Section]:
    """Those that hold anything."""
    found = [
        Section("Aims", "What | Aim | Measured | Verdict", aim_rows(report)),
        Section("Whole runs", RUNS, run_rows(report)),
        Section("Right against the CPU", "Verdict | Tries | Why", suite_rows(report)),
        Section("Beside the original pipeline", "Figure | Value", flat(report, "original")),
        Section("A card of 8 GB", "Figure | Value", flat(report, "budget")),
        *(Section(*step) for step in step_sections(report)),
        Section("Failed", "Try | What came of it | Why", failures(report)),
        Section("Left out", "Try | Why", without(report), 12),
    ]
    return [section for section in found if section.rows]


def where(report: Mapping) -> str:
    """What it ran on, and how, in a line."""
    hardware = figures(report, "machine").get("hardware", {})
    product = figures(report, "machine").get(PRODUCT, {})
    guided = figures(report, "machine").get(GUIDED, {})
    kitchen = figures(report, "machine").get("comfy-kitchen", {})
    name = hardware.get("gpu") or f"{hardware.get('cpu', 'unknown')}, {hardware.get('threads', '?')} threads"
    said = [
        f"{name}, torch {hardware.get('torch', '?')}",
        f"comfy-kitchen {kitchen.get('comfy_kitchen') or 'absent'}" if kitchen else "",
        f"{'tiny' if report.get('tiny') else 'full'} size, {report.get('size')} pixels, {report.get('steps')} steps, "
        f"guidance {report.get('cfg', 0):g}, {report.get('dtype')}",
        f"a large product {product['tflop_a_second']:.3g} TFLOP/s" if product else "",
        f"a guided forward {guided['tflop']:.3g} TFLOP in {ms(guided['seconds'])} ms" if guided else "",
        f"{report.get('seconds', '?')} s of {60 * report.get('minutes', 0):.0f}",
    ]
    return "; ".join(filter(None, said))


def aim_rows(report: Mapping) -> Rows:
    told = []
    for aim in report.get("aims") or aims(report):
        measured = NONE if aim["measured"] is None else f"{aim['measured']:.3g} {aim['unit']} ({aim['by']})"
        bound = "≥" if aim["least"] else "≤"
        told.append([aim["what"], f"{bound} {aim['wanted']:g} {aim['unit']}", measured, aim["verdict"]])
    return told


RUNS = (
    "Row | Seconds | Sampling | First run | Kernels a step | Launches a step | Host ms a step "
    "| Peak beside weights, MiB | Weights, MiB | Roofline share | Tokens as without graphs"
)


def run_rows(report: Mapping) -> Rows:
    told = []
    for name, row in rows(report).items():
        step = costs(report, name)
        kernels = number(step.get("kernels_a_step"))
        if "operations_a_step" in step:
            kernels = f"{number(step['operations_a_step'])} operations"
        told.append(
            [
                name,
                *(f"{row[figure]:.3g}" for figure in ("seconds", "sample_seconds", "first_seconds")),
                kernels,
                number(step.get("launches_a_step")),
                ms(step.get("host_seconds_a_step")),
                mib(row["peak_bytes"]),
                mib(row["weight_bytes"]),
                f"{step['roofline_share']:.2f}" if "roofline_share" in step else NONE,
                share(step.get("tokens_as_without_graphs")),
            ]
        )
    return told


def suite_rows(report: Mapping) -> Rows:
    """Verdicts and how many tries have each; below, each that there is something to know of."""
    found = figures(report, "suite")
    counts = Counter(entry["verdict"] for entry in found.values())
    told = [[verdict, str(count), ""] for verdict, count in counts.items()]
    for verdict in (DIFFERS, TIES):
        told += [[verdict, n, known(entry)] for n, entry in found.items() if entry["verdict"] == verdict]
    return told


def known(entry: Mapping) -> str:
    """Of a try that is not the same."""
    if entry["verdict"] == TIES:
        return f"{entry['differing']} within {entry['gap']:.2g} of a border"
    value = entry.get("error", entry.get("psnr"))
    return entry.get("reason") or ("not finite" if value is None else format(value, ".3g"))


def flat(report: Mapping, part: str) -> Rows:
    told = []
    for entry in figures(report, part).values():
        for name, value in entry.items():
            if name.endswith("_bytes"):
                told.append([name.removesuffix("_bytes"), f"{mib(value)} MiB"])
            else:
                told.append([name, NONE if value is None else f"{value:.4g}"])
    return told


def step_sections(report: Mapping) -> list[tuple[str, str, Rows, int]]:
    found = []
    for name, step in figures(report, "step").items():
        told = [
            [entry["name"].replace("|", "/"), number(entry["calls"]), ms(entry["seconds"]), f"{entry['share']:.1%}"]
            for entry in step["entries"]
        ]
        title = f"A step, {name}: {ms(step['seconds'])} ms in {step['calls']} calls of {step['kinds']} kinds"
        found.append((title, "Entry | Calls | ms | Share", told, 8))
    return found


def failures(report: Mapping) -> Rows:
    """What ended in an error, or in the middle; their tracebacks are in the report."""
    told = [
        [name, entry["status"], entry.get("error", "")]
        for name, entry in tries(report)
        if entry["status"] not in (DONE, LEFT_OUT, NO_TIME)
    ]
    why = report.get("ended")
    return [*told, ["the command", "ended", why]] if why else told


def without(report: Mapping) -> Rows:
    """What was not begun, for a reason that lasts or as the time was over."""
    return [[name, entry["reason"]] for name, entry in tries(report) if entry["status"] in (LEFT_OUT, NO_TIME)]


def tries(report: Mapping) -> Iterator[tuple[str, dict]]:
    for part, held in report.get("parts", {}).items():
        yield from ((f"{part}: {name}", entry) for name, entry in held.items())


def share(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.4g} %"


def number(value: float | None) -> str:
    return NONE if value is None else f"{value:.0f}"


def ms(seconds: float | None) -> str:
    return NONE if seconds is None else f"{1000 * seconds:.3g}"


def mib(count: float | None) -> str:
    return NONE if count is None else f"{count / 2**20:.0f}"
