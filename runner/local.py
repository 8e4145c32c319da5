"""Runs a prompt in this process, without ComfyUI: the pack's nodes plus the stand-ins of `images`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import host_nodes, host_values, specs
from .failures import said
from .images import Folders, make_nodes
from .pack import ALIAS, load_pack
from .problems import Json, RunError, WorkflowError, name_node, title_of
from .validate import needed, sources

Report = Callable[[int, int, "str | None"], None]


class NodeFailedError(RunError):
    """A node raised; the message names it."""


class Library:
    """Node classes by id, with what the runner needs to know about them."""

    def __init__(self, classes: dict[str, type], display_names: dict[str, str] | None = None) -> None:
        self.classes = classes
        self.object_info = {k: describe(k, c, (display_names or {}).get(k, k)) for k, c in classes.items()}

    @classmethod
    def of_pack(cls, folders: Folders) -> Library:
        pack = load_pack()
        classes, names = make_nodes(folders)
        others = {**host_nodes.NODES, **host_values.NODES}
        return cls(
            {**classes, **{name: node for name, (node, _) in others.items()}, **pack.NODE_CLASS_MAPPINGS},
            {**names, **{name: shown for name, (_, shown) in others.items()}, **pack.NODE_DISPLAY_NAME_MAPPINGS},
        )

    def custom_check(self, class_type: str) -> Callable[..., Any] | None:
        return getattr(self.classes[class_type], "VALIDATE_INPUTS", None)


def describe(class_type: str, cls: Any, display_name: str) -> Json:
    """One entry of GET /object_info."""
    declared = cls.INPUT_TYPES()
    return {
        "input": declared,
        "input_order": {group: list(entries) for group, entries in declared.items()},
        "output": list(cls.RETURN_TYPES),
        "output_name": list(getattr(cls, "RETURN_NAMES", cls.RETURN_TYPES)),
        "output_node": bool(getattr(cls, "OUTPUT_NODE", False)),
        "name": class_type,
        "display_name": display_name,
    }


def execute(prompt: Json, library: Library, workflow: Json | None = None, report: Report | None = None) -> list[Path]:
    """Run what the outputs need, each node once, and return the files that were saved.

    `prompt` has passed `validate`. Raises NodeFailedError.
    """
    import torch

    ends = [k for k, node in prompt.items() if library.object_info[node["class_type"]]["output_node"]]
    order = needed(prompt, ends)
    hidden = {"PROMPT": prompt, "EXTRA_PNGINFO": None if workflow is None else {"workflow": workflow}}
    last_use = {source: node_id for node_id in order for source in sources(prompt, node_id)}
    done_with: dict[str, list[str]] = {}
    for source, user in last_use.items():
        done_with.setdefault(user, []).append(source)
    results: dict[str, list[list]] = {}
    saved: list[Path] = []
    with torch.inference_mode(), _progress(report):
        for node_id in order:
            cls = library.classes[prompt[node_id]["class_type"]]
            outputs, files = _run_node(cls, prompt, node_id, results, {**hidden, "UNIQUE_ID": node_id})
            results[node_id] = outputs
            saved += files
            for source in done_with.get(node_id, ()):
                results.pop(source, None)
    return saved


@contextmanager
def _progress(report: Report | None) -> Iterator[None]:
    """Routes what the pack's nodes report to `report`."""
    host = sys.modules.get(f"{ALIAS}.nodes.host")
    if report is None or host is None:
        yield
    else:
        with host.progress_to(report):
            yield


def _run_node(cls: Any, prompt: Json, node_id: str, results: Json, hidden: Json) -> tuple[list[list], list[Path]]:
    """Outputs of one node, each a list as ComfyUI keeps them, and files that it saved."""
    node = prompt[node_id]
    try:
        return _call_node(cls, node, results, hidden)
    except Exception as error:
        where = name_node(node_id, node["class_type"], title_of(prompt, node_id))
        raise NodeFailedError(f"{where}: {said(error)}") from error


def _call_node(cls: Any, node: Json, results: Json, hidden: Json) -> tuple[list[list], list[Path]]:
    declared = cls.INPUT_TYPES()
    known = specs.inputs({"input": declared})
    arguments: dict[str, list] = {}
    renamed = getattr(cls, "RENAMED_INPUTS", {})
    for name, value in node["inputs"].items():
        if isinstance(value, list) and (name in known or name in renamed):
            arguments[name] = _linked(value, results)
        elif name in known:
            arguments[name] = [specs.coerce(value, known[name])]
    for name, kind in (declared.get("hidden") or {}).items():
        arguments[name] = [hidden.get(kind[0] if isinstance(kind, (list, tuple)) else kind)]

    function = getattr(cls(), cls.FUNCTION)
    calls = [arguments] if getattr(cls, "INPUT_IS_LIST", False) else list(_one_by_one(arguments))
    answers = [function(**call) for call in calls]
    return _collect(cls, answers)


def _linked(link: list, results: Json) -> list:
    """Values of an output. Links to names that a class no longer declares were not judged: from nowhere comes None."""
    source, slot = link if len(link) == 2 else (None, None)
    outputs = results.get(str(source), ())
    return outputs[slot] if slot in range(len(outputs)) else [None]


def _one_by_one(arguments: dict[str, list]) -> Iterator[Json]:
    """Calls of a node that takes single values: the longest list decides, shorter ones repeat their last."""
    longest = max(map(len, arguments.values()), default=1)
    for i in range(longest):
        yield {name: values[min(i, len(values) - 1)] for name, values in arguments.items() if values}


def _collect(cls: Any, answers: list) -> tuple[list[list], list[Path]]:
    is_list = getattr(cls, "OUTPUT_IS_LIST", (False,) * len(cls.RETURN_TYPES))
    outputs: list[list] = [[] for _ in cls.RETURN_TYPES]
    files: list[Path] = []
    for answer in answers:
        if isinstance(answer, dict):
            files += [Path(path) for path in answer.get("ui", {}).get("saved", ())]
            answer = answer.get("result", ())
        for collected, several, value in zip(outputs, is_list, answer or (), strict=False):
            collected += value if several else [value]
    return outputs, files


def check_folders(folders: Folders) -> None:
    """Raises WorkflowError when nothing can be written to the output folder."""
    try:
        folders.output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folders.output):
            pass
    except (OSError, ValueError) as error:
        raise WorkflowError.one("Cannot save", f"output folder {folders.output}: {said(error)}") from None
