"""docs/device.md, whose chapters of cards are made of the reports in docs/device/."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..kept import json_in
from ..markdown import table as markdown_table
from ..markdown import write_page
from .aims import figures
from .told import Section, sections, where

DOCS = Path(__file__).resolve().parents[2] / "docs"
CARDS, PAGE = DOCS / "device", DOCS / "device.md"
NOTHING = (
    "**No card has been measured yet.** Every figure of speed in these pages is a processor's, and its ratios do not "
    "carry over.\n"
)


def write(files: Sequence[Path], page: Path = PAGE) -> int:
    """The status of the command: 1, and a sentence, for a file that is no report of a card."""
    reports = {}
    for file in files or sorted(CARDS.glob("*.json")):
        try:
            reports[file.stem] = of_a_card(file)
        except ValueError as why:
            print(f"bench.device: {why}", file=sys.stderr)
            return 1
    write_page(page, PAGE, {"cards": cards}, reports)
    print(f"wrote {page}, of {len(reports)} cards")
    return 0


def of_a_card(file: Path) -> dict:
    """Raises ValueError for anything else, a processor's report included."""
    try:
        report = json_in(file)
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read ({error})") from None
    if not isinstance(report, dict) or report.get("bench") != "device":
        raise ValueError(f"{file} is no report of python -m bench.device")
    if report.get("tiny") or not figures(report, "machine").get("hardware", {}).get("gpu"):
        raise ValueError(f"{file} is of no card at full size; the page is of those alone")
    return report


def cards(reports: Mapping[str, Mapping]) -> str:
    """All of them, a chapter each."""
    return "\n".join(chapter(name, report) for name, report in reports.items()) or NOTHING


def chapter(name: str, report: Mapping) -> str:
    told = [f"## {figures(report, 'machine')['hardware']['gpu']}", f"{where(report)}. [Figures](device/{name}.json)"]
    return "\n\n".join([*told, *map(markdown, sections(report))]) + "\n"


def markdown(section: Section) -> str:
    rows = ([cell.replace("|", "/").replace("\n", " ") for cell in row] for row in section.rows)
    return f"### {section.title}\n\n{markdown_table(section.head, rows)}".rstrip()
