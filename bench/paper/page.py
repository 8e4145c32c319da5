"""A report as Markdown, with pictures: what the command prints and what it leaves beside them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mgt_core.files import replace_file

from ..markdown import percent, table
from ..quality.sheet import sheet
from ..quality.tables import chance, listed
from .report import PASSES, STEPS, Rows

SHEET = "pairs.webp"
SHOWN, SIDE = 6, 160  # prompts of the sheet, pixels of a picture in it
SURE = 0.05
WORDS = {STEPS: "equal steps", PASSES: "equal passes"}


def signed(figure: Mapping) -> str:
    if figure["interval95"] is None:
        return f"{figure['value']:+.3g}"
    return f"{figure['value']:+.3g} ({' to '.join(f'{end:+.3g}' for end in figure['interval95'])})"


def plain(figure: Mapping) -> str:
    if figure["interval95"] is None:
        return f"{figure['value']:.4g}"
    return f"{figure['value']:.4g} ({' to '.join(f'{end:.4g}' for end in figure['interval95'])})"


def compared(report: Mapping, judge: str, kind: str) -> str:
    """What a judge says of each choice beside vanilla."""
    rows = []
    for name, case in report["cases"].items():
        if kind in case:
            found, other = case[kind]["judges"][judge], case[kind]
            rate = found["win_rate"]
            won = [percent(rate, 1), chance(rate["p_of_all"]), signed(found["change"])]
            rows.append(
                [name, f"{other['case']}: {other['passes']}", str(case["passes"]), *won, f"{case['relative_time']:.2f}"]
            )
    return table("Choice | Compared with | Passes | Win rate | p | Score | Time", rows) if rows else ""


def averaged(report: Mapping, judge: str) -> str:
    cases = report["cases"].items()
    groups = list(dict.fromkeys(group for _, case in cases for group in case["scores"][judge]["groups"]))
    rows = []
    for name, case in cases:
        scores = case["scores"][judge]
        apart = [f"{scores['groups'][group]:.4g}" if group in scores["groups"] else "–" for group in groups]
        costs = str(case["steps"]), str(case["passes"]), f"{case['seconds']:.2f}", str(case["pictures"])
        rows.append([name, plain(scores), *apart, *costs])
    return table(" | ".join(["Choice", "Mean score", *groups, "Steps", "Passes", "Seconds", "Pictures"]), rows)


def verdict(report: Mapping, judge: str, kind: str) -> str:
    """What can be said by the corrected p alone."""
    told = {n: case[kind]["judges"][judge]["win_rate"] for n, case in report["cases"].items() if kind in case}
    sure = {name: rate for name, rate in told.items() if rate["p_of_all"] < SURE}
    better = [name for name, rate in sure.items() if rate["wins"] > rate["losses"]]
    worse = [name for name in sure if name not in better]
    return (
        f"At {WORDS[kind]}: better {listed(better)}; worse {listed(worse)}; "
        f"the other {len(told) - len(sure)} of {len(told)} cannot be told from vanilla.\n"
    )


def tables(report: Mapping) -> str:
    """Of every judge: win rates at equal steps and at equal passes, and the mean scores."""
    parts = []
    for judge, told in report["judges"].items():
        parts.append(f"## {told['title']} ({told['unit']})\n")
        for kind in (STEPS, PASSES):
            if own := compared(report, judge, kind):
                parts += [f"### At {WORDS[kind]}\n", own, verdict(report, judge, kind)]
        parts += ["### Mean scores\n", averaged(report, judge)]
    return "\n".join(parts)


def setup(report: Mapping) -> str:
    size = " × ".join(map(str, report["size"])) if report["size"] else "the model's own size"
    lines = [
        f"{len(report['prompts'])} prompts (`{report['prompt_set']}`), prompt i from seed {report['seed']} + i; "
        f"{size}; {report['dtype'] or 'default number format'}; {report['device']}, {report['hardware']}.",
        f"A win rate of 70 % is known to ± {report['half_width']:.1f} points. p is of the sign test, corrected by Holm "
        "for all choices that a judge compares in one table. Score is the mean difference with its 95 % interval; time "
        "is the median of a picture, vanilla's being 1.",
        *(f"*{name}* was left out: {why}." for name, why in report["refused"].items()),
        *(f"The judge *{name}* was left out: {why}." for name, why in report["judges_left_out"].items()),
    ]
    return "\n\n".join(lines) + "\n"


def page(report: Mapping, shown: Sequence[int] = ()) -> str:
    """shown: places of the prompts whose pictures lie beside it."""
    parts = [f"# Choices of decoding on {report['model']}\n", setup(report), tables(report)]
    if shown:
        prompts = "\n".join(f"{place}. {report['prompts'][index]}" for place, index in enumerate(shown, 1))
        parts.append(f"## Pictures\n\nThe first prompts, from left to right:\n\n{prompts}\n\n![pictures]({SHEET})\n")
    settings = json.dumps(report["settings"], indent=1, ensure_ascii=False)
    parts.append(f"## Settings\n\nNegative prompt: {report['negative'] or 'none'}.\n\n```json\n{settings}\n```\n")
    return "\n".join(parts)


def whole(made: Rows) -> list[int]:
    """Places of the first prompts that have all their pictures."""
    return [index for index, rows in enumerate(zip(*made.values(), strict=True)) if all(rows)][:SHOWN]


def contact_sheet(folder: Path, made: Rows, shown: Sequence[int]) -> Image.Image:
    """A row a choice, a column a prompt: pairs lie above each other."""
    return sheet({n: np.stack([small(folder / rows[i]["file"]) for i in shown]) for n, rows in made.items()}, side=SIDE)


def small(file: Path) -> np.ndarray:
    with Image.open(file) as picture:
        return np.asarray(ImageOps.pad(picture.convert("RGB"), (SIDE, SIDE), Image.Resampling.LANCZOS))


def write(folder: Path, report: Mapping, made: Rows) -> Sequence[Path]:
    """page.md with its pictures, and report.json."""
    shown = whole(made)
    if shown:
        contact_sheet(folder, made, shown).save(folder / SHEET, quality=85, method=6)
    replace_file(folder / "report.json", (json.dumps(report, indent=1, ensure_ascii=False) + "\n").encode())
    replace_file(folder / "page.md", page(report, shown).encode())
    return [folder / name for name in ("page.md", "report.json")]
