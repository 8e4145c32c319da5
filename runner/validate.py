"""Judges a prompt in API format before anything runs, with the rules and the words of POST /prompt."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from difflib import get_close_matches
from typing import Any

from . import specs, unknown
from .problems import Json, Problem, listing, title_of
from .shape import MOST_NODES

Custom = Callable[[str], Callable[..., Any] | None]
SHOWN_CHOICES = 20
LONGEST_CHOICE = 200  # characters of one that is compared with others
MOST_COMPARED = 1000


def validate(prompt: Json, object_info: Json, *, values: bool = True, custom: Custom | None = None) -> list[Problem]:
    """Problems of the nodes that outputs depend on; an empty list means that the prompt can run.

    `values=False` leaves ranges and combos to the server, which alone knows each node's VALIDATE_INPUTS;
    `custom` gives that function by class where it is at hand.
    """
    problems = _shape(prompt, object_info, server=not values)
    if problems:
        return problems
    ends = [node_id for node_id, node in prompt.items() if object_info[node["class_type"]].get("output_node")]
    if not ends:
        return [Problem("Prompt has no outputs", "no node of the workflow saves or shows anything")]
    classes, order = specs.Classes(object_info), needed(prompt, ends)
    links = [problem for node_id in order for problem in _links(prompt, node_id, classes)]
    loop = [] if links else find_cycle(prompt, ends)
    if loop:
        return [Problem("Dependency cycle detected", " -> ".join(loop))]
    return links + _values_of(prompt, order, classes, values, custom)


def needed(prompt: Json, ends: list[str], feeding: Callable[[Json, str], list[str]] | None = None) -> list[str]:
    """Nodes that the given ones depend on, and these, each after everything that feeds it. feeding: what feeds a node,
    where that is not all its links."""
    feeding = feeding or sources
    order: list[str] = []
    seen: set[str] = set()
    stack = [(node_id, False) for node_id in reversed(ends)]
    while stack:
        node_id, fed = stack.pop()
        if fed:
            order.append(node_id)
        elif node_id not in seen:
            seen.add(node_id)
            stack.append((node_id, True))
            stack += [(source, False) for source in reversed(feeding(prompt, node_id)) if source not in seen]
    return order


def find_cycle(prompt: Json, ends: list[str]) -> list[str]:
    """Ids around one cycle, the first repeated at the end; empty if there is none."""
    done: set[str] = set()
    for end in ends:
        path: dict[str, None] = {end: None}  # ordered, and quick to look into
        todo = [iter(sources(prompt, end))]
        while todo:
            source = next(todo[-1], None)
            if source is None:
                todo.pop()
                done.add(path.popitem()[0])
            elif source in path:
                around = list(path)
                return [*around[around.index(source) :], source]
            elif source not in done:
                path[source] = None
                todo.append(iter(sources(prompt, source)))
    return []


def sources(prompt: Json, node_id: str, but: Collection[str] = ()) -> list[str]:
    """The nodes that its inputs are linked to, those of the names `but` left out."""
    inputs = prompt[node_id]["inputs"].items()
    links = [value for name, value in inputs if name not in but and isinstance(value, list) and len(value) == 2]
    return [str(link[0]) for link in links if str(link[0]) in prompt]


def _shape(prompt: Any, object_info: Json, server: bool) -> list[Problem]:
    if not isinstance(prompt, dict) or not prompt:
        return [Problem("No prompt provided", "the workflow holds no nodes")]
    if len(prompt) > MOST_NODES:
        return [Problem("Bad workflow", f"it holds {len(prompt):,} nodes, and at most {MOST_NODES:,} are run")]
    problems, absent = [], []
    for node_id, node in prompt.items():
        if not isinstance(node, dict) or not isinstance(node.get("class_type"), str):
            message = "Cannot execute because a node is missing the class_type property"
            problem = Problem(message, f"Node ID '#{node_id}'")
        elif node["class_type"] not in object_info:
            absent.append(unknown.Unknown(node_id, node["class_type"]))
            continue
        elif not isinstance(node.get("inputs"), dict):
            problem = _problem(prompt, node_id, "Bad node", "inputs is missing, or not an object")
        else:
            continue
        problems.append(problem)
    return problems + unknown.problems(absent, object_info, server)


def _links(prompt: Json, node_id: str, classes: specs.Classes) -> list[Problem]:
    node = prompt[node_id]
    known = classes[node["class_type"]].inputs
    problems = []
    for name, value in node["inputs"].items():
        if name in known and isinstance(value, list):
            fault = _link_fault(prompt, name, value, classes.object_info)
            problems += [_problem(prompt, node_id, *fault)] if fault else []
    return problems


def _link_fault(prompt: Json, name: str, link: list, object_info: Json) -> tuple[str, str] | None:
    if len(link) != 2 or isinstance(link[1], bool) or not isinstance(link[1], int):
        return "Bad linked input, must be a length-2 list of [node_id, slot_index]", f"{name} holds {link}"
    source = prompt.get(str(link[0]))
    if source is None:
        return "Linked node does not exist", f"{name} is linked to node {link[0]}"
    outputs = object_info[source["class_type"]].get("output") or []
    if not 0 <= link[1] < len(outputs):
        count = f"{len(outputs)} output" + "s" * (len(outputs) != 1)
        where = f"slot {link[1]} of node {link[0]} ({source['class_type']}), which has {count}"
        return "Linked output does not exist", f"{name} is linked to {where}"
    return None


def _values_of(
    prompt: Json, order: list[str], classes: specs.Classes, values: bool, custom: Custom | None
) -> list[Problem]:
    kinds = {prompt[node_id]["class_type"] for node_id in order}
    checks = {kind: Check(custom(kind) if custom else None) for kind in kinds}
    return [problem for node_id in order for problem in _node(prompt, node_id, classes, values, checks)]


class Check:
    """A class's VALIDATE_INPUTS, if it has one. own: the inputs that it judges by name."""

    def __init__(self, function: Callable[..., Any] | None) -> None:
        self.function = function
        parameters = inspect.signature(function).parameters.values() if function else ()
        self.own = {p.name for p in parameters if p.kind != p.VAR_KEYWORD}
        self.takes_all = any(p.kind == p.VAR_KEYWORD for p in parameters)

    def faults(self, arguments: Json, received: Json) -> list[tuple[str, str]]:
        if self.function is None:
            return []
        if not self.takes_all:
            arguments = {name: arguments.get(name) for name in self.own}
        if "input_types" in arguments:
            arguments = {**arguments, "input_types": received}
        try:
            answer = self.function(**arguments)
        except Exception as error:  # a node's own code, which values of any shape may be too much for
            answer = f"{type(error).__name__}: {error}"
        if answer is True:
            return []
        names = ", ".join(name for name in arguments if name != "input_types")
        return [("Custom validation failed for node", names if answer is False else f"{names} - {answer}")]


def _node(prompt: Json, node_id: str, classes: specs.Classes, values: bool, checks: dict[str, Check]) -> list[Problem]:
    class_type, given = prompt[node_id]["class_type"], prompt[node_id]["inputs"]
    declared, check, object_info = classes[class_type], checks[class_type], classes.object_info
    faults: list[tuple[str, str]] = []
    received: dict[str, Any] = {}
    arguments: dict[str, Any] = {}
    for name, spec in declared.inputs.items():
        if name not in given:
            faults += [("Required input is missing", name)] if name in declared.required else []
            continue
        value = given[name]
        if isinstance(value, list):
            if _link_fault(prompt, name, value, object_info):
                continue
            received[name] = output_type(prompt, value, object_info)
            if "input_types" not in check.own and not type_fits(received[name], spec):
                details = f"{name}, received_type({received[name]}) mismatch input_type({specs.kind(spec)})"
                faults.append(("Return type mismatch between linked nodes", details))
            arguments[name] = None
            continue
        try:
            arguments[name] = specs.coerce(value, spec)
        except (TypeError, ValueError, OverflowError) as error:
            message = f"Failed to convert an input value to a {specs.kind(spec)} value"
            faults.append((message, f"{name}, {value}, {error}"))
            continue
        if values and name not in check.own and not check.takes_all:
            fault = _value_fault(name, arguments[name], spec)
            faults += [fault] if fault else []
    if not faults:
        faults += check.faults(arguments, received)
    return [_problem(prompt, node_id, *fault) for fault in faults]


def output_type(prompt: Json, link: list, object_info: Json) -> Any:
    return object_info[prompt[str(link[0])]["class_type"]]["output"][link[1]]


def type_fits(received: Any, spec: specs.Spec) -> bool:
    """The host's rule: equal, or a type in common where either lists several; `*` fits everything."""
    wanted = spec[0]
    if isinstance(received, (list, tuple)) or isinstance(wanted, (list, tuple)):
        listed = [list(kind) if isinstance(kind, (list, tuple)) else kind for kind in (received, wanted)]
        return listed[0] == listed[1] or "*" in listed or "COMBO" in listed
    if "*" in (received, wanted):
        return True
    left, right = ({part.strip() for part in str(kind).split(",")} for kind in (received, wanted))
    return not left.isdisjoint(right)


def _value_fault(name: str, value: Any, spec: specs.Spec) -> tuple[str, str] | None:
    limits, kind, allowed = specs.options(spec), specs.kind(spec), specs.choices(spec)
    if kind in ("INT", "FLOAT"):
        if "min" in limits and value < limits["min"]:
            return f"Value {value} smaller than min of {limits['min']}", name
        if "max" in limits and value > limits["max"]:
            return f"Value {value} bigger than max of {limits['max']}", name
    elif allowed is not None and value not in allowed:
        held = f"{name}: '{value}' not in [{listing(map(repr, allowed), SHOWN_CHOICES)}]"
        return "Value not in list", held + _nearest(value, allowed)
    elif kind not in specs.WIDGET_TYPES:
        return "Bad linked input", f"{name} takes a link from a {kind} output, and holds the value {value!r}"
    return None


def _nearest(value: Any, allowed: Any) -> str:
    """What may have been meant, where the list is too long to be told."""
    texts = [choice for choice in allowed if isinstance(choice, str)]
    if len(texts) <= SHOWN_CHOICES or not isinstance(value, str) or len(value) > LONGEST_CHOICE:
        return ""
    near = get_close_matches(value, texts[:MOST_COMPARED], 1)
    return f"; the nearest is {near[0]!r}" if near else ""


def _problem(prompt: Json, node_id: str, message: str, details: str = "") -> Problem:
    return Problem(message, details, str(node_id), prompt[node_id]["class_type"], title_of(prompt, node_id))
