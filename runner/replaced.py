"""%date:yyyy-MM-dd% and %Node.widget% in texts, as the front end of ComfyUI fills them in when it queues.

Source: applyTextReplacements and saveImageExtraOutput of ComfyUI_frontend.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from .browser_nodes import PRIMITIVE
from .graph import Scope
from .naming import BATCH, SERVER_NAMES, date_text
from .problems import UNSEEN, Json, WorkflowError, shown_text

PREFIX = "filename_prefix"
# Nodes whose filename_prefix is filled in.
SAVERS = frozenset(
    "SaveImage SaveImageAdvanced SaveSVGNode SaveVideo SaveAnimatedWEBP SaveAnimatedPNG SaveWEBM SaveAudio "
    "SaveAudioMP3 SaveAudioOpus SaveAudioAdvanced SaveGLB Save3DAdvanced SaveGaussianSplat SavePointCloud CLIPSave "
    "VAESave ModelSave LoraSave SaveLatent".split()
)
NAMED = "Node name for S&R"  # the property by which texts name a node
LONGEST = 100_000  # characters of a text once it is filled in
MOST_NAMES = 100_000  # in all texts of a workflow
SHOWN = 60  # characters of a name in a sentence
NAME = re.compile(r"%([^%]+)%")
# What the browser leaves out of values, and what else no name of a file here holds.
NO_FILE_NAME = re.compile(rf'[/?<>\\:*|"]|{UNSEEN.pattern}')
VIRTUAL_TITLES = {PRIMITIVE: "Primitive", "Reroute": "Reroute"}

Values = Callable[[Scope, Json], Json]


class Replacements:
    """The nodes of a workflow by the names that texts give them. values: of the widgets of a node."""

    def __init__(self, root: Scope, object_info: Json, values: Values) -> None:
        self.root, self.object_info, self.values = root, object_info, values
        self.now = time.localtime()
        self.known: list[dict[str, tuple[Scope, Json]]] = []
        self.told: dict[str, None] = {}  # names that stay as they are, each as a sentence
        self.looked = 0
        self.seen: dict[tuple[Scope, str], Json] = {}

    def filled(self, text: str, where: str) -> str:
        """The text with all filled in that it names; the server's own names, such as %width%, stay for the server.
        Raises WorkflowError where that is too long."""
        parts, at, length = [], 0, len(text)
        for found in NAME.finditer(text):
            self.looked += 1
            if self.looked > MOST_NAMES:
                many = f"up to {where}, its texts hold more than {MOST_NAMES:,} names between % and %"
                raise WorkflowError.one("Bad workflow", many)
            value = self._value(found, where)
            length += len(value) - len(found[0])
            if length > LONGEST:
                many = f"{where} is longer than {LONGEST:,} characters once all that it names is filled in"
                raise WorkflowError.one("Bad text", many)
            parts += [text[at : found.start()], value]
            at = found.end()
        return "".join([*parts, text[at:]])

    def _value(self, found: re.Match, where: str) -> str:
        named, dot, widget = found[1].partition(".")
        if not dot or "." in widget:
            if named.startswith("date:"):
                return date_text(found[1].split(".")[0][5:], self.now)
            if found[1] not in (*SERVER_NAMES, BATCH):
                self._stays(found, where, "which is neither a date nor the widget of a node")
            return found[0]
        node = next((names[named] for names in self._nodes() if named in names), None)
        if node is None:
            return self._stays(found, where, f"and there is no node {shown_text(named, SHOWN)}")
        key = (node[0], str(node[1]["id"]))
        if key not in self.seen:
            self.seen[key] = self.values(*node)
        values = self.seen[key]
        if widget not in values:
            label = node[0].label(node[1])
            return self._stays(found, where, f"and {label} has no widget {shown_text(widget, SHOWN)}")
        return NO_FILE_NAME.sub("_", script_text(values[widget]))

    def _stays(self, found: re.Match, where: str, why: str) -> str:
        self.told[f"{where} names {shown_text(found[0], SHOWN)}, {why}, so it stays as it is."] = None
        return found[0]

    def _nodes(self) -> list[dict[str, tuple[Scope, Json]]]:
        """By their property, and by their title; the first of a name is meant."""
        if not self.known:
            self.known = [{}, {}]
            for scope, node in every_node(self.root):
                for names, name in zip(self.known, (self._property(node), self._title(scope, node)), strict=True):
                    names.setdefault(name, (scope, node))
        return self.known

    def _property(self, node: Json) -> str:
        properties = node.get("properties")
        if isinstance(properties, dict) and NAMED in properties:
            return str(properties[NAMED])
        return node["type"] if node["type"] in self.object_info and node["type"] not in SAVERS else ""

    def _title(self, scope: Scope, node: Json) -> str:
        inner = scope.inside.get(str(node["id"]))
        named = inner.graph.name if inner else self.object_info.get(node["type"], {}).get("display_name")
        return str(node.get("title") or named or VIRTUAL_TITLES.get(node["type"], node["type"]))


def every_node(scope: Scope) -> Iterator[tuple[Scope, Json]]:
    """In the front end's order: what is inside a subgraph before the node that stands for it."""
    for node_id, node in scope.nodes.items():
        if node_id in scope.inside:
            yield from every_node(scope.inside[node_id])
        yield scope, node


def script_text(value: Any) -> str:
    """A value of JSON as JavaScript writes it into a text; whole numbers with all their digits."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, list):
        return ",".join(map(script_text, value))
    return value if isinstance(value, str) else json.dumps(value)


def _number(value: float) -> str:
    text = repr(value)
    if 1e-6 <= abs(value) < 1e21:
        text = format(Decimal(text), "f")
    return re.sub(r"\.0+(?=$|e)", "", re.sub(r"e([+-])0*", r"e\1", text)).replace("-0", "0", value == 0)
