"""Values of widgets: as a file holds them, and as the front end of ComfyUI makes them when it queues."""

from __future__ import annotations

from typing import Any, NamedTuple

from . import specs
from .alternatives import Draws
from .graph import Scope
from .links import primitive_value
from .problems import Json
from .replaced import PREFIX, SAVERS, Names

PRIMITIVE = "PrimitiveNode"
REPLACES = "Run widget replace on values"  # a property of primitives


def saved_values(node: Json, declared: specs.Declared) -> tuple[Json, int]:
    """Values by name, and how many the node holds beyond."""
    values, slots = dict(declared.defaults), declared.slots
    saved = node.get("widgets_values") or []
    if isinstance(saved, dict):
        return values | {name: value for name, value in saved.items() if name in values}, 0
    values.update({name: value for name, value in zip(slots, saved, strict=False) if name is not None})
    return values, max(0, len(saved) - len(slots))


class Queued(NamedTuple):
    """Values of a node's widgets by name. given: names of those that come from a primitive. extra: how many values the
    node holds beyond its widgets."""

    values: Json
    given: set[str]
    extra: int


class Filling:
    """What the widgets of a workflow hold once it is queued. draw: the number that decides on {a|b}."""

    def __init__(self, root: Scope, classes: specs.Classes, draw: int = 0) -> None:
        self.classes, self.draws = classes, Draws(draw)
        self.names = Names(root, classes.object_info, self.shown)

    def of(self, scope: Scope, node: Json) -> Queued:
        """Raises WorkflowError where a text grows too much."""
        given = self._given(scope, node)
        saved, extra = saved_values(node, self.classes[node["type"]])
        values = {name: self._queued(scope, node, name, value) for name, value in (saved | given).items()}
        return Queued(values, set(given), extra)

    def shown(self, scope: Scope, node: Json) -> Json:
        """Values of a node's widgets as one sees them, before anything in them is filled in."""
        inner = scope.inside.get(str(node["id"]))
        if inner is not None:
            return {(node["inputs"][slot].get("name") or ""): value for slot, value in inner.promoted.items()}
        if node["type"] == PRIMITIVE:
            saved = node.get("widgets_values")
            return {"value": saved[0]} if saved and isinstance(saved, list) else {}
        if node["type"] not in self.classes.object_info:
            return {}
        return saved_values(node, self.classes[node["type"]])[0] | self._given(scope, node, replaced=False)

    def _given(self, scope: Scope, node: Json, replaced: bool = True) -> Json:
        """Values that primitives write into the node's widgets. replaced: with the names in them filled in."""
        widgets, found = self.classes[node["type"]].defaults, {}
        for entry in node.get("inputs") or []:
            constant = primitive_value(scope, entry) if entry.get("name") in widgets else None
            if constant is not None:
                link = scope.link(entry.get("link"))
                source = scope.nodes[link.origin]
                found[entry["name"]] = self._replaced(scope, source, constant.value) if replaced else constant.value
        return found

    def _replaced(self, scope: Scope, primitive: Json, value: Any) -> Any:
        properties = primitive.get("properties")
        wanted = isinstance(properties, dict) and properties.get(REPLACES)
        return self.names.filled(value, scope.label(primitive)) if wanted and isinstance(value, str) else value

    def _queued(self, scope: Scope, node: Json, name: str, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        where = f"{name} of {scope.label(node)}"
        if name == PREFIX and node["type"] in SAVERS:
            return self.names.filled(value, where)
        if specs.is_dynamic(self.classes[node["type"]].inputs[name]):
            return self.draws.resolved(value, f"{scope.full_id(node)}.{name}", where)
        return value
