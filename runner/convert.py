"""Workflow JSON of the front end (UI format) -> prompt JSON of the server (API format).

Follows the front end's `graphToPrompt`: widgets by position, bypassed nodes and those of the browser alone looked
through, muted nodes left out with every link from them, primitives copied into the widgets that they feed,
subgraphs and old group nodes expanded to nodes named `outer:inner`. A node of unknown class is left out, with a
warning, where nothing that is made depends on it.
"""

from __future__ import annotations

import logging
from typing import Any

from . import specs
from .browser_nodes import is_for_people
from .graph import BYPASSED, MUTED, Scope, mode, open_graph
from .links import Constant, Origin, Sources
from .problems import Json, Problem, WorkflowError
from .shape import is_ui_format, with_own_nodes
from .validate import needed

log = logging.getLogger(__name__)

SHOWN_WARNINGS = 20


def to_api(workflow: Json, object_info: Json) -> Json:
    """Convert a workflow to API format; one that already is in API format comes back as a copy.

    `object_info` has the shape of GET /object_info. Values are shared with the workflow. Raises WorkflowError for nodes
    that do not exist and are needed, and for links that lead nowhere; `validate` judges everything else.
    """
    if not is_ui_format(workflow):
        return with_own_nodes(workflow)
    prompt: Json = {}
    unknown: dict[str, Problem] = {}
    surplus: list[str] = []
    left_out: list[str] = []
    top = open_graph(workflow, object_info)
    sources, classes = Sources(top, object_info), specs.Classes(object_info)
    for scope, node in top.walk():
        if not scope.enabled or sources.kind(scope, node) is not None or mode(node) in (MUTED, BYPASSED):
            continue
        info = object_info.get(node["type"])
        if info is None:
            message = f"Cannot execute because node {node['type']} does not exist"
            unknown[scope.full_id(node)] = Problem(message, f"Node ID '#{scope.full_id(node)}'")
            left_out += [] if is_for_people(node) else [scope.label(node)]
            prompt[scope.full_id(node)] = {"inputs": _linked(scope, node, sources), "class_type": node["type"]}
            continue
        values, extra = _widget_values(node, classes[node["type"]])
        if extra:
            surplus.append(f"{scope.label(node)} holds {extra} more widget values than it has widgets.")
        values |= {name: value for name, value in scope.values(node).items() if name in values}
        prompt[scope.full_id(node)] = {
            "inputs": {name: _held(value) for name, value in values.items()} | _linked(scope, node, sources),
            "class_type": node["type"],
            "_meta": {"title": node.get("title") or info.get("display_name") or node["type"]},
        }
    _refuse_needed(prompt, unknown, object_info)
    _warn(surplus, "So do {} more nodes.")
    why = "is left out, and what it would make or do is not made: there is no node of its class here"
    _warn([f"{label} {why}." for label in left_out], "So are {} more nodes.")
    _warn([*sources.told, *_unsent(top)], "And {} more of that kind.")
    prompt = {node_id: node for node_id, node in prompt.items() if node_id not in unknown}
    for node in prompt.values():
        node["inputs"] = {k: v for k, v in node["inputs"].items() if not isinstance(v, list) or v[0] in prompt}
    return prompt


def _refuse_needed(prompt: Json, unknown: dict[str, Problem], object_info: Json) -> None:
    """Raises WorkflowError with the nodes of unknown class that an output needs; with all where there is no output."""
    known = ((node_id, object_info.get(node["class_type"])) for node_id, node in prompt.items())
    ends = [node_id for node_id, info in known if info and info.get("output_node")] if unknown else []
    missing = [unknown[node_id] for node_id in needed(prompt, ends or list(unknown)) if node_id in unknown]
    if missing:
        raise WorkflowError(missing)


def _unsent(top: Scope) -> list[str]:
    """Of nodes whose links the browser makes by rules that are not followed."""
    found, todo = [], [top]
    while todo:
        scope = todo.pop()
        todo += scope.inside.values()
        why = "sends to other nodes in the browser, by a rule that is not followed here: save the file there once more"
        found += [f"{scope.label(node)} {why}." for node in scope.graph.unsent if scope.enabled]
    return found


def _held(value: Any) -> Any:
    """A value as prompts hold it, where a list is a link."""
    return {"__value__": value} if isinstance(value, list) else value


def _widget_values(node: Json, declared: specs.Declared) -> tuple[Json, int]:
    """Values by name, and how many the node holds beyond."""
    values, slots = dict(declared.defaults), declared.slots
    saved = node.get("widgets_values") or []
    if isinstance(saved, dict):
        return values | {name: value for name, value in saved.items() if name in values}, 0
    values.update({name: value for name, value in zip(slots, saved, strict=False) if name is not None})
    return values, max(0, len(saved) - len(slots))


def _linked(scope: Scope, node: Json, sources: Sources) -> Json:
    found: Json = {}
    for slot, entry in enumerate(node.get("inputs") or []):
        source = sources.of(scope, node, slot)
        if isinstance(source, Origin):
            found[entry.get("name")] = [source.node_id, source.slot]
        elif isinstance(source, Constant):
            found[entry.get("name")] = _held(source.value)
    found.pop(None, None)
    return found


def _warn(lines: list[str], rest: str) -> None:
    for line in lines[:SHOWN_WARNINGS]:
        log.warning("%s", line)
    if len(lines) > SHOWN_WARNINGS:
        log.warning("%s", rest.format(len(lines) - SHOWN_WARNINGS))
