"""What is wrong with a workflow, in sentences worded as POST /prompt words them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Problem:
    message: str
    details: str = ""
    node_id: str = ""
    class_type: str = ""
    title: str = ""

    def __str__(self) -> str:
        text = f"{self.message.rstrip('.')}: {self.details}" if self.details else self.message
        if self.node_id:
            text = f"{name_node(self.node_id, self.class_type, self.title)}: {text}"
        return text if text.endswith((".", "!", "?")) else text + "."


class WorkflowError(Exception):
    """A workflow that cannot run; `problems` holds one sentence each."""

    def __init__(self, problems: Iterable[Problem | str]) -> None:
        self.problems = [p if isinstance(p, Problem) else Problem(p) for p in problems]
        super().__init__("\n".join(map(str, self.problems)))

    @classmethod
    def one(cls, message: str, details: str = "", **where: str) -> WorkflowError:
        return cls([Problem(message, details, **where)])


def name_node(node_id: str, class_type: str, title: str = "") -> str:
    shown = f' "{title}"' if title and title != class_type else ""
    return f"Node {node_id}{shown} ({class_type})"


def title_of(prompt: Json, node_id: str) -> str:
    """Title of a node of a prompt in API format; empty if it has none."""
    return (prompt.get(node_id, {}).get("_meta") or {}).get("title", "")


def listing(names: Iterable[object], limit: int = 20) -> str:
    """Names for the end of a sentence, the rest counted."""
    shown = [str(name) for name in names]
    if not shown:
        return "none"
    more = f" and {len(shown) - limit} more" if len(shown) > limit else ""
    return ", ".join(shown[:limit]) + more
