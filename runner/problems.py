"""What is wrong with a workflow, in sentences worded as POST /prompt words them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

LONGEST = 480  # characters of a sentence, whatever a file or a server holds
# What terminals obey and no name needs: controls, ends of lines, marks of direction, halves of characters.
UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
LONGEST_NAME = 60  # of a node's id, class and title in it, which leaves room for what is wrong


@dataclass(frozen=True)
class Problem:
    message: str
    details: str = ""
    node_id: str = ""
    class_type: str = ""
    title: str = ""

    def __str__(self) -> str:
        message = str(self.message)
        text = f"{message.rstrip('.')}: {self.details}" if self.details else message
        if self.node_id:
            text = f"{name_node(self.node_id, self.class_type, self.title)}: {text}"
        return shown_text(text if text.endswith((".", "!", "?")) else text + ".")


class RunError(Exception):
    """A run that cannot begin or go on. The message is one line that a terminal can show."""

    def __init__(self, message: object = "") -> None:
        super().__init__(shown_text(str(message)))


class ServerError(RunError):
    """A server cannot be reached, a run on it failed, or it answers what cannot be taken."""


class WorkflowError(Exception):
    """A workflow that cannot run; `problems` holds one sentence each."""

    def __init__(self, problems: Iterable[Problem | str]) -> None:
        super().__init__()
        self.problems = [p if isinstance(p, Problem) else Problem(p) for p in problems]

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))

    @classmethod
    def one(cls, message: str, details: str = "", **where: str) -> WorkflowError:
        return cls([Problem(message, details, **where)])


def shown_text(text: str, limit: int = LONGEST) -> str:
    """As the library's errors have it (mgt_core/errors.py), which is not loaded for a run on a server: one line, its
    middle left out where it is long, and escapes for characters that are none to see."""
    text = visible(" ".join(text[: 20 * limit].split()))
    if len(text) <= limit:
        return text
    tail = limit // 3
    return f"{text[: limit - tail - 5].rstrip()} ... {text[-tail:].lstrip()}"


def visible(text: str) -> str:
    """With the escapes of Python for characters that are none to see, such as those that a terminal obeys."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else escaped(c) for c in text)


def escaped(found: str | re.Match) -> str:
    """Python's escape of a character."""
    return str(found if isinstance(found, str) else found[0]).encode("unicode_escape").decode()


def name_node(node_id: str, class_type: str, title: str = "") -> str:
    number, kind, name = (shown_text(str(text), LONGEST_NAME) for text in (node_id, class_type, title))
    shown = f' "{name}"' if title and title != class_type else ""
    return f"Node {number}{shown} ({kind})"


def title_of(prompt: Json, node_id: str) -> str:
    """Title of a node of a prompt in API format; empty if it has none, or no text."""
    node = prompt.get(node_id)
    about = node.get("_meta") if isinstance(node, dict) else None
    title = about.get("title") if isinstance(about, dict) else None
    return title if isinstance(title, str) else ""


def listing(names: Iterable[object], limit: int = 20) -> str:
    """Names for the end of a sentence, the rest counted."""
    shown = [str(name) for name in names]
    if not shown:
        return "none"
    more = f" and {len(shown) - limit} more" if len(shown) > limit else ""
    return ", ".join(shown[:limit]) + more
