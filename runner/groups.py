"""Old group nodes, `workflow>name`: written out as the subgraphs that newer front ends make of them.

A file defines them in `extra.groupNodes`, without saying what a group shows: that follows from the classes inside, in
their order. All widgets that are no inputs, with their values; all inputs that nothing inside feeds; then widgets that
became inputs; all outputs that feed nothing inside, or something outside as well. `config` renames and hides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from . import specs
from .browser_nodes import PRIMITIVE
from .problems import Json, WorkflowError, shown_text
from .promoted import Shown
from .shape import MOST_BYTES, MOST_LINKS, MOST_NODES, NOTES, SHOWN, SUBGRAPH_INPUT, SUBGRAPH_OUTPUT, check_node

PREFIXES = ("workflow>", "workflow/")
CONTROLS = {"INT": 1, "COMBO": 2}  # values after one that may be drawn anew for every run
DEEPEST = 32  # groups in each other
MOST_PARTS = 300_000  # inputs and outputs in all groups, which double where groups hold two of each other


class Part(NamedTuple):
    """An input of a node. values: how many places of `widgets_values` it takes, 0 for one that has no widget."""

    name: str
    kind: Any
    values: int = 0


class Group(NamedTuple):
    """parts, outputs: what a node of the group has, as if it were a class. shown: whose its widget values are."""

    graph: Json
    shown: tuple[Shown | None, ...]
    parts: list[Part]
    outputs: list[Any]


def written_groups(workflow: Json, object_info: Json) -> dict[str, tuple[Json, tuple[Shown | None, ...]]]:
    """Subgraphs by the type of the nodes that use them, each with what the widget values of these belong to. Raises
    WorkflowError."""
    extra = workflow.get("extra")
    known = extra.get("groupNodes") if isinstance(extra, dict) else None
    if not isinstance(known, dict) or not known:
        return {}
    groups = Groups(known, object_info)
    subgraphs = (workflow.get("definitions") or {}).get("subgraphs") or []
    for graph in [workflow, *subgraphs]:
        for node in graph.get("nodes") or []:
            groups.find(node["type"], 0)
    return {kind: group[:2] for kind, group in groups.found.items() if group is not None}


class Groups:
    """The groups of a file, each written out once. found: None while it is being written."""

    def __init__(self, known: Json, object_info: Json) -> None:
        self.known, self.object_info = known, object_info
        self.found: dict[str, Group | None] = {}
        self.nodes = self.links = self.parts = self.named = 0

    def find(self, kind: str, depth: int) -> Group | None:
        """The group that nodes of a type are of; None for a type that is none."""
        name = next((kind[len(prefix) :] for prefix in PREFIXES if kind.startswith(prefix)), None)
        if name is None or name not in self.known or kind in self.object_info:
            return None
        shown = shown_text(name, SHOWN)
        if kind not in self.found:
            if depth > DEEPEST:
                raise WorkflowError.one("Bad workflow", f"it has more than {DEEPEST} group nodes in each other")
            self.found[kind] = None
            nodes, links = self._checked(self.known[name], f"group node {shown}")
            self.found[kind] = Writer(self, nodes, links, self.known[name], depth).written(name)
        if self.found[kind] is None:
            raise WorkflowError.one("Bad workflow", f"group node {shown} contains itself")
        return self.found[kind]

    def take(self, parts: int = 0, signs: int = 0) -> None:
        """Counts what groups show, and how long the names of it are. Raises WorkflowError where it is too much."""
        self.parts, self.named = self.parts + parts, self.named + signs
        if self.parts > MOST_PARTS or self.named > MOST_BYTES:
            many = f"{MOST_PARTS:,} inputs and outputs, or names of {MOST_BYTES >> 20} MB"
            raise WorkflowError.one("Bad workflow", f"its group nodes have more than {many}, the most that are read")

    def _checked(self, group: Any, where: str) -> tuple[list[Json], list[list]]:
        held = [group.get(key) or [] for key in ("nodes", "links")] if isinstance(group, dict) else [None, None]
        nodes, links = held
        if not isinstance(nodes, list) or not isinstance(links, list):
            raise WorkflowError.one("Bad workflow", f"{where} is not defined by lists of nodes and links")
        self.nodes, self.links = self.nodes + len(nodes), self.links + len(links)
        if self.nodes > MOST_NODES or self.links > MOST_LINKS:
            many = f"{MOST_NODES:,} nodes or {MOST_LINKS:,} links"
            raise WorkflowError.one("Bad workflow", f"its group nodes hold more than {many}, the most that are read")
        copies = []
        for place, node in enumerate(nodes):
            copies.append({**node, "id": place} if isinstance(node, dict) else node)
            check_node(copies[-1])
            entries = (node.get("inputs") or []) if node["type"] not in NOTES else []
            copies[-1]["inputs"] = [{**entry, "link": None} for entry in entries]
        return copies, [link for link in links if _is_inside(link, len(nodes))]


def _is_inside(link: Any, count: int) -> bool:
    """Whether a link is one between nodes of the group; the others are left of what was around it."""
    ends = link[:4] if isinstance(link, list) and len(link) >= 4 else []
    numbers = all(isinstance(end, int) and not isinstance(end, bool) and end >= 0 for end in ends)
    return bool(ends) and numbers and max(ends[0], ends[2]) < count


class Writer:
    """Writes one group as a subgraph: its slots, widgets and outputs, in the order that the front end gives them."""

    def __init__(self, groups: Groups, nodes: list[Json], links: list[list], defined: Json, depth: int) -> None:
        self.groups, self.nodes, self.depth = groups, nodes, depth
        self.config = defined["config"] if isinstance(defined.get("config"), dict) else {}
        self.links = [[number, *link[:4]] for number, link in enumerate(links)]
        self.kinds = {(link[0], link[1]): link[5] for link in links if len(link) > 5}
        self.feeding = {(target, slot): origin for _, origin, _, target, slot in self.links}
        self.fed = {(origin, slot) for _, origin, slot, _, _ in self.links}
        self.led: dict[int, list[tuple[int, int]]] = {}
        for _, origin, _, target, slot in self.links:
            self.led.setdefault(origin, []).append((target, slot))
        external = defined["external"] if isinstance(defined.get("external"), list) else []
        self.external = {_external(entry) for entry in external if isinstance(entry, list)}
        self.labels: dict[int, Json] = {}
        self.seen: dict[str, int] = {}
        self.inputs: list[str] = []
        self.shown: list[Shown | None] = []
        self.parts: list[Part] = []

    def written(self, name: str) -> Group:
        for number, *_, target, slot in self.links:
            self._entry(target, slot)["link"] = number
        outputs, later = [], []
        for number, node in enumerate(self.nodes):
            parts, given = self._class_of(number, node)
            self.groups.take(len(parts) + len(given))
            became_inputs = self._became_inputs(node)
            places = {entry.get("name"): slot for slot, entry in enumerate(node["inputs"])}
            places |= {part.name: 0 for part in parts if node["type"] == "Reroute"}  # whose input has no name
            for part in parts:
                if part.values and part.name not in became_inputs:
                    self._show_widget(number, part)
            for part in parts:
                if not part.values and (number, places.get(part.name)) not in self.feeding:
                    self._show_input(number, part, places)
            later.append([(number, part, places) for part in parts if part.name in became_inputs and part.values])
            later[-1].sort(
                key=lambda found: str(found[2][found[1].name])
            )  # as text, which is how they are sorted there
            outputs += [(number, slot, kind) for slot, kind in enumerate(given) if self._is_shown(number, slot)]
        for number, part, places in (found for node in later for found in node):
            if (number, places[part.name]) not in self.feeding:
                self._show_input(number, part, places, self._show_widget(number, part))
        ends = [[len(self.links) + i, number, slot, SUBGRAPH_OUTPUT, i] for i, (number, slot, _) in enumerate(outputs)]
        graph = {
            "id": name,
            "name": name,
            "nodes": self.nodes,
            "links": self.links + ends,
            "inputs": [{"name": shown} for shown in self.inputs],
        }
        return Group(graph, tuple(self.shown), self.parts, [kind for *_, kind in outputs])

    def _entry(self, number: int, slot: int, name: str = "", kind: Any = "*") -> Json:
        """An input of a node, which a file may not have where nothing was linked."""
        entries = self.nodes[number]["inputs"]
        if slot > len(entries):
            raise WorkflowError.one("Bad workflow", f"a link in a group node leads to input {slot} of node {number}")
        if slot == len(entries):
            entries.append({"name": name, "type": kind, "link": None})
        return entries[slot]

    def _class_of(self, number: int, node: Json) -> tuple[list[Part], list[Any]]:
        """Inputs and outputs of a node of the group."""
        group = self.groups.find(node["type"], self.depth + 1)
        if group is not None:
            return group.parts, group.outputs
        if node["type"] in OWN_CLASSES:
            return OWN_CLASSES[node["type"]](self, number, node)
        info = self.groups.object_info.get(node["type"])
        return (_declared(info), list(info.get("output") or ())) if info else _unknown(node)

    def primitive(self, number: int, node: Json) -> tuple[list[Part], list[Any]]:
        kind = self.kinds.get((number, 0))
        return ([Part("value", kind, 1 + CONTROLS.get(str(kind), 0))], [kind]) if (number, 0) in self.fed else ([], [])

    def reroute(self, number: int, node: Json) -> tuple[list[Part], list[Any]]:
        if (number, 0) in self.fed and (number, 0) in self.feeding and (number, 0) not in self.external:
            return [], []
        return [Part(str(kind := self._kind_through(number)), kind)], [kind]

    def _kind_through(self, number: int) -> Any:
        """The type of what a reroute leads on."""
        for target, slot in self.led.get(number, ()):
            entry = self._entry(target, slot)
            if entry.get("type") not in ("*", None):
                return entry["type"]
        given = self.nodes[number].get("outputs") or [{}]
        return self.kinds.get((number, 0)) or given[0].get("type") or "*"

    def _became_inputs(self, node: Json) -> set[str]:
        entries = [entry for entry in node["inputs"] if isinstance(entry.get("widget"), dict)]
        return {
            entry["name"] for entry in entries if entry.get("name") and entry["widget"].get("name") == entry["name"]
        }

    def _is_shown(self, number: int, slot: int) -> bool:
        visible = self._setting(number, "output", str(slot)).get("visible")
        return (number, slot) not in self.fed or (number, slot) in self.external if visible is None else bool(visible)

    def _show_widget(self, number: int, part: Part) -> str:
        name = self._name(number, part.name)
        self.parts.append(part._replace(name=name))
        self.shown += [Shown(name, (str(number), part.name)), *[None] * (part.values - 1)]
        return name

    def _show_input(self, number: int, part: Part, places: dict, name: str | None = None) -> None:
        shown = self._name(number, part.name) if name is None else name
        if name is None and self._setting(number, "input", part.name).get("visible") is False:
            return
        if name is None:
            self.parts.append(Part(shown, part.kind))
        entries = self.nodes[number]["inputs"]
        place = places.get(part.name, len(entries))
        link = len(self.links)
        self.links.append([link, SUBGRAPH_INPUT, len(self.inputs), number, place])
        self._entry(number, place, part.name, part.kind)["link"] = link
        self.inputs.append(shown)

    def _setting(self, number: int, side: str, key: str) -> Json:
        found: Any = self.config
        for step in (str(number), side, key):
            found = found.get(step) if isinstance(found, dict) else None
        return found if isinstance(found, dict) else {}

    def _name(self, number: int, name: str) -> str:
        """The name that the front end gives to what a group shows: with the node before it where it is taken."""
        node = self.nodes[number]
        if number not in self.labels:
            self.labels[number] = {entry.get("name"): entry.get("label") for entry in reversed(node["inputs"])}
        label = self.labels[number].get(name)
        shown = key = str(self._setting(number, "input", name).get("name") or label or name)
        if shown in self.seen or (node["type"] == PRIMITIVE and node.get("title")):
            before = node.get("title") or node["type"]
            shown = key = f"{before} {name}"
            if shown in self.seen:
                shown = f"{before} {self.seen[shown]} {name}"
        self.groups.take(signs=len(shown))
        self.seen[key] = self.seen.get(key, 1) + 1
        return shown


OWN_CLASSES = {PRIMITIVE: Writer.primitive, "Reroute": Writer.reroute}


def _external(entry: list) -> tuple[Any, Any]:
    """Node and output of a link that led out of the group; its node is written out where the group was managed."""
    number, slot = [*entry, None, None][:2]
    number = number.get("index") if isinstance(number, dict) else number
    return (number if isinstance(number, int) else None), (slot if isinstance(slot, int) else None)


def _declared(info: Json) -> list[Part]:
    runs: list[list[str | None]] = []
    for slot in specs.widget_slots(info):
        runs += [[slot]] if slot is not None or not runs else []
        runs[-1] += [slot] if slot is None else []
    taken = {run[0]: len(run) for run in runs}
    return [Part(name, specs.kind(spec), taken.get(name, 0)) for name, spec in specs.inputs(info).items()]


def _unknown(node: Json) -> tuple[list[Part], list[Any]]:
    """Of a node whose class is not there: as much as its own file says."""
    entries: Iterable[Json] = node["inputs"]
    slots = [Part(str(entry.get("name")), entry.get("type")) for entry in entries if not entry.get("widget")]
    values: Iterator[int] = iter(range(len(node.get("widgets_values") or ())))
    outputs = [entry.get("type") for entry in node.get("outputs") or []]
    return [*slots, *(Part(f"value {number}", "*", 1) for number in values)], outputs
