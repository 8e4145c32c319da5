"""Workflow JSON of the front end (UI format) -> prompt JSON of the server (API format).

Follows the front end's `graphToPrompt`: widgets by position, reroutes and bypassed nodes looked through,
muted nodes left out with every link from them, primitives copied into the widgets that they feed,
subgraphs expanded to nodes named `outer:inner`, texts filled in as `widgets` has it.
"""

from __future__ import annotations

import logging
from typing import Any

from . import specs, unknown
from .graph import BYPASSED, MUTED, Scope, mode, open_graph
from .links import VIRTUAL, Constant, Origin, Sources
from .problems import Json, WorkflowError
from .separators import Separators
from .shape import is_ui_format, with_own_nodes
from .widgets import Filling

log = logging.getLogger(__name__)

SHOWN_WARNINGS = 20


def to_api(workflow: Json, object_info: Json, draw: int = 0, server: bool = False) -> Json:
    """Convert a workflow to API format; one that already is in API format comes back as a copy, with its choices as
    they are called here.

    `object_info` has the shape of GET /object_info; server: whether it is a server's. draw: the number that decides on
    alternatives {a|b}. Values are shared with the workflow. Raises WorkflowError for nodes that do not exist and for
    links that lead nowhere; `validate` judges everything else.
    """
    classes = specs.Classes(object_info)
    prompt = _converted(workflow, classes, draw, server) if is_ui_format(workflow) else with_own_nodes(workflow)
    Separators(classes).fit(prompt)
    return prompt


def _converted(workflow: Json, classes: specs.Classes, draw: int, server: bool) -> Json:
    prompt: Json = {}
    absent: list[unknown.Unknown] = []
    surplus: list[str] = []
    root = open_graph(workflow)
    sources, filling = Sources(), Filling(root, classes, draw)
    for scope, node in root.walk():
        if not scope.enabled or node["type"] in VIRTUAL or mode(node) in (MUTED, BYPASSED):
            continue
        info = classes.object_info.get(node["type"])
        if info is None:
            absent.append(unknown.Unknown(scope.full_id(node), node["type"], node.get("properties")))
            continue
        queued = filling.of(scope, node)
        if queued.extra:
            surplus.append(f"{scope.label(node)} holds {queued.extra} more widget values than it has widgets.")
        linked = _linked(scope, node, sources)
        prompt[scope.full_id(node)] = {
            "inputs": {name: _held(value) for name, value in queued.values.items()}
            | {name: value for name, value in linked.items() if name not in queued.given},
            "class_type": node["type"],
            "_meta": {"title": node.get("title") or info.get("display_name") or node["type"]},
        }
    if absent:
        raise WorkflowError(unknown.problems(absent, classes.object_info, server))
    _warn(surplus)
    _warn(filling.names.told)
    for node in prompt.values():
        node["inputs"] = {k: v for k, v in node["inputs"].items() if not isinstance(v, list) or v[0] in prompt}
    return prompt


def _held(value: Any) -> Any:
    """A value as prompts hold it, where a list is a link."""
    return {"__value__": value} if isinstance(value, list) else value


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
        log.warning("And %d more of the kind.", len(lines) - SHOWN_WARNINGS)
