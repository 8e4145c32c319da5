"""Runs a prompt in this process, without ComfyUI: the pack's nodes plus stand-ins for those of ComfyUI."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from . import audio, host_nodes, host_values, images, specs
from .failures import said
from .images import Folders
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
        classes, names = files_nodes(folders)
        others = {**host_nodes.NODES, **host_values.NODES}
        return cls(
            {**classes, **{name: node for name, (node, _) in others.items()}, **pack.NODE_CLASS_MAPPINGS},
            {**names, **{name: shown for name, (_, shown) in others.items()}, **pack.NODE_DISPLAY_NAME_MAPPINGS},
        )

    def custom_check(self, class_type: str) -> Callable[..., Any] | None:
        return getattr(self.classes[class_type], "VALIDATE_INPUTS", None)


def files_nodes(folders: Folders) -> tuple[dict[str, type], dict[str, str]]:
    """The stand-ins that read and write files in these folders: classes, and how they are shown."""
    pictures, sounds = images.make_nodes(folders), audio.make_nodes(folders)
    return {**pictures[0], **sounds[0]}, {**pictures[1], **sounds[1]}


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
    run = _Run(library, {"EXTRA_PNGINFO": None if workflow is None else {"workflow": workflow}})
    with torch.inference_mode(), _hosting(library, report):
        run.work(prompt, ends)
    return run.saved


class _Run:
    """What the nodes of one prompt have made so far."""

    def __init__(self, library: Library, hidden: Json) -> None:
        self.library, self.hidden = library, hidden
        self.results: dict[str, list[list]] = {}
        self.saved: list[Path] = []

    def work(self, prompt: Json, ends: list[str]) -> None:
        """Runs what these nodes need; each result goes when nothing needs it any more."""
        order = needed(prompt, ends, self._feeding)
        last_use = {source: node_id for node_id in order for source in self._uses(prompt, node_id)}
        done_with: dict[str, list[str]] = {}
        for source, user in last_use.items():
            done_with.setdefault(user, []).append(source)
        for node_id in order:
            self._node(prompt, node_id)
            for source in done_with.get(node_id, ()):
                self.results.pop(source, None)

    def _feeding(self, prompt: Json, node_id: str) -> list[str]:
        """What feeds a node before it runs: all but what it wants as a link."""
        info = self.library.object_info[prompt[node_id]["class_type"]]
        return sources(prompt, node_id, {name for name, spec in specs.inputs(info).items() if specs.is_raw(spec)})

    def _uses(self, prompt: Json, node_id: str) -> list[str]:
        """What feeds a node, and all above what it wants as a link, of which it may take any."""
        plain = self._feeding(prompt, node_id)
        return [*plain, *needed(prompt, [source for source in sources(prompt, node_id) if source not in plain])]

    def _node(self, prompt: Json, node_id: str) -> None:
        if node_id in self.results:
            return
        cls = self.library.classes[prompt[node_id]["class_type"]]
        own = {"PROMPT": prompt, "DYNPROMPT": Prompt(prompt, self.library), "UNIQUE_ID": node_id}
        answers = _run_node(cls, prompt, node_id, self.results, {**self.hidden, **own})
        if answers and isinstance(answers[0], dict) and "expand" in answers[0]:
            self.results[node_id] = self._expanded(prompt, answers[0])
        else:
            self.results[node_id], files = _collect(cls, answers)
            self.saved += files

    def _expanded(self, prompt: Json, answer: Json) -> list[list]:
        """The outputs of a node that puts others in its place, whose results stay until the end."""
        prompt = {**prompt, **answer["expand"]}
        ends = [link[0] for link in answer["result"]]
        for node_id in needed(prompt, ends, self._feeding):
            self._node(prompt, node_id)
        return [_linked(link, self.results) for link in answer["result"]]


class Prompt:
    """A prompt as hosts hand it to nodes that ask for DYNPROMPT, its values as the classes have them."""

    def __init__(self, prompt: Json, library: Library) -> None:
        self.prompt, self.library = prompt, library

    def get_original_prompt(self) -> Json:
        return self.prompt

    def get_node(self, node_id: str) -> Json:
        node = self.prompt[node_id]
        known = specs.inputs(self.library.object_info[node["class_type"]])
        inputs = {
            name: value if isinstance(value, list) or name not in known else specs.coerce(value, known[name])
            for name, value in node["inputs"].items()
        }
        return {**node, "inputs": inputs}


@contextmanager
def _hosting(library: Library, report: Report | None) -> Iterator[None]:
    """What the pack's nodes ask a host for: `report` gets their progress, `library` has the classes."""
    host = sys.modules.get(f"{ALIAS}.nodes.host")
    if host is None:
        yield
        return
    graphs = sys.modules[f"{ALIAS}.nodes.host_graph"]
    with host.progress_to(report) if report else nullcontext(), graphs.classes_from(library.classes):
        yield


def _run_node(cls: Any, prompt: Json, node_id: str, results: Json, hidden: Json) -> list:
    """What the calls of one node answer."""
    node = prompt[node_id]
    try:
        return _call_node(cls, node, results, hidden)
    except Exception as error:
        where = name_node(node_id, node["class_type"], title_of(prompt, node_id))
        raise NodeFailedError(f"{where}: {said(error)}") from error


def _call_node(cls: Any, node: Json, results: Json, hidden: Json) -> list:
    declared = cls.INPUT_TYPES()
    known = specs.inputs({"input": declared})
    arguments: dict[str, list] = {}
    renamed, takes_all = getattr(cls, "RENAMED_INPUTS", {}), getattr(cls, "ACCEPT_ALL_INPUTS", False)
    for name, value in node["inputs"].items():
        if name in known and specs.is_raw(known[name]):
            arguments[name] = [value]
        elif isinstance(value, list) and (name in known or name in renamed or takes_all):
            arguments[name] = _linked(value, results)
        elif name in known:
            arguments[name] = [specs.coerce(value, known[name])]
    for name, kind in (declared.get("hidden") or {}).items():
        arguments[name] = [hidden.get(kind[0] if isinstance(kind, (list, tuple)) else kind)]

    function = getattr(cls(), cls.FUNCTION)
    calls = [arguments] if getattr(cls, "INPUT_IS_LIST", False) else list(_one_by_one(arguments))
    return [function(**call) for call in calls]


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
    """Outputs of one node, each a list as ComfyUI keeps them, and files that it saved."""
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
