"""The graphs of a workflow in UI format: nodes and links by their ids, subgraphs where they are used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from .problems import Json, WorkflowError, name_node
from .shape import MOST_BYTES, MOST_NODES, NOTES, check_workflow, link_ends

MUTED, BYPASSED = 2, 4
SUBGRAPH_INPUT, SUBGRAPH_OUTPUT = "-10", "-20"
DEEPEST = 32  # subgraphs in each other; every one makes the ids of what it holds longer
MOST_WRITTEN = 2 * MOST_BYTES  # bytes of JSON that the subgraphs are, written out: the prompt goes into every picture


class Link(NamedTuple):
    origin: str
    origin_slot: int
    target: str
    target_slot: int


@dataclass(frozen=True)
class Graph:
    """One graph as it is written down: the workflow itself, or a subgraph. ends: the links to a subgraph's outputs."""

    name: str
    nodes: dict[str, Json]
    links: dict[str, Link]
    ends: dict[int, Link]


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

    def link(self, number: Any) -> Link | None:
        return None if number is None else self.graph.links.get(str(number))

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

    @cached_property
    def promoted(self) -> dict[int, Any]:
        """Values of the widgets that this use of a subgraph shows for its inputs, by slot, if the file holds them."""
        assert self.instance is not None
        slots = [i for i, entry in enumerate(self.instance.get("inputs") or []) if entry.get("widget")]
        saved = self.instance.get("widgets_values")
        return dict(zip(slots, saved, strict=True)) if isinstance(saved, list) and len(saved) == len(slots) else {}


def mode(node: Json) -> int:
    return node.get("mode") or 0


def open_graph(workflow: Json) -> Scope:
    """The graph of a workflow in UI format, subgraphs included. Raises WorkflowError where it is of no shape to be
    read, or more than there may be once its subgraphs are written out."""
    subgraphs = {subgraph["id"]: _read(subgraph) for subgraph in check_workflow(workflow)}
    top = _read(workflow)
    size = _Sizes(subgraphs).of(top, ())
    _limit(size.nodes, "nodes", MOST_NODES)
    _limit(size.written, "bytes", MOST_WRITTEN)
    return _opened(Scope(top), subgraphs)


def _read(graph: Json) -> Graph:
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
    return Graph(str(graph.get("name") or graph.get("id")), nodes, links, ends)


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


class _Sizes:
    """Sizes of graphs, each of which is looked at once however often it is used."""

    def __init__(self, subgraphs: dict[str, Graph]) -> None:
        self.subgraphs = subgraphs
        self.known: dict[str, Size] = {}

    def of(self, graph: Graph, around: tuple[str, ...]) -> Size:
        """around: the subgraphs that it lies in."""
        nodes = written = depth = 0
        for node in graph.nodes.values():
            inner = self.inside(node["type"], around)
            nodes += 1 + (inner.nodes if inner else 0)
            written += (inner.written if inner else 0) + (len(json.dumps(node)) if around else 0)
            depth = max(depth, inner.depth + 1 if inner else 0)
        return Size(nodes, written, depth)

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
