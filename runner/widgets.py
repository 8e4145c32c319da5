"""Values of widgets: as a file holds them, and as the front end of ComfyUI makes them when it queues."""

from __future__ import annotations

from typing import Any

from . import specs
from .alternatives import Draws
from .browser_nodes import PRIMITIVE
from .graph import MOST_WRITTEN, Scope
from .links import Constant, Origin, Sources, first_widget
from .problems import Json, WorkflowError
from .replaced import PREFIX, SAVERS, Replacements

REPLACES = "Run widget replace on values"  # a property of primitives


def saved_values(node: Json, declared: specs.Declared) -> tuple[Json, int]:
    """Values by name, and how many the node holds beyond."""
    values, slots = dict(declared.defaults), declared.slots
    saved = node.get("widgets_values") or []
    if isinstance(saved, dict):
        return values | {name: value for name, value in saved.items() if name in values}, 0
    values.update({name: value for name, value in zip(slots, saved, strict=False) if name is not None})
    return values, max(0, len(saved) - len(slots))


def held(value: Any) -> Any:
    """A value as prompts hold it, where a list is a link."""
    return {"__value__": value} if isinstance(value, list) else value


class Filling:
    """What the inputs of a workflow's nodes hold once it is queued. draw: the number that decides on {a|b}."""

    def __init__(self, top: Scope, classes: specs.Classes, sources: Sources, draw: int = 0) -> None:
        self.classes, self.sources, self.draws = classes, sources, Draws(draw)
        self.replacements = Replacements(top, classes.object_info, self.shown)
        self.written = 0

    @property
    def told(self) -> list[str]:
        """What texts name and nothing fills in, a sentence each."""
        return list(self.replacements.told)

    def inputs(self, scope: Scope, node: Json, values: Json) -> Json:
        """The inputs of a node in the prompt, of the values that its widgets were saved with and of what feeds it.
        Raises WorkflowError where a text grows too much, or links lead nowhere.

        What primitives give is written into widgets, so it is filled in there as what was typed is; a text on the face
        of a subgraph is sent as it stands.
        """
        fed = self._fed(scope, node)
        constants = {name: source for name, source in fed.items() if isinstance(source, Constant)}
        for name, source in constants.items():
            self._count(source.value, f"{name} of {scope.label(node)}")
        written = {name: self._given(c) for name, c in constants.items() if c.primitive and name in values}
        typed = {name: value for name, value in values.items() if name not in fed} | written
        sent = {name: held(self._queued(scope, node, name, value)) for name, value in typed.items()}
        for name, source in fed.items():
            if isinstance(source, Origin):
                sent[name] = [source.node_id, source.slot]
            elif name not in written:
                sent[name] = held(source.value)
        return sent

    def shown(self, scope: Scope, node: Json) -> Json:
        """Values of a node's widgets as one sees them, before anything in them is filled in."""
        inner = scope.inside.get(str(node["id"]))
        if inner is not None:
            names = {what: _name(node, what) if isinstance(what, int) else what[1] for what in inner.held}
            return {name: inner.value(what) for what, name in names.items()}
        if node["type"] not in self.classes.object_info:
            constant = first_widget(scope, node) if node["type"] == PRIMITIVE else None
            return {"value": constant.value} if constant else {}
        constants = {name: source for name, source in self._fed(scope, node).items() if isinstance(source, Constant)}
        written = {name: source.value for name, source in constants.items() if source.primitive}
        return saved_values(node, self.classes[node["type"]])[0] | scope.values(node) | written

    def _fed(self, scope: Scope, node: Json) -> dict[str, Origin | Constant]:
        """What feeds a node, by the names of its inputs."""
        found = enumerate(node.get("inputs") or [])
        sources = ((entry.get("name"), self.sources.of(scope, node, slot)) for slot, entry in found)
        return {name: source for name, source in sources if source is not None and name is not None}

    def _given(self, constant: Constant) -> Any:
        """The value that a primitive writes."""
        properties = constant.primitive.get("properties") if constant.primitive else None
        if isinstance(constant.value, str) and isinstance(properties, dict) and properties.get(REPLACES):
            where = f"the value of node {constant.primitive['id']} ({PRIMITIVE})"
            return self.replacements.filled(constant.value, where)
        return constant.value

    def _queued(self, scope: Scope, node: Json, name: str, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        where = f"{name} of {scope.label(node)}"
        if name == PREFIX and node["type"] in SAVERS:
            return self._count(self.replacements.filled(value, where), where)
        if specs.is_dynamic(self.classes[node["type"]].inputs[name]):
            return self.draws.resolved(value, f"{scope.full_id(node)}.{name}", where)
        return value

    def _count(self, value: Any, where: str) -> Any:
        """The value, which is written out where it is used. Raises WorkflowError once there is too much of them."""
        self.written += len(value) if isinstance(value, str) else 0
        if self.written > MOST_WRITTEN:
            many = f"up to {where}, the texts that it copies and fills in have more than {MOST_WRITTEN:,} characters"
            raise WorkflowError.one("Bad workflow", many)
        return value


def _name(node: Json, slot: int) -> Any:
    entries = node.get("inputs") or []
    return entries[slot].get("name") if slot < len(entries) else None
