"""How figures are written in the tables."""

from collections.abc import Mapping


def number(figure: Mapping, digits: int = 2) -> str:
    """With its interval, where there is one."""
    if figure["interval95"] is None:
        return f"{figure['value']:.{digits}f}"
    low, high = figure["interval95"]
    return f"{figure['value']:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def change(figure: Mapping) -> str:
    low, high = figure["interval95"]
    return f"{figure['value']:+.0f} % ({low:+.0f} to {high:+.0f})"


def count(number: float) -> str:
    """Of calls or passes, a mean where pictures go at their own pace."""
    return str(number) if number == int(number) else f"{number:.1f}"


def chance(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
