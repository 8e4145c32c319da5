"""Part of a run: where modifiers, guidance, zigzags and token merging act."""

from .errors import MGTError, finite_number


def check_interval(name: str, start: float, end: float) -> tuple[float, float]:
    """Both. Raises MGTError unless 0 <= start <= end <= 1; `name` says whose interval it is."""
    start, end = finite_number(f"{name} start", start, 0, 1), finite_number(f"{name} end", end, 0, 1)
    if start > end:
        raise MGTError(f"{name} starts at {start} and ends at {end}; start may not exceed end")
    return start, end


def in_interval(start: float, end: float, index: int, total: int) -> bool:
    """Whether step `index` of `total` lies in it: start <= index / total < end."""
    return start <= index / total < end
