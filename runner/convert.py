"""Workflow JSON of the front end (UI format) -> prompt JSON of the server (API format).

Follows the front end's `graphToPrompt`: widgets by position, reroutes and bypassed nodes looked through,
muted nodes left out with every link from them, primitives copied into the widgets that they feed,
subgraphs expanded to nodes named `outer:inner`.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from . import specs
from .problems import Json, Problem, WorkflowError, name_node

log = logging.getLogger(__name__)

MUTED, BYPASSED = 2, 4
NOTES = frozenset({"Note", "MarkdownNote"})
VIRTUAL = NOTES | {"Reroute", "PrimitiveNode"}
SUBGRAPH_INPUT, SUBGRAPH_OUTPUT = "-10", "-20"


class Link(NamedTuple):
    origin: str
    origin_slot: int
    target: str
    target_slot: int


class Origin(NamedTuple):
    """The output that feeds an input once everything virtual is looked through."""

    node_id: str
    slot: int


class Constant(NamedTuple):
    """A widget value that feeds an input from outside its subgraph."""

    value: Any


@dataclass(eq=False)
class Scope:
    """One graph: the workflow itself, or one use of a subgraph."""

    nodes: dict[str, Json]
    links: dict[Any, Link]
    path: str = ""
    enabled: bool = True
    parent: Scope | None = None
    instance: Json | None = None
    inside: dict[str, Scope] = field(default_factory=dict)

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
        return name_node(self.full_id(node), str(node["type"]), node.get("title") or "")


def is_ui_format(document: Any) -> bool:
    return isinstance(document, dict) and isinstance(document.get("nodes"), list)


def open_graph(workflow: Json) -> Scope:
    """The graph of a workflow in UI format, subgraphs included."""
    definitions = {d.get("id"): d for d in (workflow.get("definitions") or {}).get("subgraphs") or []}
    return _open(workflow, definitions)


def to_api(workflow: Json, object_info: Json) -> Json:
    """Convert a workflow to API format; one that already is in API format comes back as a copy.

    `object_info` has the shape of GET /object_info. Raises WorkflowError for nodes that do not exist
    and for links that lead nowhere; `validate` judges everything else.
    """
    if not is_ui_format(workflow):
        return copy.deepcopy(workflow)
    prompt: Json = {}
    unknown: list[Problem] = []
    for scope, node in open_graph(workflow).walk():
        if not scope.enabled or node["type"] in VIRTUAL or _mode(node) in (MUTED, BYPASSED):
            continue
        info = object_info.get(node["type"])
        if info is None:
            message = f"Cannot execute because node {node['type']} does not exist"
            unknown.append(Problem(message, f"Node ID '#{scope.full_id(node)}'"))
            continue
        prompt[scope.full_id(node)] = {
            "inputs": copy.deepcopy({**_widget_values(scope, node, info), **_linked(scope, node)}),
            "class_type": node["type"],
            "_meta": {"title": node.get("title") or info.get("display_name") or node["type"]},
        }
    if unknown:
        raise WorkflowError(unknown)
    for node in prompt.values():
        node["inputs"] = {k: v for k, v in node["inputs"].items() if not _is_link(v) or v[0] in prompt}
    return prompt


def _is_link(value: Any) -> bool:
    return isinstance(value, list)


def _mode(node: Json) -> int:
    return node.get("mode") or 0


def _open(
    graph: Json, definitions: Json, path: str = "", parent: Scope | None = None, instance: Json | None = None
) -> Scope:
    nodes: dict[str, Json] = {}
    for node in graph.get("nodes") or []:
        if not isinstance(node, dict) or "id" not in node or not isinstance(node.get("type"), str):
            raise WorkflowError.one("Bad workflow", f"a node has no id or no type: {str(node)[:80]}")
        if str(node["id"]) in nodes:
            raise WorkflowError.one("Bad workflow", f"two nodes have the id {path}{node['id']}")
        nodes[str(node["id"])] = node
    enabled = parent is None or (parent.enabled and _mode(instance or {}) not in (MUTED, BYPASSED))
    scope = Scope(nodes, dict(map(_read_link, graph.get("links") or [])), path, enabled, parent, instance)
    for node_id, node in nodes.items():
        definition = definitions.get(node["type"])
        if definition is None:
            continue
        if _encloses(scope, node["type"]):
            raise WorkflowError.one("Bad workflow", f"subgraph {definition.get('name')} contains itself")
        scope.inside[node_id] = _open(definition, definitions, f"{path}{node_id}:", scope, node)
    return scope


def _encloses(scope: Scope | None, subgraph: str) -> bool:
    while scope is not None and scope.instance is not None:
        if scope.instance["type"] == subgraph:
            return True
        scope = scope.parent
    return False


def _read_link(link: Any) -> tuple[Any, Link]:
    try:
        if isinstance(link, dict):
            keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
            number, origin, origin_slot, target, target_slot = (link[key] for key in keys)
        else:
            number, origin, origin_slot, target, target_slot = link[:5]
        return number, Link(str(origin), int(origin_slot), str(target), int(target_slot))
    except (KeyError, TypeError, ValueError):
        accepted = "[id, from node, from slot, to node, to slot, type]"
        raise WorkflowError.one("Bad workflow", f"a link is not of the form {accepted}: {link}") from None


def _widget_values(scope: Scope, node: Json, info: Json) -> Json:
    known = specs.inputs(info)
    values = {name: specs.default(spec) for name, spec in known.items() if specs.is_widget(spec)}
    saved = node.get("widgets_values") or []
    if isinstance(saved, dict):
        values.update({name: value for name, value in saved.items() if name in values})
    else:
        slots = list(specs.widget_slots(info))
        values.update({name: value for name, value in zip(slots, saved, strict=False) if name is not None})
        if len(saved) > len(slots):
            extra = len(saved) - len(slots)
            log.warning("%s holds %d more widget values than it has widgets.", scope.label(node), extra)
    return {name: {"__value__": value} if isinstance(value, list) else value for name, value in values.items()}


def _linked(scope: Scope, node: Json) -> Json:
    found: Json = {}
    for slot, entry in enumerate(node.get("inputs") or []):
        source = _primitive_value(scope, entry) or _resolve_input(scope, node, slot, None, set())
        if isinstance(source, Origin):
            found[entry["name"]] = [source.node_id, source.slot]
        elif isinstance(source, Constant):
            value = source.value
            found[entry["name"]] = {"__value__": value} if isinstance(value, list) else value
    return found


def _primitive_value(scope: Scope, entry: Json) -> Constant | None:
    link = scope.links.get(entry.get("link"))
    source = scope.nodes.get(link.origin) if link else None
    if source is None or source["type"] != "PrimitiveNode" or not source.get("widgets_values"):
        return None
    return Constant(source["widgets_values"][0])


def _resolve_input(scope: Scope, node: Json, slot: int, wanted: Any, visited: set) -> Origin | Constant | None:
    """What feeds an input; `wanted` is the type of the input at the end of the chain, where it differs."""
    _visit(visited, scope, node, "input", slot)
    entry = _slot(scope, node, "inputs", slot)
    if entry.get("link") is None:
        return None
    link = scope.links.get(entry["link"])
    name = entry.get("name", slot)
    if link is None:
        raise WorkflowError.one(
            "Bad linked input", f"{name} of {scope.label(node)} refers to link {entry['link']}, which does not exist"
        )
    if link.origin == SUBGRAPH_INPUT and scope.parent is not None:
        assert scope.instance is not None
        outer = _slot(scope.parent, scope.instance, "inputs", link.origin_slot)
        if outer.get("link") is None:
            return _promoted_value(scope.instance, outer)
        primitive = _primitive_value(scope.parent, outer)
        return primitive or _resolve_input(scope.parent, scope.instance, link.origin_slot, wanted, visited)
    source = scope.nodes.get(link.origin)
    if source is None:
        raise WorkflowError.one(
            "Bad linked input", f"{name} of {scope.label(node)} is linked to node {link.origin}, which does not exist"
        )
    return _resolve_output(scope, source, link.origin_slot, wanted or entry.get("type"), visited)


def _resolve_output(scope: Scope, node: Json, slot: int, wanted: Any, visited: set) -> Origin | Constant | None:
    _visit(visited, scope, node, "output", slot)
    if _mode(node) == BYPASSED:
        through = _bypass_slot(node, slot, wanted)
        return None if through is None else _resolve_input(scope, node, through, None, visited)
    inner = scope.inside.get(str(node["id"]))
    if inner is not None:
        ends = [k for k in inner.links.values() if k.target == SUBGRAPH_OUTPUT and k.target_slot == slot]
        if not ends or ends[0].origin not in inner.nodes:
            return None
        return _resolve_output(inner, inner.nodes[ends[0].origin], ends[0].origin_slot, wanted, visited)
    if node["type"] in VIRTUAL:
        has_input = slot < len(node.get("inputs") or [])
        return _resolve_input(scope, node, slot, wanted, visited) if has_input else None
    return Origin(scope.full_id(node), slot)


def _visit(visited: set, scope: Scope, node: Json, side: str, slot: int) -> None:
    place = (scope.full_id(node), side, slot)
    if place in visited:
        raise WorkflowError.one("Dependency cycle detected", f"{side} {slot} of {scope.label(node)} feeds itself")
    visited.add(place)


def _slot(scope: Scope, node: Json, side: str, slot: int) -> Json:
    entries = node.get(side) or []
    if not 0 <= slot < len(entries):
        raise WorkflowError.one(
            "Bad linked input", f"{scope.label(node)} has {len(entries)} {side}, and a link refers to slot {slot}"
        )
    return entries[slot]


def _promoted_value(instance: Json, entry: Json) -> Constant | None:
    """The widget that a subgraph shows for one of its inputs, if the file holds its value."""
    promoted = [i for i in instance.get("inputs") or [] if i.get("widget")]
    saved = instance.get("widgets_values") or []
    if entry not in promoted or len(saved) != len(promoted):
        return None
    return Constant(saved[promoted.index(entry)])


def _bypass_slot(node: Json, slot: int, wanted: Any) -> int | None:
    """The input that stands in for an output of a bypassed node."""
    kinds = [entry.get("type") for entry in node.get("inputs") or []]
    outputs = node.get("outputs") or []
    if wanted in ("*", "", None):
        return None if not kinds else slot if slot < len(kinds) else 0
    own = outputs[slot].get("type") if slot < len(outputs) else wanted

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
    left, right = (set(str(kind).lower().split(",")) for kind in (a, b))
    return not left.isdisjoint(right)
