"""Workflow files, changed as JSON, as bytes, and as images that carry them, or no files at all, handed to what
run_workflow.py does before it runs anything: every one is converted, or refused in sentences."""

import contextlib
import functools
import json
import logging
import os
import random
import struct
import zlib
from pathlib import Path

from run_workflow import prepare, to_api
from runner.files import read_document
from runner.images import Folders
from runner.local import Library
from runner.png import SIGNATURE
from runner.problems import WorkflowError, title_of
from runner.shape import LINK_KEYS
from runner.validate import needed
from support.odd_json import TEXTS, VALUES, changed, odd_value, text_of
from support.pack import ROOT
from support.trials import is_sentence
from support.workflow_files import SAVED, WORKFLOWS

SHORT = 150
OUTCOMES = ("converted", "refused")
KINDS = ("Reroute", "PrimitiveNode", "Note", "MarkdownNote", "Nope", "bomb 0", "SaveImage", "MGTSample", "LoadImage")
BROWSER = ("SetNode", "GetNode", "XY Set", "XY Get", "Any Switch (rgthree)", "Anything Everywhere", "workflow>G")


@functools.cache
def library() -> Library:
    return Library.of_pack(Folders((ROOT / "workflows",), ROOT / "output"))


@functools.cache
def source(path: Path, api: bool) -> str:
    graph = json.loads(path.read_text())
    for node in graph["nodes"]:
        if node["type"] == "MGTLoadModel":  # of a file that is not here
            node["widgets_values"][0] = "demo"
    return json.dumps(to_api(graph, library().object_info) if api else graph)


def trial(seed: int, folder: Path) -> str:
    draws, told = random.Random(seed), Told()
    graph = json.loads(source(draws.choice(WORKFLOWS + SAVED), api=draws.random() < 0.3))
    settings = [setting(graph, draws) for _ in range(draws.choice((0, 0, 0, 0, 1, 1, 3)))]
    logging.getLogger("runner").addHandler(told)
    try:
        return outcome(written(graph, draws, folder), settings, draws.random() < 0.7)
    finally:
        logging.getLogger("runner").removeHandler(told)
        assert all(map(is_sentence, told.lines)), told.lines


class Told(logging.Handler):
    """Keeps what is logged."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def outcome(path: Path, settings: list[str], here: bool) -> str:
    """here: as for a run in this process; else as for one on a server."""
    kinds = library()
    try:
        document = read_document(path)
        custom = kinds.custom_check if here else None
        prompt, workflow = prepare(document, settings, kinds.object_info, values=here, custom=custom)
    except WorkflowError as error:
        lines = [str(problem) for problem in error.problems[:100]]
        assert lines and all(map(is_sentence, lines)), lines
        return "refused"
    json.dumps([prompt, workflow]).encode()  # as it goes into a picture, or to a server
    assert all(isinstance(title_of(prompt, node_id), str) for node_id in needed(prompt, list(prompt)))
    return "converted"


def setting(graph: dict, draws: random.Random) -> str:
    """A text for --set: of a node that is there and a value that could be meant, or neither."""
    nodes = graph.get("nodes") or [{"id": key, "type": node["class_type"]} for key, node in graph.items()]
    node = draws.choice(nodes)
    name = draws.choice([str(node["id"])] * 5 + [node["type"], node.get("title") or "Prompt", draws.choice(TEXTS)])
    entries = library().object_info.get(node["type"], {}).get("input", {}).get("required") or {"value": ()}
    key = draws.choice([*entries, draws.choice(TEXTS)])
    value = draws.choice(["3", "0.5", "true", "nan", "demo", str(draws.choice(VALUES)), draws.choice(TEXTS)])
    return draws.choice([f"{name}.{key}={value}"] * 60 + [value, f"{name}={value}", f".{key}=", f"{name}.="])


def written(graph: dict, draws: random.Random, folder: Path) -> Path:
    """The path of a file that is made of a workflow."""
    kind = draws.random()
    if kind < 0.04:
        return no_file(draws, folder)
    if "nodes" in graph and draws.random() < 0.4:
        rewired(graph, draws)
    text = text_of(changed(graph, draws, draws.choice((0, 0, 1, 1, 1, 1, 1, 2, 3, 9))))
    data = text.encode()
    if kind < 0.15:
        data = spoiled(data, draws)
    elif kind < 0.3:
        data = picture(text, draws)
    path = folder / draws.choice(("w.json", "w.json", "w\x1b[31m\n.png", "w" * 250, "w\udc80.json"))
    with contextlib.suppress(OSError):  # a name that only some systems allow
        path.write_bytes(data)
    return path


def rewired(graph: dict, draws: random.Random) -> None:
    """Links, modes and types as a front end could write them, but does not."""
    nodes, links = graph["nodes"], graph["links"]
    if draws.random() < 0.3:
        with_subgraphs(graph, draws)
    if draws.random() < 0.5:
        with_packs(graph, draws)
    for _ in range(draws.choice((0, 1, 1, 2, 5))):
        node, other, link = draws.choice(nodes), draws.choice(nodes), draws.choice(links)
        kind = draws.randrange(6)
        if kind == 0:
            node["mode"] = draws.choice((2, 4))
        elif kind == 1:
            node["type"] = draws.choice(KINDS + BROWSER)
        elif kind == 2:
            place = draws.randrange(6)
            link[place] = draws.choice((other["id"], link[0], str(link[place]), draws.randrange(-2, 9)))
        elif kind == 3:  # through one that is no node of the server, which may feed itself
            number = draws.choice((node["id"], 900 + draws.randrange(3)))
            between = draws.choice(("Reroute", "MGTSample"))
            slots = [{"name": "", "type": "*", "link": link[0]}]
            nodes.append({"id": number, "type": between, "mode": 4, "inputs": slots})
            link[1:3] = number, 0
        elif kind == 4:
            link[1:3] = link[3], draws.randrange(2)
        elif node["type"] in library().object_info:  # two after each other of what passes pictures on
            node["type"], node["widgets_values"] = "ImageScale", ["area", 64, 64, "center"]
    if draws.random() < 0.1:
        graph["links"] = [dict(zip(LINK_KEYS, link, strict=False)) for link in links]


def with_subgraphs(graph: dict, draws: random.Random) -> None:
    """Some nodes in a subgraph, and others in subgraphs that hold each other: few, very many, or in a circle."""
    depth, times = draws.choice(((1, 1), (2, 3), (3, 10), (9, 10), (40, 1), (500, 1), (32, 9)))
    nodes, links = graph["nodes"], graph["links"]
    inner = [nodes.pop(draws.randrange(len(nodes))) for _ in range(min(3, len(nodes) - 1))]
    names = [f"bomb {i}" for i in range(depth)]
    if draws.random() < 0.2:
        names.append(draws.choice(names))  # which contains itself
    subgraphs = []
    for name, held in zip(names, [*names[1:], None]):
        uses = [{"id": i, "type": held} for i in range(times)] if held else inner
        ends = [[90, -10, 0, inner[0]["id"], 0, "*"], [91, inner[-1]["id"], 0, -20, 0, "*"]]
        subgraphs.append({"id": name, "name": "Bomb", "nodes": uses, "links": ends + ([] if held else list(links))})
    slots = [{"name": "a", "type": "*", "link": draws.choice(links)[0], "widget": {"name": "a"}}]
    nodes.append({"id": 777, "type": names[0], "inputs": slots, "outputs": slots, "widgets_values": [3]})
    draws.choice(links)[1:3] = 777, 0
    graph["definitions"] = {"subgraphs": subgraphs}


def with_packs(graph: dict, draws: random.Random) -> None:
    """Nodes that only the browser knows in the place of links, and groups of nodes as old front ends kept them."""
    nodes, links = graph["nodes"], graph["links"]
    names, sent, kinds = ("a", "b", "", 3), [], [node["type"] for node in nodes]
    for number in range(800, 800 + draws.randrange(1, 6)):
        link, kind = draws.choice(links), draws.choice(BROWSER)
        slots = [{"name": "a", "type": link[5], "link": number}]
        values = [draws.choice(names), "fixed", 3]
        nodes.append({"id": number, "type": kind, "inputs": slots, "outputs": slots, "widgets_values": values})
        links.append([number, link[1], link[2], number, 0, link[5]])
        link[1:3] = number, 0
        if "Get" in kind:
            nodes[-1]["inputs"] = []
        sent.append({"upstream": str(number), "upstream_slot": 0, "downstream": link[3], "downstream_slot": link[4]})
    inside = [{key: value for key, value in node.items() if key != "id"} for node in nodes[:4]]
    inner = [[draws.choice((None, 0, 1)), 0, draws.randrange(1, 4), draws.randrange(3), 9, "*"] for _ in range(3)]
    inside.append({"type": draws.choice((*BROWSER, "PrimitiveNode", "Reroute", "workflow>H", *kinds))})
    group = {
        "nodes": inside,
        "links": inner,
        "external": [[0, 0, "*"]],
        "config": {"0": {"input": {"a": {"name": "b"}}}},
    }
    extra = {"groupNodes": {"G": group, "H": {"nodes": inside[:2], "links": []}}, "links_added_by_ue": [links[0][0]]}
    graph["extra"] = extra | draws.choice(({}, {"ue_links": sent}))
    shown = [["-1", "a"], [str(nodes[0]["id"]), "text"], ["1", "2: seed"]]
    draws.choice(nodes)["properties"] = draws.choice(({"proxyWidgets": shown}, {"previousName": "a"}))


def spoiled(data: bytes, draws: random.Random) -> bytes:
    kind, at = draws.randrange(7), draws.randrange(len(data) + 1)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + draws.randbytes(draws.choice((1, 1, 8))) + data[at + 1 :]
    if kind == 2:
        return b"\xef\xbb\xbf" + data
    if kind == 3:
        return data.decode("utf-8", "replace").encode(draws.choice(("utf-16", "utf-32", "utf-16-le", "utf-7")))
    if kind == 4:
        return data[:at] + data[draws.randrange(len(data) + 1) :]
    if kind == 5:
        odd = (b"\0", b"[" * 3000, b'{"a":' * 3000, b"\xed\xa0\x80", b"NaN", b"-", b"1" * 9999)
        return data[:at] + draws.choice(odd) + data[at:]
    return draws.choice((b"", b"\xff", SIGNATURE, SIGNATURE + data))


@functools.cache
def bomb() -> bytes:
    """40 MB of text, in 40 kB."""
    return zlib.compress(b" " * (40 << 20), 9)


def picture(text: str, draws: random.Random) -> bytes:
    """A PNG image that carries a workflow, whole or spoiled; most have no pixels."""
    keyword = draws.choice((b"workflow",) * 4 + (b"prompt",) * 4 + (b"parameters", b""))
    kind, body = packed(text.encode(), draws)
    side = draws.choice((0, 1, 100_000, 2**31 - 1, 2**32 - 1))
    header = struct.pack(">2I5B", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (kind, keyword + b"\0" + body), (b"IDAT", draws.randbytes(30)), (b"IEND", b"")]
    for _ in range(draws.choice((0, 0, 0, 1, 2))):
        place = draws.randrange(len(chunks))
        draws.choice((chunks.pop, lambda at: chunks.insert(at, draws.choice(chunks))))(place)
        if not chunks:
            break
    data = SIGNATURE + b"".join(chunk(*each, draws) for each in chunks)
    return spoiled(data, draws) if draws.random() < 0.2 else data


def packed(text: bytes, draws: random.Random) -> tuple[bytes, bytes]:
    """Kind of chunk, and what stands behind its keyword."""
    squeezed = bomb() if draws.random() < 0.03 else zlib.compress(text, 1)[: draws.choice((None, None, None, -9, 5))]
    return draws.choice(
        (
            (b"tEXt", text),
            (b"zTXt", b"\0" + squeezed),
            (b"iTXt", b"\0\0en\0\0" + text),
            (b"iTXt", b"\1\0\0\0" + squeezed),
            (b"iTXt", text[:20]),
            (b"tEXt", json.dumps(odd_value(draws)).encode()),
        )
    )


def chunk(kind: bytes, body: bytes, draws: random.Random) -> bytes:
    odd = draws.random()
    length = draws.choice((0, 2**31, 2**32 - 1, len(body) + 9)) if odd < 0.03 else len(body)
    check = 0 if 0.03 < odd < 0.06 else zlib.crc32(kind + body)
    return struct.pack(">I", length) + kind + body + struct.pack(">I", check)


def no_file(draws: random.Random, folder: Path) -> Path:
    """The path of something that is no file to read."""
    kind, path = draws.randrange(9), folder / "w.json"
    if kind == 0 and hasattr(os, "mkfifo"):
        os.mkfifo(path)
    elif kind == 1:
        path.mkdir()
    elif kind == 2 and hasattr(os, "mkfifo"):
        path.symlink_to(draws.choice(("/dev/zero", "/dev/null", "/dev/tty", "/dev/full")))
    elif kind == 3 and hasattr(os, "mkfifo"):
        path.symlink_to(path)
    elif kind == 4:
        with path.open("wb") as file:
            file.write(draws.choice((b"", SIGNATURE)))
            file.truncate(5 << 30)
    elif kind == 5:
        path.write_bytes(b"{}")
        path.chmod(0)
    else:
        return folder / draws.choice(("missing", "x" * 300, "nul\0", "w.json/below", "\ud800"))
    return path
