"""What a workflow file may hold: how much, how deep, and of which shape. Looked at before anything is made of it.

What the front end of ComfyUI lets be missing or null may be so here; what is there has the type that it writes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .bounded import read_json
from .problems import Json, WorkflowError, shown_text

MOST_BYTES = 32 << 20  # of JSON; 20,000 nodes take about 20 MB
MOST_HELD = 2_000_000  # lists and objects, of which a node has about 18; each takes 60 bytes and more
DEEPEST = 100  # lists and objects in each other; a saved workflow has 12, and Python's stack ends at some hundreds
MOST_NODES = 100_000  # subgraphs written out; 20,000 convert in two seconds, and nobody draws so many
MOST_LINKS = 300_000  # three a node, where saved workflows have one or two
LONGEST_ID = 100  # characters of a node's id, of which those in nested subgraphs are put together
SHOWN = 80  # characters of a value that is odd

NOTES = frozenset({"Note", "MarkdownNote"})
SUBGRAPH_INPUT, SUBGRAPH_OUTPUT = "-10", "-20"
LINK_KEYS = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
LIST, TEXT = (list, "a list"), (str, "text")
GRAPH = {"nodes": LIST, "links": LIST}
NODE = {
    "title": ((str, int, float), "text"),
    "mode": ((int, float), "a number"),
    "inputs": LIST,
    "outputs": LIST,
    "widgets_values": ((list, dict), "a list, or an object of values by name"),
}
SLOT = {"name": TEXT, "link": ((int, str), "the id of a link")}


class Link(NamedTuple):
    origin: str
    origin_slot: int
    target: str
    target_slot: int


def parsed(text: str, source: object) -> Any:
    """The value of a JSON text. Raises WorkflowError where it is none, or too much of it."""
    if len(text) > MOST_BYTES:
        raise _unreadable(source, f"is longer than {MOST_BYTES >> 20} MB of JSON")
    try:
        return read_json(text, DEEPEST, MOST_HELD, "[{")  # in texts too, where so many are as odd
    except ValueError as error:
        raise _unreadable(source, f"is not JSON ({error})") from None


def _unreadable(source: object, why: str) -> WorkflowError:
    return WorkflowError.one("Cannot read the workflow", f"{source} {why}")


def is_ui_format(document: Any) -> bool:
    return isinstance(document, dict) and isinstance(document.get("nodes"), list)


def check_workflow(workflow: Json) -> list[Json]:
    """The subgraphs of a workflow in UI format. Raises WorkflowError where it, or one of them, is of no shape that the
    front end writes, or too large."""
    definitions = workflow.get("definitions")
    if definitions is not None and not isinstance(definitions, dict):
        raise _bad("definitions", "the workflow", definitions, "an object that holds 'subgraphs'")
    subgraphs = (definitions or {}).get("subgraphs")
    if subgraphs is not None and not isinstance(subgraphs, list):
        raise _bad("subgraphs", "the workflow's definitions", subgraphs, "a list")
    for place, subgraph in enumerate(subgraphs or []):
        if not isinstance(subgraph, dict) or not isinstance(subgraph.get("id"), str):
            raise _bad(f"entry {place}", "the workflow's subgraphs", subgraph, "an object with text as its id")
    graphs = [workflow, *(subgraphs or [])]
    for graph in graphs:
        where = "the workflow" if graph is workflow else f"subgraph {shown_text(graph['id'], SHOWN)}"
        _check(graph, GRAPH, where)
    _count(graphs, "nodes", MOST_NODES)
    _count(graphs, "links", MOST_LINKS)
    for graph in graphs:
        for node in graph.get("nodes") or []:
            check_node(node)
    return graphs[1:]


def with_own_nodes(workflow: Json) -> Json:
    """A copy of a workflow in either format, whose nodes can be changed; what they hold is shared. Raises WorkflowError
    as `check_workflow` does."""
    if not is_ui_format(workflow):
        return {key: dict(node) if isinstance(node, dict) else node for key, node in workflow.items()}
    subgraphs = check_workflow(workflow)
    copies = [{**graph, "nodes": [dict(node) for node in graph.get("nodes") or []]} for graph in [workflow, *subgraphs]]
    if subgraphs:
        copies[0]["definitions"] = {**workflow["definitions"], "subgraphs": copies[1:]}
    return copies[0]


def _count(graphs: list[Json], key: str, most: int) -> None:
    count = sum(len(graph.get(key) or []) for graph in graphs)
    if count > most:
        raise WorkflowError.one("Bad workflow", f"it holds {count:,} {key}, and at most {most:,} are read")


def check_node(node: Any) -> None:
    """Raises WorkflowError where a node in UI format is of no shape that the front end writes."""
    if not isinstance(node, dict) or node.get("id") is None or not isinstance(node.get("type"), str):
        raise WorkflowError.one("Bad workflow", f"a node has no id or no type: {str(node)[:SHOWN]}")
    if not is_id(node["id"]):
        raise _bad("id", "a node", node["id"], f"a number or text of at most {LONGEST_ID} characters")
    where = f"node {node['id']}"
    if node["type"] in NOTES:  # of which nothing is read
        return
    _check(node, NODE, where)
    for side in ("inputs", "outputs"):
        for place, slot in enumerate(node.get(side) or []):
            if not isinstance(slot, dict):
                raise _bad(f"entry {place}", f"the {side} of {where}", slot, "an object")
            _check(slot, SLOT, where)


def is_id(value: Any) -> bool:
    """Of a node or a link."""
    return isinstance(value, (int, str)) and not isinstance(value, bool) and len(str(value)) <= LONGEST_ID


def _check(holder: Json, wanted: dict, where: str) -> None:
    for key, (types, shown) in wanted.items():
        value = holder.get(key)
        nothing = value is None or (types is list and value == {})  # an object without entries, where a list could be
        if not nothing and (not isinstance(value, types) or isinstance(value, bool)):
            raise _bad(key, where, value, shown)


def _bad(key: str, where: str, value: Any, wanted: str) -> WorkflowError:
    return WorkflowError.one("Bad workflow", f"{key} of {where} is {shown_text(repr(value), SHOWN)}, not {wanted}")


def link_ends(link: Any) -> tuple[str, tuple[str, int, str, int]]:
    """A link's id, and the node and slot that it leads from and to. Raises WorkflowError."""
    try:
        values = [link[key] for key in LINK_KEYS] if isinstance(link, dict) else list(link)[:5]
        number, origin, origin_slot, target, target_slot = values
        if isinstance(link, str) or not (is_id(number) and all(end is None or is_id(end) for end in (origin, target))):
            raise ValueError
        return str(number), (str(origin), slot_number(origin_slot), str(target), slot_number(target_slot))
    except (KeyError, TypeError, ValueError, OverflowError):
        accepted = "[id, from node, from slot, to node, to slot, type]"
        raise WorkflowError.one("Bad workflow", f"a link is not of the form {accepted}: {str(link)[:SHOWN]}") from None


def slot_number(value: Any) -> int:
    if isinstance(value, bool):
        raise ValueError
    return int(value)
