"""What a node reports at its end, which the host keeps with its outputs. web/js/report.js shows it in a field."""

from typing import Any


def reported(text: str, *result: Any) -> dict[str, Any]:
    """The answer of a node: its outputs, and `text` for the people who look at it."""
    return {"ui": {"text": (text,)}, "result": result}
