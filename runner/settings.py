"""`--set NODE.INPUT=VALUE`: changes one widget of a workflow before it runs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from . import specs
from .browser_nodes import PRIMITIVE
from .graph import Scope, open_graph
from .problems import Json, WorkflowError, listing, name_node, title_of
from .promoted import Held
from .separators import by_plain_name, fitted, plain
from .shape import SUBGRAPH_INPUT, is_ui_format, with_own_nodes

TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True)
class Target:
    """A node as it can be addressed; `node` is its entry in the workflow, `linked` its inputs that are fed, `shown` its
    widgets that uses of the subgraphs around it show, with the places that keep their values."""

    node_id: str
    class_type: str
    title: str
    node: Json
    linked: dict[str, str]
    shown: dict[str, Held] = field(default_factory=dict)

    def __str__(self) -> str:
        return name_node(self.node_id, self.class_type, self.title)


def apply_settings(graph: Json, settings: Iterable[str], object_info: Json) -> Json:
    """The workflow (either format) with the settings made, in a copy if there are any. Raises WorkflowError."""
    settings = list(settings)
    if not settings:
        return graph
    graph = with_own_nodes(graph)
    ui = is_ui_format(graph)
    targets = _ui_targets(graph, object_info) if ui else _api_targets(graph)
    for setting in settings:
        path, equals, text = setting.partition("=")
        node_name, dot, input_name = path.rpartition(".")
        if not equals or not dot or not node_name or not input_name:
            raise WorkflowError.one(f"--set takes NODE.INPUT=VALUE, not {setting!r}")
        target = _find(targets, from_command_line(node_name.strip()))
        write = _write_primitive if target.class_type == PRIMITIVE else _write_ui if ui else _write_api
        write(target, input_name.strip(), text, object_info)
    return graph


def _ui_targets(graph: Json, object_info: Json) -> list[Target]:
    targets = []
    for scope, node in open_graph(graph, object_info).walk():
        title = node.get("title") or object_info.get(node["type"], {}).get("display_name") or ""
        shown = {name: places[0] for name, places in scope.places.get(str(node["id"]), {}).items()}
        linked: dict[str, str] = {}
        for slot, entry in enumerate(node.get("inputs") or []):
            link = scope.link(node, slot)
            if link is not None and link.origin == SUBGRAPH_INPUT and scope.instance is not None:
                _add_outer(scope, link.origin_slot, entry.get("name"), shown, linked)
            elif link is not None:
                linked[entry.get("name")] = f"node {scope.path}{link.origin}"
        targets.append(Target(scope.full_id(node), node["type"], title, node, linked, shown))
    return targets


def _add_outer(scope: Scope, slot: int, name: str, shown: dict[str, Held], linked: dict[str, str]) -> None:
    """What the input of a subgraph says of an input inside, however many subgraphs it leads out of: what it is linked
    to where it is used, or the value that it has there."""
    assert scope.parent is not None and scope.instance is not None
    number = scope.outside(slot)
    if number is None:
        return
    link = scope.parent.link(scope.instance, number)
    if link is not None and link.origin == SUBGRAPH_INPUT and scope.parent.instance is not None:
        _add_outer(scope.parent, link.origin_slot, name, shown, linked)
    elif link is not None:
        linked[name] = f"node {scope.parent.path}{link.origin}"
    elif number in scope.held:
        shown[name] = scope.held[number][0]


def _api_targets(graph: Json) -> list[Target]:
    targets = []
    for node_id, node in graph.items():
        if isinstance(node, dict) and isinstance(node.get("inputs"), dict):
            linked = {name: f"node {v[0]}" for name, v in node["inputs"].items() if isinstance(v, list) and v}
            targets.append(Target(node_id, str(node.get("class_type")), title_of(graph, node_id), node, linked))
    return targets


def _find(targets: list[Target], name: str) -> Target:
    for key in ("node_id", "title", "class_type"):
        found = [target for target in targets if getattr(target, key) == name]
        if len(found) == 1:
            return found[0]
        if found:
            ids = listing(target.node_id for target in found)
            raise WorkflowError.one(f"--set: several nodes are called {name!r}, so give one of the ids {ids}")
    raise WorkflowError.one(f"--set: there is no node {name!r} in the workflow, which has {listing(targets)}")


def _spec(target: Target, name: str, object_info: Json) -> specs.Spec:
    info = object_info.get(target.class_type)
    if info is None:
        raise WorkflowError.one(f"--set: {target} cannot be set, since node {target.class_type} does not exist")
    known = specs.inputs(info)
    widgets = [key for key, spec in known.items() if specs.is_widget(spec)]
    if name not in known:
        raise WorkflowError.one(f"--set: {target} has no input {name!r}; those that can be set are {listing(widgets)}")
    if name not in widgets:
        kind = specs.kind(known[name])
        raise WorkflowError.one(
            f"--set: {name} of {target} takes a link from a {kind} output, not a value; "
            f"those that can be set are {listing(widgets)}"
        )
    if name in target.linked:
        raise WorkflowError.one(f"--set: {name} of {target} comes from {target.linked[name]}; set it there")
    return known[name]


def _write_ui(target: Target, name: str, text: str, object_info: Json) -> None:
    spec, info = _spec(target, name, object_info), object_info[target.class_type]
    value = parse(text, spec, f"{name} of {target}")
    saved = target.node.get("widgets_values") or []
    if name in target.shown:
        target.shown[name].write(value)
        return
    if isinstance(saved, dict):
        target.node["widgets_values"] = {**saved, name: value}
        return
    slots, declared = list(specs.widget_slots(info)), specs.inputs(info)
    untouched = [specs.default(declared[slot]) if slot else "fixed" for slot in slots]
    saved = [*saved, *untouched[len(saved) :]]
    saved[slots.index(name)] = value
    target.node["widgets_values"] = saved


def _write_api(target: Target, name: str, text: str, object_info: Json) -> None:
    spec = _spec(target, name, object_info)
    target.node["inputs"] = {**target.node["inputs"], name: parse(text, spec, f"{name} of {target}")}


def _write_primitive(target: Target, name: str, text: str, object_info: Json) -> None:
    if name != "value":
        raise WorkflowError.one(f"--set: {target} has no input {name!r}; the one that can be set is value")
    kind = next((output.get("type") for output in target.node.get("outputs") or []), "STRING")
    value = parse(text, [kind if kind in ("INT", "FLOAT", "BOOLEAN") else "STRING"], f"value of {target}")
    saved = target.node.get("widgets_values")
    if name in target.shown:
        target.shown[name].write(value)
        return
    target.node["widgets_values"] = [value, *(saved[1:] if isinstance(saved, list) else [])]


def is_text(text: str) -> bool:
    """Whether it has no half characters, which stand for bytes of the command line that could not be read."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def from_command_line(text: str) -> str:
    """As it was typed, in UTF-8, where Python reads the command line in another encoding; else as it is."""
    try:
        return text if is_text(text) else os.fsencode(text).decode("utf-8")
    except UnicodeError:
        return text


def parse(text: str, spec: specs.Spec, where: str) -> Any:
    """The value that a text stands for, by the input's declared type. Raises WorkflowError."""
    text = from_command_line(text)
    if not is_text(text):
        raise WorkflowError.one(f"--set: {where} is {text!r}, which holds bytes that are no text in UTF-8")
    kind, allowed = specs.kind(spec), specs.choices(spec)
    if allowed is not None:
        found = next((choice for choice in allowed if str(choice) == text), None)
        found = fitted(text, by_plain_name(allowed).get(plain(text), set())) if found is None else found
        if found not in allowed and not any(specs.options(spec).get(key) for key in specs.UPLOADS):
            raise WorkflowError.one(f"--set: {where} is {text!r}, which is not one of {listing(allowed)}")
        return found
    try:
        if kind == "INT":
            return int(text)
        if kind == "FLOAT":
            return float(text)
        if kind == "BOOLEAN":
            return TRUTH[text.strip().lower()]
    except (ValueError, KeyError):
        wanted = {"INT": "a whole number", "FLOAT": "a number", "BOOLEAN": "true or false"}[kind]
        raise WorkflowError.one(f"--set: {where} takes {wanted} ({kind}), not {text!r}") from None
    return text
