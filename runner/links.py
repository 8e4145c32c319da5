"""What feeds the inputs of a workflow in UI format, once all that is no node of the server is looked through."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from .graph import BYPASSED, SUBGRAPH_INPUT, Scope, mode
from .problems import Json, WorkflowError
from .shape import NOTES

VIRTUAL = NOTES | {"Reroute", "PrimitiveNode"}
MOST_LOOKS = 600_000  # at slots, a second or two of them; 100,000 nodes as workflows have them take some 400,000


class Origin(NamedTuple):
    """The output that feeds an input once everything virtual is looked through."""

    node_id: str
    slot: int


class Constant(NamedTuple):
    """A widget value that feeds an input. primitive: the node that writes it into the widget there, None where the face
    of a subgraph holds it."""

    value: Any
    primitive: Json | None = None


Source = Origin | Constant | None


class Place(NamedTuple):
    """A slot on the way to what feeds an input. wanted: the type of the input at the end, where it differs."""

    scope: Scope
    node_id: str
    side: str
    slot: int
    wanted: Any = None

    @property
    def node(self) -> Json:
        return self.scope.nodes[self.node_id]


class Sources:
    """Finds what feeds inputs, and remembers it for all that lay on the way."""

    def __init__(self) -> None:
        self.known: dict[Place, Source] = {}
        self.looks = 0

    def of(self, scope: Scope, node: Json, slot: int) -> Source:
        """Raises WorkflowError where the links lead nowhere, or in a circle."""
        entry = node["inputs"][slot]
        if entry.get("link") is None:
            return None
        found: Place | Source = primitive_value(scope, entry) or Place(scope, str(node["id"]), "inputs", slot)
        passed: dict[tuple, Place] = {}
        while isinstance(found, Place) and found not in self.known:
            if found[:4] in passed:
                where = f"{found.side.rstrip('s')} {found.slot} of {found.scope.label(found.node)}"
                raise WorkflowError.one("Dependency cycle detected", f"{where} feeds itself")
            passed[found[:4]] = found
            self.look()
            found = _before_input(found) if found.side == "inputs" else self._before_output(found)
        source = self.known[found] if isinstance(found, Place) else found
        self.known.update(dict.fromkeys(passed.values(), source))
        return source

    def look(self, slots: int = 1) -> None:
        self.looks += slots
        if self.looks > MOST_LOOKS:
            many = f"to find what feeds the inputs takes more than {MOST_LOOKS:,} looks at slots"
            raise WorkflowError.one("Bad workflow", f"its links lead through too much: {many}")

    def _before_output(self, place: Place) -> Place | Source:
        scope, node_id, _, slot, wanted = place
        node = place.node
        if slot < 0:
            raise WorkflowError.one("Bad linked input", f"a link leads from output {slot} of {scope.label(node)}")
        if mode(node) == BYPASSED:
            self.look(len(node.get("inputs") or []))
            through = _bypass_slot(node, slot, wanted)
            return None if through is None else Place(scope, node_id, "inputs", through)
        inner = scope.inside.get(node_id)
        if inner is not None:
            end = inner.graph.ends.get(slot)
            if end is None or end.origin not in inner.nodes:
                return None
            return Place(inner, end.origin, "outputs", end.origin_slot, wanted)
        if node["type"] in VIRTUAL:
            has_input = slot < len(node.get("inputs") or [])
            return Place(scope, node_id, "inputs", slot, wanted) if has_input else None
        return Origin(scope.full_id(node), slot)


def _before_input(place: Place) -> Place | Source:
    scope, _, _, slot, wanted = place
    entry = _entry(place)
    link = scope.link(entry.get("link"))
    if link is None:
        if entry.get("link") is None:
            return None
        raise _leads_nowhere(place, entry, f"refers to link {entry['link']}")
    if link.origin == SUBGRAPH_INPUT and scope.parent is not None:
        assert scope.instance is not None
        outside = Place(scope.parent, str(scope.instance["id"]), "inputs", link.origin_slot, wanted)
        outer = _entry(outside)
        if outer.get("link") is not None:
            return primitive_value(scope.parent, outer) or outside
        promoted = scope.promoted
        return Constant(promoted[link.origin_slot]) if link.origin_slot in promoted else None
    if link.origin not in scope.nodes:
        raise _leads_nowhere(place, entry, f"is linked to node {link.origin}")
    return Place(scope, link.origin, "outputs", link.origin_slot, wanted or _type(entry))


def _entry(place: Place) -> Json:
    entries = place.node.get(place.side) or []
    if not 0 <= place.slot < len(entries):
        has = f"{place.scope.label(place.node)} has {len(entries)} {place.side}"
        raise WorkflowError.one("Bad linked input", f"{has}, and a link refers to slot {place.slot}")
    return entries[place.slot]


def _leads_nowhere(place: Place, entry: Json, what: str) -> WorkflowError:
    name = entry.get("name", place.slot)
    where = f"{name} of {place.scope.label(place.node)} {what}, which does not exist"
    return WorkflowError.one("Bad linked input", where)


def primitive_value(scope: Scope, entry: Json) -> Constant | None:
    link = scope.link(entry.get("link"))
    source = scope.nodes.get(link.origin) if link else None
    if source is None or source["type"] != "PrimitiveNode":
        return None
    saved = source.get("widgets_values")
    return Constant(saved[0], source) if saved and isinstance(saved, list) else None


def _type(entry: Json) -> Any:
    """Of a slot; lists, which older files have for combos, as text."""
    kind = entry.get("type")
    return str(kind) if isinstance(kind, (list, dict)) else kind


def _bypass_slot(node: Json, slot: int, wanted: Any) -> int | None:
    """The input that stands in for an output of a bypassed node."""
    kinds = [_type(entry) for entry in node.get("inputs") or []]
    outputs = node.get("outputs") or []
    if wanted in ("*", "", None):
        return None if not kinds else slot if slot < len(kinds) else 0
    own = _type(outputs[slot]) if slot < len(outputs) else wanted

    def fits(kind: Any) -> bool:
        return connectable(kind, own) and connectable(kind, wanted)

    if slot < len(kinds) and fits(kinds[slot]):
        return slot
    if wanted in kinds:
        return kinds.index(wanted)
    return next((i for i, kind in enumerate(kinds) if fits(kind)), None)


def connectable(a: Any, b: Any) -> bool:
    """Whether the front end lets sockets of two types be linked."""
    if a in ("", "*", 0, None) or b in ("", "*", 0, None):
        return True
    return not _kinds(str(a)).isdisjoint(_kinds(str(b)))


@lru_cache(maxsize=1024)
def _kinds(listed: str) -> frozenset[str]:
    return frozenset(listed.lower().split(","))
