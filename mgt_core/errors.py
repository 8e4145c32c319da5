"""The one exception type for bad input: its message is one sentence a person can act on."""


class MGTError(ValueError):
    """Bad input. The message names the input, what it held and what is accepted."""


def join_some(items, limit: int = 3) -> str:
    """The first few of `items` as text, and how many were left out."""
    items = [str(item) for item in items]
    shown = ", ".join(items[:limit])
    rest = len(items) - limit
    return f"{shown} and {rest} more" if rest > 0 else shown
