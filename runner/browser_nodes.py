"""Nodes that exist in the browser alone, of whatever pack: no server knows their class, and no prompt holds them.

The front end leads every link through such a node, from an output to the input of the same number. What else a kind
does is in the table; kinds that it has not are told by their names, where the graph bears it out.
"""

from __future__ import annotations

import re
from enum import Enum, auto

from .problems import Json

MOST_VERBS = 4  # in the name of a class
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


class Kind(Enum):
    """What an output of a node of the browser is."""

    SAME_INPUT = auto()  # what feeds the input of the same number, if there is one
    WIDGET = auto()  # the value of its first widget
    NAMED = auto()  # what feeds the Set node of the same name
    FIRST_INPUT = auto()  # what feeds the first of its inputs that is fed


PRIMITIVE = "PrimitiveNode"
OWN = {
    "Note": Kind.SAME_INPUT,
    "MarkdownNote": Kind.SAME_INPUT,
    "Reroute": Kind.SAME_INPUT,
    PRIMITIVE: Kind.WIDGET,
}
RGTHREE = (
    "Bookmark",
    "Fast Actions Button",
    "Fast Bypasser",
    "Fast Groups Bypasser",
    "Fast Groups Muter",
    "Fast Muter",
    "Label",
    "Mute / Bypass Relay",
    "Mute / Bypass Repeater",
    "Node Collector",
    "Node Combiner",
    "Power Conductor",
    "Random Unmuter",
    "Reroute",
)
SETTERS = ("SetNode", "easy setNode")
GETTERS = ("GetNode", "easy getNode")
SENDERS = ("Anything Everywhere", "Anything Everywhere3", "Anything Everywhere?", "Prompts Everywhere")
SEED_SENDER = "Seed Everywhere"
OF_PACKS = {
    **{f"{name} (rgthree)": Kind.SAME_INPUT for name in RGTHREE},
    **dict.fromkeys((*SETTERS, *SENDERS), Kind.SAME_INPUT),
    **dict.fromkeys(GETTERS, Kind.NAMED),
    **dict.fromkeys(("Note Plus (mtb)", "Note _O", "easy bookmark", "PresetText|pysssss"), Kind.SAME_INPUT),
    "ReroutePrimitive|pysssss": Kind.SAME_INPUT,  # servers that have its pack run it, and it does nothing there
    SEED_SENDER: Kind.WIDGET,  # as are these, which do what the browser can tell as well
    "Any Switch (rgthree)": Kind.FIRST_INPUT,
}
LEADING_ON = {"reroute", "rerouter", "junction"}  # words in the names of nodes that one link goes through
MADE_FOR_PEOPLE = LEADING_ON | {
    *("note", "notes", "label", "bookmark", "comment", "markdown", "readme", "title", "description", "sticky"),
    *("muter", "bypasser", "mute", "bypass", "unmuter", "everywhere", "separator"),
}


def kind_of(node: Json, object_info: Json) -> Kind | None:
    """None for a node that a prompt holds, or for one whose class nobody here knows."""
    kind = OWN.get(node["type"])
    if kind is not None or node["type"] in object_info:
        return kind
    kind = OF_PACKS.get(node["type"])
    if kind is None and _words(node) & LEADING_ON and len(linked(node)) == 1 == len(node.get("outputs") or []):
        return Kind.SAME_INPUT
    return kind


def linked(node: Json) -> list[Json]:
    return [entry for entry in node.get("inputs") or [] if entry.get("link") is not None]


def is_for_people(node: Json) -> bool:
    """Whether nothing can come of a node of unknown class, by its name and since nothing is linked to it."""
    return not linked(node) and bool(_words(node) & MADE_FOR_PEOPLE)


def _words(node: Json) -> set[str]:
    return {word.lower() for word in WORD.findall(node["type"][:200])}


def families(node: Json, verb: str) -> set[str]:
    """What is left of a class's name without the verb, by which its Set and its Get belong together."""
    parts = node["type"][:200].lower().split(verb, MOST_VERBS)
    return {f"{verb.join(parts[:place])}*{verb.join(parts[place:])}" for place in range(1, len(parts))}


def name_held(node: Json) -> str:
    """The name under which a node sets or gets: its first widget's value, or what else the packs keep of it."""
    saved, properties = node.get("widgets_values"), node.get("properties")
    values = list(saved.values()) if isinstance(saved, dict) else saved or []
    held = values[0] if values else None
    if held in (None, "", "*") and isinstance(properties, dict):
        held = properties.get("previousName")
    if held in (None, "", "*"):
        verb, _, held = str(node.get("title") or "").partition("_")
        held = held if verb in ("Set", "Get") else ""
    return str(held) if isinstance(held, (str, int, float)) else ""
