"""Values of widgets: as a file holds them, and as the front end of ComfyUI makes them when it queues."""

from __future__ import annotations

from typing import Any

from . import specs
from .alternatives import Draws
from .graph import Scope
from .links import Constant, Origin, primitive_value
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


def held(value: Any) -> Any:
    """A value as prompts hold it, where a list is a link."""
    return {"__value__": value} if isinstance(value, list) else value


class Filling:
    """What the widgets of a workflow hold once it is queued. draw: the number that decides on {a|b}."""

    def __init__(self, root: Scope, classes: specs.Classes, draw: int = 0) -> None:
        self.classes, self.draws = classes, Draws(draw)
        self.names = Names(root, classes.object_info, self.shown)

    def inputs(self, scope: Scope, node: Json, values: Json, sources: dict[str, Origin | Constant]) -> Json:
        """The inputs of a node in the prompt, of the values that its widgets were saved with and of what feeds it.
        Raises WorkflowError where a text grows too much.

        What primitives give is written into widgets, so it is filled in there as what was typed is; a text on the face
        of a subgraph is sent as it stands.
        """
        constants = {name: source for name, source in sources.items() if isinstance(source, Constant)}
        written = {name: self._given(c) for name, c in constants.items() if c.primitive and name in values}
        typed = {name: value for name, value in values.items() if name not in sources} | written
        sent = {name: held(self._queued(scope, node, name, value)) for name, value in typed.items()}
        for name, source in sources.items():
            if isinstance(source, Origin):
                sent[name] = [source.node_id, source.slot]
            elif name not in written:
                sent[name] = held(source.value)
        return sent

    def _given(self, constant: Constant) -> Any:
        """The value that a primitive writes."""
        properties = constant.primitive.get("properties") if constant.primitive else None
        if isinstance(constant.value, str) and isinstance(properties, dict) and properties.get(REPLACES):
            return self.names.filled(constant.value, f"the value of node {constant.primitive['id']} ({PRIMITIVE})")
        return constant.value

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
        given = {entry.get("name"): primitive_value(scope, entry) for entry in node.get("inputs") or []}
        written = {name: constant.value for name, constant in given.items() if constant}
        return saved_values(node, self.classes[node["type"]])[0] | written

    def _queued(self, scope: Scope, node: Json, name: str, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        where = f"{name} of {scope.label(node)}"
        if name == PREFIX and node["type"] in SAVERS:
            return self.names.filled(value, where)
        if specs.is_dynamic(self.classes[node["type"]].inputs[name]):
            return self.draws.resolved(value, f"{scope.full_id(node)}.{name}", where)
        return value
