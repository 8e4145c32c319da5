"""Figures as Markdown."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(head: str, rows: Iterable[Iterable[str]]) -> str:
    """head: names of the columns with " | " between them."""
    columns = head.split(" | ")
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def percent(share: Mapping, digits: int = 0) -> str:
    """Of a share with its interval."""
    low, high = (max(0.0, end) for end in share["interval95"])
    return f"{100 * share['share']:.{digits}f} % ({100 * low:.0f}–{100 * high:.0f})"


def fill(page: str, parts: Mapping[str, Callable[[Mapping], str]], report: Mapping) -> str:
    """The page with what stands between its markers made anew. parts: what makes each, by its name."""
    return PART.sub(lambda part: f"{part[1]}{parts[part[2]](report)}{part[3]}", page)


def write_page(target: Path, start: Path, parts: Mapping[str, Callable[[Mapping], str]], report: Mapping) -> None:
    """Fills the page, which begins as `start`."""
    page = (target if target.is_file() else start).read_text(encoding="utf-8")
    target.write_text(fill(page, parts, report), encoding="utf-8")


def listed(names: Iterable[str]) -> str:
    return ", ".join(f"*{name}*" for name in names) or "none"
