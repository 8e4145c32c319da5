"""A report as a short text, for the end of a log."""

from collections.abc import Mapping

from .told import Section, sections, where

WIDE = 100  # characters of a cell


def table(report: Mapping) -> str:
    return "\n\n".join([where(report), *map(text, sections(report))])


def text(section: Section) -> str:
    rows = section.rows[: section.short]
    lines = [section.head.split(" | "), *([" ".join(cell.split())[:WIDE] for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    told = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]
    more = len(section.rows) - len(rows)
    return "\n".join([f"== {section.title}", *told, *[f"and {more} more"] * bool(more)])
