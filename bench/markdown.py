"""Figures as Markdown."""

from collections.abc import Iterable, Mapping


def table(head: str, rows: Iterable[Iterable[str]]) -> str:
    """head: names of the columns with " | " between them."""
    columns = head.split(" | ")
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def percent(share: Mapping, digits: int = 0) -> str:
    """Of a share with its interval."""
    low, high = (max(0.0, end) for end in share["interval95"])
    return f"{100 * share['share']:.{digits}f} % ({100 * low:.0f}–{100 * high:.0f})"
