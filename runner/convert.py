"""Workflow JSON of the front end (UI format) -> prompt JSON of the server (API format).

Follows the front end's `graphToPrompt`: widgets by position, reroutes and bypassed nodes looked through,
muted nodes left out with every link from them, primitives copied into the widgets that they feed,
subgraphs expanded to nodes named `outer:inner`.
"""

from __future__ import annotations

import logging
from typing import Any

from . import specs
from .graph import BYPASSED, MUTED, Scope, mode, open_graph
from .links import VIRTUAL, Constant, Origin, Sources
from .problems import Json, Problem, WorkflowError
from .shape import is_ui_format, with_own_nodes

log = logging.getLogger(__name__)

SHOWN_WARNINGS = 20


def to_api(workflow: Json, object_info: Json) -> Json:
    """Convert a workflow to API format; one that already is in API format comes back as a copy.

    `object_info` has the shape of GET /object_info. Values are shared with the workflow. Raises WorkflowError for nodes
    that do not exist and for links that lead nowhere; `validate` judges everything else.
    """
    if not is_ui_format(workflow):
        return with_own_nodes(workflow)
    prompt: Json = {}
    unknown: list[Problem] = []
    surplus: list[str] = []
    sources, classes = Sources(), specs.Classes(object_info)
    for scope, node in open_graph(workflow).walk():
        if not scope.enabled or node["type"] in VIRTUAL or mode(node) in (MUTED, BYPASSED):
            continue
        info = object_info.get(node["type"])
        if info is None:
            message = f"Cannot execute because node {node['type']} does not exist"
            unknown.append(Problem(message, f"Node ID '#{scope.full_id(node)}'"))
            continue
        values, extra = _widget_values(node, classes[node["type"]])
        if extra:
            surplus.append(f"{scope.label(node)} holds {extra} more widget values than it has widgets.")
        prompt[scope.full_id(node)] = {
            "inputs": {name: _held(value) for name, value in values.items()} | _linked(scope, node, sources),
            "class_type": node["type"],
            "_meta": {"title": node.get("title") or info.get("display_name") or node["type"]},
        }
    if unknown:
        raise WorkflowError(unknown)
    _warn(surplus)
    for node in prompt.values():
        node["inputs"] = {k: v for k, v in node["inputs"].items() if not isinstance(v, list) or v[0] in prompt}
    return prompt


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


def _warn(lines: list[str]) -> None:
    for line in lines[:SHOWN_WARNINGS]:
        log.warning("%s", line)
    if len(lines) > SHOWN_WARNINGS:
        log.warning("So do %d more nodes.", len(lines) - SHOWN_WARNINGS)
