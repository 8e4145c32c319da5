"""Widgets of nodes inside a subgraph that its uses show: which ones, and where their values are kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from itertools import takewhile
from typing import Any, NamedTuple

from .problems import Json

Widget = tuple[
    str, ...
]  # id of a node, name of its widget, and of one of several in a subgraph the node further inside
Found = tuple["int | Widget", list[tuple[str, ...]]]
MOST_IDS = 32  # before a name, as deep as subgraphs lie in each other
THE_USE_ITSELF = "-1"  # as the node of a widget that belongs to an input of the subgraph


class Shown(NamedTuple):
    """A widget that a use of a subgraph shows. name: by which the graph around it knows it. what: the number of the
    input that it gives a value to, or the widget inside."""

    name: str
    what: int | Widget


class Held(NamedTuple):
    """A place in the values that a use of a subgraph holds. place: a number, or a name where they go by names."""

    use: Json
    place: int | str

    @property
    def value(self) -> Any:
        """None if the file holds none, and the widget inside is left as it is."""
        saved = self.use.get("widgets_values")
        if isinstance(self.place, str):
            return saved.get(self.place) if isinstance(saved, dict) else None
        return saved[self.place] if isinstance(saved, list) and self.place < len(saved) else None

    def write(self, value: Any) -> None:
        """Into the use, whose own values stay as they are for others that share them."""
        saved = self.use.get("widgets_values") or ()
        if isinstance(self.place, str):
            self.use["widgets_values"] = {**saved, self.place: value}
        else:
            values = [*saved, *[None] * (self.place + 1 - len(saved))]
            values[self.place] = value
            self.use["widgets_values"] = values


def held_values(use: Json, shown: Iterable[Shown | None]) -> dict[int | Widget, tuple[str, Held]]:
    """Where the values of shown widgets are kept, and their names. Places of None belong to no widget inside."""
    by_name = isinstance(use.get("widgets_values"), dict)
    places: dict[int | Widget, tuple[str, Held]] = {}
    for number, widget in enumerate(shown):
        if widget is not None:
            places.setdefault(widget.what, (widget.name, Held(use, widget.name if by_name else number)))
    return places


def held_value(places: Iterable[Held]) -> Any:
    """The first that is there."""
    return next((held.value for held in places if held.value is not None), None)


def widgets_of(use: Json, fed: dict[Widget, int]) -> list[Shown | None]:
    """What the places of a subgraph's `widgets_values` belong to. fed: the inputs of the subgraph, by widgets inside.

    Inputs with a widget in their order, or as `proxyWidgets` lists them among widgets inside; front ends that list no
    inputs there have these first.
    """
    entries = use.get("inputs") or []
    inputs = {i: Shown(str(entry.get("name")), i) for i, entry in enumerate(entries) if entry.get("widget")}
    slots = {shown.name: number for number, shown in reversed(inputs.items())}
    listed: list[Shown | None] = []
    for node_id, name, *further in _proxies(use):
        slot = slots.get(name) if node_id == THE_USE_ITSELF else fed.get((node_id, name))
        listed.append(Shown(name, (node_id, name, *further)) if slot is None else inputs.pop(slot, Shown(name, slot)))
    unlisted = list(inputs.values())
    late = any(shown is not None and isinstance(shown.what, int) for shown in listed)
    return [*listed, *unlisted] if late else [*unlisted, *listed]


def most_shown(use: Json, shown: Sized | None) -> int:
    """How many places there can be; shown: of an old group node, where they are known."""
    return len(use.get("inputs") or ()) + len(_listed(use) if shown is None else shown)


def _proxies(use: Json) -> list[Widget]:
    return [_widget(entry) for entry in _listed(use)]


def _listed(use: Json) -> list[Any]:
    """The property, as far as it is of the shape that the front end writes."""
    properties = use.get("properties")
    saved = properties.get("proxyWidgets") if isinstance(properties, dict) else None
    return saved if isinstance(saved, list) else []


def _widget(entry: Any) -> Widget:
    """As listed; some front ends put the ids of nodes further inside before the name, others the last one after it."""
    if not isinstance(entry, list) or len(entry) < 2:
        return "", ""
    node_id, name, *further = map(str, entry[:3])
    parts = name.split(":", MOST_IDS)
    ids = [part.strip() for part in takewhile(lambda part: part.strip().isdigit(), parts[:-1])]
    if ids:
        further, name = ids[-1:], ":".join(parts[len(ids) :]).strip()
    return node_id, name, *further


def by_node(own: Iterable[int | Widget], names: dict[int | Widget, str], fed: dict[Widget, int]) -> Iterator[Found]:
    """What is shown, with how the graph around may call it: by its name alone, inputs first, where several have it; by
    its name and the node inside that it belongs to."""
    inside: dict[int, list[str]] = {}
    for widget, slot in fed.items():
        inside.setdefault(slot, []).append(widget[0])
    taken: set[str] = set()
    for what in sorted(own, key=lambda what: not isinstance(what, int)):
        name = names[what]
        nodes = inside.get(what, []) if isinstance(what, int) else [what[0]]
        yield what, [*((name, node) for node in nodes), *([] if name in taken else [(name,)])]
        taken.add(name)
