"""The generated parts of docs/quality.md, from the report."""

from collections.abc import Mapping

from ..markdown import listed, percent, table
from .cases import VANILLA
from .format import chance, change, count, number
from .report import point
from .statistics import sign_p
from .suites.plan import Extent as SuiteExtent
from .suites.tables import SUITE_PARTS
from .work import Extent

SURE = 0.05


def versus(against: Mapping) -> list[str]:
    return [
        percent(against["win_rate"]),
        chance(against["win_rate"]["p_of_all"]),
        change(against["distance_change"]),
        f"{against['gained']} / {against['lost']}",
        chance(against["p_right"]),
    ]


def equal_steps(report: Mapping) -> str:
    rows = [
        [name, *versus(case["against_vanilla"]), count(case["passes"]), f"{case['relative_time']:.2f}"]
        for name, case in chosen(report)
        if name != VANILLA
    ]
    return table("Choice | Win rate | p | Distance | Gained / lost | p | Passes | Time", rows)


def equal_passes(report: Mapping) -> str:
    rows = []
    for name, case in chosen(report):
        if other := case.get("against_equal_passes"):
            rows.append([name, count(case["passes"]), f"{other['case']}: {other['passes']}", *versus(other)])
    return table("Choice | Passes | Compared with | Win rate | p | Distance | Gained / lost | p", rows)


def judged(case: Mapping) -> list[str]:
    return [
        *(percent(case[kind]) for kind in ("background", "object", "layout")),
        number(case["distance"]),
        number(case["diversity"]),
        number(case["sharpness"]),
        number(case["frechet"]),
    ]


JUDGED = "Background | Object | Layout | Distance | Diversity | Sharpness | Fréchet"


def figures(report: Mapping) -> str:
    twins = {case["against_equal_passes"]["case"] for _, case in chosen(report) if "against_equal_passes" in case}
    names = [name for name, _ in chosen(report)] + sorted(twins - set(report["choices"]))
    rows = [[name, *judged(report["cases"][name]), count(report["cases"][name]["calls"])] for name in names]
    ceiling = judged({"diversity": {"value": 0, "interval95": [0, 0]}, **report["reconstructions"]})
    ceiling[JUDGED.split(" | ").index("Diversity")] = "–"
    rows.append(["*the compositions themselves, through the codec*", *ceiling, "–"])
    return table(f"Choice | {JUDGED} | Calls", rows)


def sweep_parts(report: Mapping) -> str:
    return "\n".join(
        f"### {name.capitalize()}\n\n![{sweep['axis']}](images/quality/{name}.webp)\n\n{sweep_table(report, sweep)}"
        for name, sweep in report["sweeps"].items()
    )


def sweep_table(report: Mapping, sweep: Mapping) -> str:
    rows = []
    for value, name in sweep["points"]:
        case = point(report, name)
        label = f"{value:g}" if isinstance(value, (int, float)) else value
        won = "vanilla" if name == VANILLA else percent(case["against_vanilla"]["win_rate"])
        costs = count(case["passes"]), f"{case['relative_time']:.2f}"
        rows.append([label, won, *judged(case), *costs])
    return table(f"{sweep['axis'].capitalize()} | Win rate | {JUDGED} | Passes | Time", rows)


def setup(report: Mapping) -> str:
    settings = report["settings"]
    hot, cold = settings["temperature"]
    return (
        f"{report['prompts']} prompts for the choices and {report['sweep_prompts']} for what only a sweep asks for, "
        f"seeds from {report['seed']}. Vanilla: MaskGIT, {settings['schedule']} schedule, {settings['steps']} steps, "
        f"guidance {settings['cfg']:g}, temperature {hot:g} to {cold:g}. {report['hardware']}, float32; "
        f"{report['processor_seconds'] / 60:.0f} minutes of one processor for {len(report['cases'])} ways to decode. "
        f"Model `{report['model']}` (a hash of its weights).\n\nMade by `{command(report)}`.\n"
    )


def command(report: Mapping) -> str:
    """What makes the same report: options that differ from their defaults."""
    own = report["suites"]["extent"]
    suites, named = SuiteExtent(), Extent()
    made = {name: (own[name], getattr(suites, name)) for name in ("completion", "others", "captions", "rounds")}
    made |= {name: (report[name], getattr(named, name)) for name in ("prompts", "sweep_prompts", "seed")}
    told = [f" --{name.replace('_', '-')} {value}" for name, (value, usual) in made.items() if value != usual]
    return f"python -m bench.quality{''.join(told)}"


def verdict(report: Mapping) -> str:
    """What can be said by the corrected p alone."""
    lines = []
    for kind, words in (("against_vanilla", "at equal steps"), ("against_equal_passes", "at equal passes")):
        told = [(name, case[kind]["win_rate"]) for name, case in chosen(report) if kind in case]
        sure = [(name, rate) for name, rate in told if rate["p_of_all"] < SURE]
        better = [name for name, rate in sure if rate["wins"] > rate["losses"]]
        worse = [name for name, rate in sure if rate["wins"] < rate["losses"]]
        few = ""
        if told and min(sign_p(rate["of"], 0) for _, rate in told) * len(told) >= SURE:
            few = " So few prompts could tell of no choice, were it better or worse on all of them."
        lines.append(
            f"- Against vanilla {words}, {len(told)} comparisons: nearer to what was asked for {listed(better)}; "
            f"farther {listed(worse)}; the other {len(told) - len(sure)} cannot be told from vanilla.{few}"
        )
    return "\n".join(lines) + "\n"


def chosen(report: Mapping) -> list[tuple[str, dict]]:
    return [(name, report["cases"][name]) for name in report["choices"]]


PARTS = {
    **SUITE_PARTS,
    "setup": setup,
    "verdict": verdict,
    "equal_steps": equal_steps,
    "equal_passes": equal_passes,
    "figures": figures,
    "sweeps": sweep_parts,
}
