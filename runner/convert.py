"""Workflow JSON of the front end (UI format) -> prompt JSON of the server (API format).

Follows the front end's `graphToPrompt`: widgets by position, bypassed nodes and those of the browser alone looked
through, muted nodes left out with every link from them, primitives copied into the widgets that they feed,
subgraphs and old group nodes expanded to nodes named `outer:inner`, texts filled in as `widgets` has it. A node of
unknown class is left out, with a warning, where nothing that is made depends on it.
"""

from __future__ import annotations

import logging

from . import specs, unknown
from .browser_nodes import is_for_people
from .graph import BYPASSED, MUTED, Scope, mode, open_graph
from .links import Sources
from .problems import Json, WorkflowError
from .separators import Separators
from .shape import is_ui_format, with_own_nodes
from .validate import needed
from .widgets import Filling, saved_values

log = logging.getLogger(__name__)

SHOWN_WARNINGS = 20


def to_api(workflow: Json, object_info: Json, draw: int = 0, server: bool = False) -> Json:
    """Convert a workflow to API format; one that already is in API format comes back as a copy, with its choices as
    they are called here.

    `object_info` has the shape of GET /object_info; server: whether it is a server's. draw: the number that decides on
    alternatives {a|b}. Values are shared with the workflow. Raises WorkflowError for nodes that do not exist and are
    needed, and for links that lead nowhere; `validate` judges everything else.
    """
    classes = specs.Classes(object_info)
    prompt = _converted(workflow, classes, draw, server) if is_ui_format(workflow) else with_own_nodes(workflow)
    Separators(classes).fit(prompt)
    return prompt


def _converted(workflow: Json, classes: specs.Classes, draw: int, server: bool) -> Json:
    object_info = classes.object_info
    prompt: Json = {}
    absent: dict[str, unknown.Unknown] = {}
    surplus: list[str] = []
    left_out: list[str] = []
    made: dict[str, tuple[Scope, Json]] = {}
    off: list[str] = []
    top = open_graph(workflow, object_info)
    sources = Sources(top, object_info)
    filling = Filling(top, classes, sources, draw)
    for scope, node in top.walk():
        info, node_id = object_info.get(node["type"]), scope.full_id(node)
        if not scope.enabled or sources.kind(scope, node) is not None or mode(node) in (MUTED, BYPASSED):
            off += [scope.label(node)] if info and info.get("output_node") else []
            continue
        made[node_id] = scope, node
        if info is None:
            absent[node_id] = unknown.Unknown(node_id, node["type"], node.get("properties"))
            left_out += [] if is_for_people(node) else [scope.label(node)]
            prompt[node_id] = {"inputs": filling.inputs(scope, node, {}), "class_type": node["type"]}
            continue
        values, extra = saved_values(node, classes[node["type"]])
        if extra:
            surplus.append(f"{scope.label(node)} holds {extra} more widget values than it has widgets.")
        values |= {name: value for name, value in scope.values(node).items() if name in values}
        prompt[node_id] = {
            "inputs": filling.inputs(scope, node, values),
            "class_type": node["type"],
            "_meta": {"title": node.get("title") or info.get("display_name") or node["type"]},
        }
    ends = [node_id for node_id, node in prompt.items() if object_info.get(node["class_type"], {}).get("output_node")]
    _refuse_needed(prompt, absent, ends, object_info, server)
    _warn(surplus, "So do {} more nodes.")
    why = "is left out, and what it would make or do is not made: there is no node of its class here"
    _warn([f"{label} {why}." for label in left_out], "So are {} more nodes.")
    _warn([*sources.told, *_unsent(top), *filling.told], "And {} more of that kind.")
    hidden = [] if ends else [f"{label} is muted or bypassed, or lies in what is." for label in off]
    _warn(hidden or _unfed(prompt, ends, made, classes, sources), "And {} more of that kind.")
    prompt = {node_id: node for node_id, node in prompt.items() if node_id not in absent}
    for node in prompt.values():
        node["inputs"] = {k: v for k, v in node["inputs"].items() if not isinstance(v, list) or v[0] in prompt}
    return prompt


def _refuse_needed(
    prompt: Json, absent: dict[str, unknown.Unknown], ends: list[str], object_info: Json, server: bool
) -> None:
    """Raises WorkflowError with the nodes of unknown class that an output needs; with all where there is no output."""
    order = needed(prompt, ends or list(absent)) if absent else []
    missing = [absent[node_id] for node_id in order if node_id in absent]
    if missing:
        raise WorkflowError(unknown.problems(missing, object_info, server))


def _unfed(
    prompt: Json, ends: list[str], made: dict[str, tuple[Scope, Json]], classes: specs.Classes, sources: Sources
) -> list[str]:
    """Of inputs that outputs cannot do without and that a muted or bypassed node would feed, a sentence each."""
    found = []
    for scope, node in (made[node_id] for node_id in needed(prompt, ends)):
        lacking = classes[node["type"]].required - prompt[scope.full_id(node)]["inputs"].keys()
        for slot, entry in enumerate(node.get("inputs") or []):
            why = sources.switched_off(scope, node, slot) if entry.get("name") in lacking else ""
            found += [f"{entry['name']} of {scope.label(node)} is not fed, since {why}."] if why else []
    return found


def _unsent(top: Scope) -> list[str]:
    """Of nodes whose links the browser makes by rules that are not followed."""
    found, todo = [], [top]
    while todo:
        scope = todo.pop()
        todo += scope.inside.values()
        why = "sends to other nodes in the browser, by a rule that is not followed here: save the file there once more"
        found += [f"{scope.label(node)} {why}." for node in scope.graph.unsent if scope.enabled]
    return found


def _warn(lines: list[str], rest: str) -> None:
    for line in lines[:SHOWN_WARNINGS]:
        log.warning("%s", line)
    if len(lines) > SHOWN_WARNINGS:
        log.warning("%s", rest.format(len(lines) - SHOWN_WARNINGS))
