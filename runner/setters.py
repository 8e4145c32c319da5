"""Set and Get nodes: links by name, which only the browser follows."""

from __future__ import annotations

from typing import Any

from .browser_nodes import Kind, families, linked, name_held
from .graph import Scope
from .problems import Json, WorkflowError, listing, name_node, shown_text

Setter = tuple[Scope, Json]


class Setters:
    """What the Set nodes of a workflow set, by the graph that they lie in, their class and their name."""

    def __init__(self, top: Scope, object_info: Json) -> None:
        self.inside: dict[tuple[Scope, str, str], list[Setter]] = {}
        self.anywhere: dict[tuple[str, str], list[Setter]] = {}
        self.kinds: dict[tuple[Scope, Any], Kind] = {}
        self.twice: dict[str, None] = {}
        unknown = [(scope, node) for scope, node in top.walk() if node["type"] not in object_info]
        for scope, node in unknown:
            name = name_held(node) if node.get("inputs") else ""
            for family in families(node, "set") if name else ():
                self.inside.setdefault((scope, family, name), []).append((scope, node))
                self.anywhere.setdefault((family, name), []).append((scope, node))
        for scope, node in unknown:
            found = None if linked(node) else self._found(scope, node)
            if found is not None:
                self.kinds[scope, node["id"]] = Kind.NAMED
                self.kinds.setdefault((found[0], found[1]["id"]), Kind.SAME_INPUT)

    def kind(self, scope: Scope, node: Json) -> Kind | None:
        """Of a node of unknown class that gets what another one sets, or sets what another one gets, by all signs."""
        return self.kinds.get((scope, node["id"]))

    def setter(self, scope: Scope, node: Json) -> Setter:
        """The Set node that a Get node stands for: in its own graph, in those around it, or the only one anywhere.
        Raises WorkflowError."""
        found = self._found(scope, node)
        if found is not None:
            return found
        name, kinds = name_held(node), families(node, "get")
        shown = shown_text(name, 60)
        names = dict.fromkeys(other for family, other in self.anywhere if family in kinds)
        several = any((family, name) in self.anywhere for family in kinds)
        what = "several Set nodes of subgraphs have" if several else "no Set node has"
        sentence = f"{what} its name {shown!r}; those that are set are {listing(names)}"
        raise WorkflowError.one(f"{scope.label(node)} gets from nowhere", sentence)

    def _found(self, scope: Scope, node: Json) -> Setter | None:
        name, kinds = name_held(node), sorted(families(node, "get"))
        around: Scope | None = scope
        while around is not None:
            for family in kinds:
                setters = self.inside.get((around, family, name))
                if setters:
                    return self._first(setters, name)
            around = around.parent
        for family in kinds:
            setters = self.anywhere.get((family, name), [])
            if len(setters) == 1:
                return setters[0]
        return None

    def _first(self, setters: list[Setter], name: str) -> Setter:
        """Of several in one graph, which the front end would rename, the first: as it looks for them."""
        scope, node = setters[0]
        if len(setters) > 1:
            used = name_node(scope.full_id(node), node["type"], node.get("title") or "")
            shown = shown_text(name, 60)
            self.twice[f"{len(setters)} Set nodes have the name {shown!r}, of which {used} is used."] = None
        return setters[0]
