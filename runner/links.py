"""What feeds the inputs of a workflow in UI format, once all that is no node of the server is looked through."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from .browser_nodes import Kind, kind_of
from .graph import BYPASSED, MUTED, Scope, mode
from .problems import Json, WorkflowError
from .setters import Setters
from .shape import SUBGRAPH_INPUT

MOST_LOOKS = 600_000  # at slots, a second or two of them; 100,000 nodes as workflows have them take some 400,000
OFF = {MUTED: "is muted", BYPASSED: "is bypassed and takes nothing of that type to pass on"}
MOST_SWITCHES = 32  # one behind another


class Origin(NamedTuple):
    """The output that feeds an input once everything virtual is looked through."""

    node_id: str
    slot: int


class Constant(NamedTuple):
    """A widget value that feeds an input. primitive: the node of the browser that writes it into the widget there, None
    where the face of a subgraph holds it."""

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

    def __init__(self, top: Scope, object_info: Json) -> None:
        self.top, self.object_info = top, object_info
        self.known: dict[Place, Source] = {}
        self.ends: dict[Place, Place | None] = {}  # where nothing feeds them, the slots at which the way ends
        self.looks = self.switches = 0

    @cached_property
    def setters(self) -> Setters:
        return Setters(self.top, self.object_info)

    @property
    def told(self) -> list[str]:
        """What was not clear on the way, a sentence each."""
        return list(self.setters.twice) if "setters" in self.__dict__ else []

    def kind(self, scope: Scope, node: Json) -> Kind | None:
        """What a node is if it exists in the browser alone."""
        kind = kind_of(node, self.object_info)
        is_unknown = kind is None and node["type"] not in self.object_info
        return self.setters.kind(scope, node) if is_unknown else kind

    def of(self, scope: Scope, node: Json, slot: int) -> Source:
        """Raises WorkflowError where the links lead nowhere, or in a circle."""
        if not scope.is_linked(node, slot):
            return None
        found: Place | Source = Place(scope, str(node["id"]), "inputs", slot)
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
        if source is None:
            end = self.ends.get(found) if isinstance(found, Place) else next(reversed(passed.values()), None)
            self.ends.update(dict.fromkeys(passed.values(), end))
        return source

    def switched_off(self, scope: Scope, node: Json, slot: int) -> str:
        """Of an input that nothing feeds although it is linked: the node that is muted or bypassed on the way, as a
        sentence goes on with it; "" where none is."""
        end = self.ends.get(Place(scope, str(node["id"]), "inputs", slot))
        found = None if end is None or end.side == "inputs" else OFF.get(mode(end.node))
        return f"{end.scope.label(end.node)} {found}" if end is not None and found else ""

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
        inner = scope.inside.get(node_id)
        kind = self.kind(scope, node) if inner is None else None
        if kind is Kind.WIDGET:  # which is copied to where it goes whatever the node's mode
            return first_widget(scope, node)
        if mode(node) == MUTED:
            return None
        if mode(node) == BYPASSED:
            self.look(len(node.get("inputs") or []))
            through = _bypass_slot(node, slot, wanted)
            return None if through is None else Place(scope, node_id, "inputs", through)
        if inner is not None:
            end = inner.graph.ends.get(slot)
            if end is not None and end.origin == SUBGRAPH_INPUT:
                return _outside(inner, end.origin_slot, wanted)
            is_there = end is not None and end.origin in inner.nodes
            return Place(inner, end.origin, "outputs", end.origin_slot, wanted) if is_there else None
        if kind is not None:
            return self._of_kind(place, kind)
        return Origin(scope.full_id(node), slot) if scope.enabled else None

    def _of_kind(self, place: Place, kind: Kind) -> Place | Source:
        scope, node_id, _, slot, wanted = place
        if kind is Kind.FIRST_INPUT:
            return self._first_fed(scope, place.node)
        if kind is Kind.NAMED:
            scope, setter = self.setters.setter(scope, place.node)
            node_id = str(setter["id"])
        has_input = slot < len(scope.nodes[node_id].get("inputs") or [])
        return Place(scope, node_id, "inputs", slot, wanted) if has_input else None

    def _first_fed(self, scope: Scope, node: Json) -> Source:
        self.switches += 1
        if self.switches > MOST_SWITCHES:
            many = f"more than {MOST_SWITCHES} switches lie behind one another, or in a circle"
            raise WorkflowError.one("Bad workflow", f"{many}, one of them {scope.label(node)}")
        self.look(len(node.get("inputs") or []))
        sources = (self.of(scope, node, slot) for slot in range(len(node.get("inputs") or [])))
        first = next((source for source in sources if source is not None), None)
        self.switches -= 1
        return first


def first_widget(scope: Scope, node: Json) -> Constant | None:
    held, saved = scope.values(node).get("value"), node.get("widgets_values")
    values = list(saved.values()) if isinstance(saved, dict) else saved or []
    return Constant(held, node) if held is not None else Constant(values[0], node) if values else None


def _before_input(place: Place) -> Place | Source:
    scope, _, _, slot, wanted = place
    entry = _entry(place)
    link = scope.link(place.node, slot)
    if link is None:
        if not scope.is_linked(place.node, slot):
            return None
        raise _leads_nowhere(place, entry, f"refers to link {entry['link']}")
    if link.origin == SUBGRAPH_INPUT and scope.parent is not None:
        return _outside(scope, link.origin_slot, wanted)
    if link.origin not in scope.nodes:
        raise _leads_nowhere(place, entry, f"is linked to node {link.origin}")
    return Place(scope, link.origin, "outputs", link.origin_slot, wanted or _type(entry))


def _outside(scope: Scope, slot: int, wanted: Any) -> Place | Source:
    """What feeds an input of a subgraph, where it is used."""
    assert scope.parent is not None and scope.instance is not None
    number = scope.outside(slot)
    if number is None:
        return None
    outside = Place(scope.parent, str(scope.instance["id"]), "inputs", number, wanted)
    if scope.parent.is_linked(scope.instance, number):
        return outside
    value = scope.value(number)
    return None if value is None else Constant(value)


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
