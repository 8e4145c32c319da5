"""Choices that were saved on another system: `folder\\model` on Windows is `folder/model` elsewhere."""

from __future__ import annotations

from typing import Any

from . import specs
from .problems import Json


class Separators:
    """Finds what a list calls a choice, and remembers lists, which many nodes share."""

    def __init__(self, classes: specs.Classes) -> None:
        self.classes = classes
        self.known: dict[tuple[str, str], dict[str, set[str]]] = {}

    def fit(self, prompt: Json) -> None:
        """Gives each choice of a prompt in API format the form that the list of its input has; one that stands in the
        list, or fits several or none of it, stays. Changes the nodes of the prompt, not their inputs."""
        for node in prompt.values():
            values = node.get("inputs") if isinstance(node, dict) else None
            if isinstance(values, dict) and self._is_known(node.get("class_type")):
                kind = node["class_type"]
                node["inputs"] = {name: self._fitted(kind, name, value) for name, value in values.items()}

    def _is_known(self, class_type: Any) -> bool:
        return isinstance(class_type, str) and class_type in self.classes.object_info

    def _fitted(self, class_type: str, name: str, value: Any) -> Any:
        if not isinstance(value, str) or not ("/" in value or "\\" in value):
            return value
        spec = self.classes[class_type].inputs.get(name)
        allowed = None if spec is None else specs.choices(spec)
        if allowed is None:
            return value
        if (class_type, name) not in self.known:
            self.known[class_type, name] = by_plain_name(allowed)
        fitting = self.known[class_type, name].get(plain(value), set())
        if fitting:
            return fitted(value, fitting)
        upload = any(specs.options(spec).get(key) for key in specs.UPLOADS)  # its list leaves folders out
        return plain(value) if upload else value


def plain(name: str) -> str:
    return name.replace("\\", "/")


def fitted(value: str, fitting: set[str]) -> str:
    return next(iter(fitting)) if len(fitting) == 1 else value


def by_plain_name(allowed: Any) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for choice in allowed:
        if isinstance(choice, str):
            found.setdefault(plain(choice), set()).add(choice)
    return found
