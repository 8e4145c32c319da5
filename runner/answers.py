"""What a ComfyUI server says, taken for as much as it is shaped as ComfyUI's. Whatever is not raises ValueError, or is
passed over where nothing depends on it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import islice
from typing import Any

from .bounded import read_json
from .problems import Json, Problem, ServerError, listing, title_of

log = logging.getLogger(__name__)

DEEPEST = 200  # lists and objects in each other; a workflow with subgraphs has thirty, and Python can copy 300
MOST_VALUES = 2_000_000  # in one answer, some seconds of work; 10,000 models in each of 100 lists are half of it
LONGEST_ID = 200  # characters of a prompt's id, which has 36
MOST_FILES = 10_000  # of one run
MOST_NODES = 100_000  # that a server knows; a hundred packs have ten thousand
MOST_PROBLEMS = 1000  # that are taken from one answer; the first twenty are told
GROUPS = ("required", "optional")
ANY = "*"  # the type that fits every other


def read_answer(text: bytes | str) -> Any:
    return read_json(text, DEEPEST, MOST_VALUES, ",[{")


def as_object(value: Any) -> Json:
    if not isinstance(value, dict):
        raise ValueError("it is no object")
    return value


def checked_object_info(answer: Any) -> Json:
    """GET /object_info, of each node what the runner reads. Nodes that are not described as ComfyUI does are left out,
    which is said once."""
    described, others = {}, []
    if len(as_object(answer)) > MOST_NODES:
        raise ValueError(f"it describes more than {MOST_NODES} nodes")
    for name, entry in answer.items():
        try:
            described[name] = _node(entry)
        except ValueError:
            others.append(name)
    if others:
        log.warning("The server does not describe these nodes as ComfyUI does; they do not count: %s", listing(others))
    return described


def checked_id(answer: Json) -> str:
    """The id that POST /prompt gave."""
    prompt_id = answer.get("prompt_id")
    if not isinstance(prompt_id, str) or not 0 < len(prompt_id) <= LONGEST_ID or not prompt_id.isprintable():
        raise ValueError("it gives no id")
    return prompt_id


def refusals(answer: Json, prompt: Json) -> list[Problem]:
    """What is wrong with a prompt, as POST /prompt says it."""
    problems = list(islice(_node_problems(answer, prompt), MOST_PROBLEMS))
    error = answer.get("error")
    if error and not problems:
        about = _object(error)
        message = _text(error if isinstance(error, str) else about.get("message"), "Refused")
        problems.append(Problem(message, _text(about.get("details"))))
    return problems


def _node_problems(answer: Json, prompt: Json) -> Iterator[Problem]:
    for node_id, report in _object(answer.get("node_errors")).items():
        report = _object(report)
        for error in map(_object, _list(report.get("errors"))):
            where = (node_id, _text(report.get("class_type")), title_of(prompt, node_id))
            yield Problem(_text(error.get("message"), "Refused"), _text(error.get("details")), *where)


def queued(answer: Any, *parts: str) -> set[str]:
    """Ids of prompts in parts of GET /queue."""
    items = [item for part in parts for item in _list(as_object(answer).get(part))]
    return {item[1] for item in items if isinstance(item, list) and len(item) > 1 and isinstance(item[1], str)}


def history_entry(answer: Any, prompt_id: str) -> Json | None:
    """What GET /history/ID says of a prompt; None while that is not over."""
    entry = as_object(answer).get(prompt_id)
    if not entry:
        return None
    for part in ("outputs", "status"):
        if as_object(entry).get(part) is not None:
            as_object(entry[part])
    return entry


def raise_if_failed(entry: Json, prompt: Json) -> None:
    status = entry.get("status") or {}
    if status.get("status_str", "success") == "success":
        return
    for message in _list(status.get("messages")):
        kind, data = message if isinstance(message, list) and len(message) == 2 else ("", {})
        data = _object(data)
        node = _text(data.get("node_id"))
        where = {"node_id": node, "class_type": _text(data.get("node_type")), "title": title_of(prompt, node)}
        if kind == "execution_error":
            raise ServerError(Problem(_text(data.get("exception_message"), "it failed"), **where))
        if kind == "execution_interrupted":
            raise ServerError(Problem("The run was cancelled on the server", **where))
    raise ServerError("The run failed on the server, which does not say why.")


def files(entry: Json) -> list[Json]:
    """Every file that the outputs of a history entry name, once. Raises ServerError where they are too many."""
    found = {}
    for outputs in (entry.get("outputs") or {}).values():
        for items in _object(outputs).values():
            for item in _list(items):
                if isinstance(item, dict) and item.get("filename"):
                    found[repr([item.get("type"), item.get("subfolder"), item["filename"]])] = item
                if len(found) > MOST_FILES:
                    raise ServerError(f"The run on the server names more than {MOST_FILES} files, which are not taken.")
    return list(found.values())


def _node(entry: Any) -> Json:
    """What is declared oddly, which packs do and ComfyUI lets pass, is taken for as much as it says."""
    groups, order = _object(as_object(entry).get("input")), _object(entry.get("input_order"))
    outputs = entry.get("output")
    return {
        "input": {g: {name: _spec(spec) for name, spec in _object(groups.get(g)).items()} for g in GROUPS},
        "input_order": {g: [n for n in _list(order.get(g)) if isinstance(n, str)] for g in GROUPS} if order else {},
        "output": [kind if isinstance(kind, (str, list)) else ANY for kind in _listed(outputs)],
        "output_node": bool(entry.get("output_node")),
        "display_name": _text(entry.get("display_name")),
    }


def _spec(spec: Any) -> list:
    kind, *rest = _listed(spec) or [ANY]
    kind = kind if isinstance(kind, (str, list)) else ANY
    if not rest or not isinstance(rest[0], dict):
        return [kind]
    if kind == "COMBO" and not isinstance(rest[0].get("options"), (list, type(None))):
        return [kind, {**rest[0], "options": []}]
    return [kind, rest[0]]


def _listed(value: Any) -> list:
    """A text stands for a list of it: some packs forget the comma of a tuple of one."""
    return [value] if isinstance(value, str) else _list(value)


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list:
    return value if isinstance(value, list) else []


def _text(value: Any, otherwise: str = "") -> str:
    """Text, or a number as text."""
    found = str(value).strip() if isinstance(value, (str, int, float)) and not isinstance(value, bool) else ""
    return found or otherwise
