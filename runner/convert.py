"""Workflow JSON of the front end (UI format) -> prompt JSON of the server (API format).

Follows the front end's `graphToPrompt`: widgets by position, reroutes and bypassed nodes looked through,
muted nodes left out with every link from them, primitives copied into the widgets that they feed,
subgraphs expanded to nodes named `outer:inner`, texts filled in as `widgets` has it.
"""

from __future__ import annotations

import logging

from . import specs, unknown
from .graph import BYPASSED, MUTED, Scope, mode, open_graph
from .links import VIRTUAL, Constant, Origin, Sources
from .problems import Json, WorkflowError
from .separators import Separators
from .shape import is_ui_format, with_own_nodes
from .widgets import Filling, saved_values

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
        values, extra = saved_values(node, classes[node["type"]])
        if extra:
            surplus.append(f"{scope.label(node)} holds {extra} more widget values than it has widgets.")
        prompt[scope.full_id(node)] = {
            "inputs": filling.inputs(scope, node, values, _linked(scope, node, sources)),
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


def _linked(scope: Scope, node: Json, sources: Sources) -> dict[str, Origin | Constant]:
    """What feeds a node, by the names of its inputs."""
    found = {entry.get("name"): sources.of(scope, node, slot) for slot, entry in enumerate(node.get("inputs") or [])}
    return {name: source for name, source in found.items() if source is not None and name is not None}


def _warn(lines: list[str]) -> None:
    for line in lines[:SHOWN_WARNINGS]:
        log.warning("%s", line)
    if len(lines) > SHOWN_WARNINGS:
        log.warning("And %d more of the kind.", len(lines) - SHOWN_WARNINGS)
