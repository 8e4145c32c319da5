"""What an exception says, for the end of a sentence."""

from __future__ import annotations

from .problems import RunError

SPEAKING = (RunError, OSError, ValueError, RuntimeError)  # whose texts need no name of the kind before them


def said(error: BaseException) -> str:
    """Why something failed; also of those exceptions whose own text is a number or a key alone."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return f"the memory ran out: {text}" if text else "the memory ran out"
    if isinstance(error, RecursionError):
        return "something is nested too deeply"
    kind = type(error).__name__
    if not text.strip():
        return kind
    return text if isinstance(error, SPEAKING) else f"{kind}: {text}"
