"""What cg-use-everywhere sends in the browser: links to inputs that have none, which a prompt holds like all others.

Its newer versions keep in the file what goes where (`ue_links`). For older files this knows their plain rule: what is
sent goes to every input of the same type that is neither linked nor a widget, if there is one such sender.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .browser_nodes import SEED_SENDER, SENDERS
from .problems import Json
from .shape import MOST_LINKS, SUBGRAPH_INPUT, SUBGRAPH_OUTPUT, Link, is_id, slot_number

TO_INPUTS = {"Prompts Everywhere": ("pos", "neg")}  # how the names begin that its inputs go to
RESTRICTIONS = ("group_restricted", "color_restricted", "title_regex", "input_regex", "group_regex")
UNRESTRICTED = (None, "", 0, False, ".*")
ANY = ("*", "COMBO")  # types of inputs that take what is of another type as well, if the sender says so
Target = tuple[str, int]


def links(graph: Json, nodes: dict[str, Json], linked: dict[str, Link]) -> dict[Target, Link | None]:
    """Links by node and input; None for an input whose link is one that the browser made for a time and took back."""
    extra = graph.get("extra")
    extra = extra if isinstance(extra, dict) else {}
    saved, made = extra.get("ue_links"), extra.get("links_added_by_ue")
    taken_back = {str(number) for number in made} - set(linked) if isinstance(made, list) else set()
    found: dict[Target, Link | None] = {
        (node_id, slot): None
        for node_id, node in nodes.items()
        for slot, entry in enumerate((taken_back and node.get("inputs")) or [])
        if str(entry.get("link")) in taken_back
    }
    sent = _saved(saved[:MOST_LINKS], nodes) if isinstance(saved, list) else _by_type(graph, nodes, linked)
    for link, kind in sent:
        key = (link.target, link.target_slot)
        entries = nodes[link.target].get("inputs") or [] if link.target in nodes else []
        entry = entries[link.target_slot] if link.target_slot < len(entries) else None
        is_open = entry is not None and str(entry.get("link")) not in linked and entry.get("type") in (kind, *ANY)
        if is_open or link.target == SUBGRAPH_OUTPUT:
            found[key] = found.get(key) or link
    return found


def unfollowed(graph: Json, nodes: dict[str, Json]) -> list[Json]:
    """Senders of an older file whose rules are not followed here, so that what they send may be missing."""
    extra = graph.get("extra")
    if isinstance(extra, dict) and isinstance(extra.get("ue_links"), list):
        return []
    senders = [node for node in nodes.values() if node["type"] in (*SENDERS, SEED_SENDER) and not node.get("mode")]
    return [node for node in senders if node["type"] == SEED_SENDER or is_restricted(node)]


def _saved(entries: list, nodes: dict[str, Json]) -> Iterator[tuple[Link, Any]]:
    for entry in entries:
        if not isinstance(entry, dict):
            continue
        origin, target = entry.get("upstream"), entry.get("downstream")
        try:
            slots = slot_number(entry.get("upstream_slot")), slot_number(entry.get("downstream_slot"))
        except (TypeError, ValueError, OverflowError):
            continue
        ends = is_id(origin) and is_id(target) and min(slots) >= 0
        if ends and (str(origin) in nodes or str(origin) == SUBGRAPH_INPUT):
            yield Link(str(origin), slots[0], str(target), slots[1]), entry.get("type")


def _by_type(graph: Json, nodes: dict[str, Json], linked: dict[str, Link]) -> Iterator[tuple[Link, Any]]:
    sent: dict[tuple[Any, str], set[tuple[str, int]]] = {}
    for node in nodes.values():
        if node["type"] not in SENDERS or node.get("mode") or is_restricted(node):
            continue
        beginnings = TO_INPUTS.get(node["type"], ())
        for slot, entry in enumerate(node.get("inputs") or []):
            link = linked.get(str(entry.get("link")))
            if link is not None:
                kind = _type_of(link, graph, nodes)
                beginning = beginnings[slot] if slot < len(beginnings) else ""
                found = sent.setdefault((kind, beginning), set())
                if len(found) < 2:  # several are as good as none
                    found.add((link.origin, link.origin_slot))
    for target, slot, kind, name in _open_inputs(nodes) if sent else ():
        sources = set().union(*(sent.get((kind, beginning), ()) for beginning in ("", name[:3].lower())))
        if len(sources) == 1:
            yield Link(*next(iter(sources)), target, slot), kind


def is_restricted(node: Json) -> bool:
    """Whether a sender goes by rules that are not followed here: names, groups and colours that it is restricted to."""
    properties, saved = node.get("properties"), node.get("widgets_values")
    held = properties if isinstance(properties, dict) else {}
    rules = {**held, **(held["ue_properties"] if isinstance(held.get("ue_properties"), dict) else {})}
    widgets: Iterable[Any] = saved if isinstance(saved, list) and node["type"] == "Anything Everywhere?" else ()
    given = [*(rules.get(key) for key in RESTRICTIONS), *widgets]
    return any(value not in UNRESTRICTED for value in given)


def _type_of(link: Link, graph: Json, nodes: dict[str, Json]) -> str:
    holder = graph.get("inputs") if link.origin == SUBGRAPH_INPUT else nodes.get(link.origin, {}).get("outputs")
    slots = holder if isinstance(holder, list) else []
    kind = slots[link.origin_slot] if 0 <= link.origin_slot < len(slots) else None
    return str(kind.get("type")) if isinstance(kind, dict) else ""


def _open_inputs(nodes: dict[str, Json]) -> Iterator[tuple[str, int, str, str]]:
    for node_id, node in nodes.items():
        if node["type"] in SENDERS or node.get("mode"):
            continue
        for slot, entry in enumerate(node.get("inputs") or []):
            if entry.get("link") is None and not entry.get("widget"):
                yield node_id, slot, str(entry.get("type")), str(entry.get("name"))
