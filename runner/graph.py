"""The graphs of a workflow in UI format: nodes and links by their ids, subgraphs where they are used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from . import broadcasts
from .groups import written_groups
from .problems import Json, WorkflowError, name_node
from .promoted import Held, Shown, Widget, by_node, held_value, held_values, most_shown, widgets_of
from .shape import (
    MOST_BYTES,
    MOST_LINKS,
    MOST_NODES,
    NOTES,
    SUBGRAPH_INPUT,
    SUBGRAPH_OUTPUT,
    Link,
    check_workflow,
    link_ends,
)

MUTED, BYPASSED = 2, 4
DEEPEST = 32  # subgraphs in each other; every one makes the ids of what it holds longer
MOST_WRITTEN = 2 * MOST_BYTES  # bytes of JSON that the subgraphs are, written out: the prompt goes into every picture


@dataclass(frozen=True)
class Graph:
    """One graph as it is written down: the workflow itself, or a subgraph.

    ends: the links to a subgraph's outputs. sent: links that only the browser makes, by node and input; unsent: nodes
    that have it make some which are not known. slots, shown: of an old group node, the names of its inputs, and what
    its widget values belong to.
    """

    name: str
    nodes: dict[str, Json]
    links: dict[str, Link]
    ends: dict[int, Link]
    sent: dict[tuple[str, int], Link | None]
    unsent: list[Json]
    slots: tuple[str, ...] | None = None
    shown: tuple[Shown | None, ...] | None = None

    @cached_property
    def slot_names(self) -> frozenset[str]:
        return frozenset(self.slots or ())

    @cached_property
    def fed(self) -> dict[Widget, int]:
        """The inputs of a subgraph, by the widgets inside that they feed."""
        found: dict[Widget, int] = {}
        for link in self.links.values():
            entries = self.nodes[link.target].get("inputs") or [] if link.target in self.nodes else []
            if link.origin == SUBGRAPH_INPUT and 0 <= link.target_slot < len(entries):
                found.setdefault((link.target, str(entries[link.target_slot].get("name"))), link.origin_slot)
        return found


@dataclass(eq=False)
class Scope:
    """One graph where it is used: the workflow itself, or one use of a subgraph."""

    graph: Graph
    path: str = ""
    enabled: bool = True
    parent: Scope | None = None
    instance: Json | None = None
    inside: dict[str, Scope] = field(default_factory=dict)

    @property
    def nodes(self) -> dict[str, Json]:
        return self.graph.nodes

    def link(self, node: Json, slot: int) -> Link | None:
        """What leads to an input, if there is anything."""
        number = node["inputs"][slot].get("link")
        found = None if number is None else self.graph.links.get(str(number))
        return found or self.graph.sent.get((str(node["id"]), slot))

    def is_linked(self, node: Json, slot: int) -> bool:
        """Whether something should, though it need not be there: but for links that the browser had taken back."""
        key = (str(node["id"]), slot)
        return (
            self.graph.sent[key] is not None if key in self.graph.sent else node["inputs"][slot].get("link") is not None
        )

    def walk(self) -> Iterator[tuple[Scope, Json]]:
        """Every node that is not a subgraph, with the graph that holds it."""
        for node_id, node in self.nodes.items():
            if node_id in self.inside:
                yield from self.inside[node_id].walk()
            else:
                yield self, node

    def full_id(self, node: Json) -> str:
        return f"{self.path}{node['id']}"

    def label(self, node: Json) -> str:
        return name_node(self.full_id(node), node["type"], node.get("title") or "")

    def outside(self, slot: int) -> int | None:
        """The input of this use that stands for one of the subgraph's: that of its place, but of an old group node that
        of its name, since newer front ends put inputs for widgets between. None for one that this use has not."""
        assert self.instance is not None
        entries, slots = self.instance.get("inputs") or [], self.graph.slots
        if slots is not None and slots[slot] in self.input_places:
            return self.input_places[slots[slot]]
        is_there = 0 <= slot < len(entries) and (
            slots is None or entries[slot].get("name") not in self.graph.slot_names
        )
        return slot if is_there else None

    @cached_property
    def input_places(self) -> dict[Any, int]:
        """The first input of each name."""
        assert self.instance is not None
        entries = self.instance.get("inputs") or []
        return {entry.get("name"): len(entries) - 1 - place for place, entry in enumerate(reversed(entries))}

    @cached_property
    def held(self) -> dict[int | Widget, list[Held]]:
        """Where this use of a subgraph and those around it keep values for its inputs and for widgets inside, the
        outermost first."""
        if self.instance is None or self.parent is None:
            return {}
        shown = widgets_of(self.instance, self.graph.fed) if self.graph.shown is None else self.graph.shown
        own, around, here = held_values(self.instance, shown), self.parent.held, str(self.instance["id"])
        found: dict[int | Widget, list[Held]] = {}
        for what, names in by_node(own, {what: name for what, (name, _) in own.items()}, self.graph.fed):
            outer = next((around[(here, *name)] for name in names if (here, *name) in around), [])
            found[what] = [*outer, own[what][1]]
        return found

    def value(self, slot: int) -> Any:
        """Of an input of this use of a subgraph; None if the file holds none."""
        return held_value(self.held.get(slot, ()))

    @cached_property
    def places(self) -> dict[str, dict[str, list[Held]]]:
        """Of `held`, the widgets inside, by node and name."""
        found: dict[str, dict[str, list[Held]]] = {}
        for what, held in self.held.items():
            if isinstance(what, tuple):
                found.setdefault(what[0], {}).setdefault(what[1], held)
        return found

    def values(self, node: Json) -> Json:
        """Of a node's widgets, in the place of those that it has."""
        values = {name: held_value(held) for name, held in self.places.get(str(node["id"]), {}).items()}
        return {name: value for name, value in values.items() if value is not None}


def mode(node: Json) -> int:
    return node.get("mode") or 0


def open_graph(workflow: Json, object_info: Json) -> Scope:
    """The graph of a workflow in UI format, with its subgraphs and old group nodes. Raises WorkflowError where it is of
    no shape to be read, or more than there may be once its subgraphs are written out."""
    subgraphs = {subgraph["id"]: _read(subgraph) for subgraph in check_workflow(workflow)}
    subgraphs |= {kind: _read(*group) for kind, group in written_groups(workflow, object_info).items()}
    top = _read(workflow)
    size = _Sizes(subgraphs).of(top, ())
    _limit(size.nodes, "nodes", MOST_NODES)
    _limit(size.written, "bytes", MOST_WRITTEN)
    _limit(size.shown, "inputs and widgets on the faces of subgraphs", MOST_LINKS)
    return _opened(Scope(top), subgraphs)


def _read(graph: Json, shown: tuple[Shown | None, ...] | None = None) -> Graph:
    nodes: dict[str, Json] = {}
    for node in graph.get("nodes") or []:
        if str(node["id"]) in nodes:
            raise WorkflowError.one("Bad workflow", f"two nodes have the id {node['id']}")
        nodes[str(node["id"])] = {"id": node["id"], "type": node["type"]} if node["type"] in NOTES else node
    found = (link_ends(link) for link in graph.get("links") or [] if link is not None)  # null is left of one removed
    links = {number: Link(*ends) for number, ends in found}
    ends: dict[int, Link] = {}
    for link in links.values():
        if link.target == SUBGRAPH_OUTPUT:
            ends.setdefault(link.target_slot, link)
    sent = broadcasts.links(graph, nodes, links)
    for (target, slot), link in sent.items():
        if target == SUBGRAPH_OUTPUT and link is not None:
            ends.setdefault(slot, link)
    slots = None if shown is None else tuple(entry["name"] for entry in graph["inputs"])
    return Graph(
        str(graph.get("name") or graph.get("id")),
        nodes,
        links,
        ends,
        sent,
        broadcasts.unfollowed(graph, nodes),
        slots,
        shown,
    )


def _opened(scope: Scope, subgraphs: dict[str, Graph]) -> Scope:
    for node_id, node in scope.nodes.items():
        subgraph = subgraphs.get(node["type"])
        if subgraph is not None:
            enabled = scope.enabled and mode(node) not in (MUTED, BYPASSED)
            inner = Scope(subgraph, f"{scope.path}{node_id}:", enabled, scope, node)
            scope.inside[node_id] = _opened(inner, subgraphs)
    return scope


class Size(NamedTuple):
    """Of a graph with its subgraphs written out."""

    nodes: int  # uses of subgraphs among them, which may be empty
    written: int  # bytes of JSON
    depth: int
    shown: int  # inputs and widgets of uses of subgraphs


class _Sizes:
    """Sizes of graphs, each of which is looked at once however often it is used."""

    def __init__(self, subgraphs: dict[str, Graph]) -> None:
        self.subgraphs = subgraphs
        self.known: dict[str, Size] = {}

    def of(self, graph: Graph, around: tuple[str, ...]) -> Size:
        """around: the subgraphs that it lies in."""
        nodes = written = depth = shown = 0
        for node in graph.nodes.values():
            inner = self.inside(node["type"], around)
            nodes += 1 + (inner.nodes if inner else 0)
            written += (inner.written if inner else 0) + (len(json.dumps(node)) if around else 0)
            depth = max(depth, inner.depth + 1 if inner else 0)
            shown += inner.shown + most_shown(node, self.subgraphs[node["type"]].shown) if inner else 0
        return Size(nodes, written, depth, shown)

    def inside(self, subgraph: str, around: tuple[str, ...]) -> Size | None:
        graph = self.subgraphs.get(subgraph)
        if graph is None:
            return None
        if subgraph in around:
            raise WorkflowError.one("Bad workflow", f"subgraph {graph.name} contains itself")
        _limit(len(around) + 1, "subgraphs in each other", DEEPEST)
        if subgraph not in self.known:
            self.known[subgraph] = self.of(graph, (*around, subgraph))
        _limit(len(around) + 1 + self.known[subgraph].depth, "subgraphs in each other", DEEPEST)
        return self.known[subgraph]


def _limit(count: int, what: str, most: int) -> None:
    if count > most:
        sentence = f"with its subgraphs written out it has more than {most:,} {what}, the most that are converted"
        raise WorkflowError.one("Bad workflow", sentence)
