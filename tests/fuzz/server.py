"""Servers that answer anything but what ComfyUI answers, and `run_workflow.py --server` before them."""

import _thread
import argparse
import contextlib
import io
import json
import logging
import random
import sys
import time
from pathlib import Path

from runner import events, server, transport
from runner.command import run_on_server
from runner.files import Document
from runner.problems import ServerError, WorkflowError
from runner.progress import Bar
from runner.terminal import Shown
from support.hostile_server import NODES, frame, http, sending, switched
from support.odd_answers import ESCAPE, MUCH, odd_http, odd_websocket
from support.trials import is_sentence, refused

SHORT = 60
OUTCOMES = ("ran", "refused", "cancelled")

LIMITS = {  # the client's, so that a trial takes no minutes
    transport: {
        "SECONDS": 0.1,
        "ANSWER_SECONDS": 0.3,
        "FILE_SECONDS": 0.3,
        "LARGEST_ANSWER": 2**18,
        "LARGEST_FILE": 2**18,
    },
    events: {"HANDSHAKE_SECONDS": 0.1, "LARGEST_ANSWER": 2**16},
    server: {"POLL_SECONDS": 0.01, "BUSY_SECONDS": 0.03, "PAUSE": 0.002, "CANCEL_SECONDS": 0.2},
}
PATIENCE = 20  # seconds on a busy machine; what hangs would take minutes
LOOKS = 6  # at the queue, until a server forgets a prompt that it says is running

ODD = [
    None, True, 0, -1, 1.5, 10**30, float("nan"), float("inf"), "", "x" * 3000, "\0", ESCAPE, "a\nb", "\ud800", "‮gnp",
    [], {}, [None], [[]], [1, 2], {"": None}, ["a", ["b"]], {"a": {"b": []}}, "error", "success", "../../up",
]  # fmt: skip
RAW = [
    b"9" * 5000,
    b"[" * 5000,
    b'{"a":' * 3000,
    b"[" * 300 + b"]" * 300,
    b"\xff",
    b"",
    b"<html>",
    b"1e999",
    b'"\\ud800"',
]
PARTS = [
    "..",
    ".",
    "",
    "/",
    "\\",
    "a",
    "out",
    "C:",
    "nul",
    "con.png",
    ".hidden",
    "link",
    "~",
    "x\0y",
    "é" * 90,
    "x" * 300,
    "\ud800",
]
PARTS += [ESCAPE, "a\nb", "..png", "%2e%2e", "a ", "a.", "*", "p.png", "file", "\u202egnp.exe"]
KINDS = ["temp", "input", "../../escaped", "..", "/etc", "link", None, 5, [], {"a": 1}, ESCAPE]
WORKFLOW = {
    "1": {"class_type": "Make", "inputs": {"text": "cat", "steps": 4, "kind": "b"}, "_meta": {"title": f"Cat{ESCAPE}"}},
    "2": {"class_type": "Show", "inputs": {"thing": ["1", 0]}},
}
GRAPH = {
    "nodes": [
        {"id": 1, "type": "Make", "widgets_values": ["cat", 4, "b"], "outputs": [{"type": "THING", "links": [1]}]},
        {"id": 2, "type": "Show", "inputs": [{"name": "thing", "type": "THING", "link": 1}]},
    ],
    "links": [[1, 1, 0, 2, 0, "THING"]],
}


def trial(seed: int, folder: Path) -> str:
    draws, output = random.Random(seed), folder / "out"
    lay_traps(draws, folder, output)
    hostile = Hostile(draws)
    graph = draws.choice([{"api": WORKFLOW}, {"ui": GRAPH}])
    settings = [draws.choice(["1.steps=9", "Make.kind=a", "1.text=dog"])] if draws.random() < 0.3 else []
    started, said = time.monotonic(), io.StringIO()
    handler = logging.StreamHandler(said)
    handler.setFormatter(Shown())
    logging.getLogger("runner").addHandler(handler)
    logging.getLogger("runner").setLevel(logging.INFO)
    try:
        with limits(), sending(hostile.answer) as url, contextlib.redirect_stderr(said):
            options = argparse.Namespace(server=draws.choice(odd_addresses(url)) if hostile.at == "address" else url)
            options.output, options.set, options.draw = output, settings, 0
            outcome = run(Document(**graph), options)
    finally:
        logging.getLogger("runner").removeHandler(handler)
    assert time.monotonic() - started < PATIENCE, "hangs"
    assert "\x1b]" not in said.getvalue(), "moves the terminal"
    check(folder, output)
    return outcome


def run(document: Document, options: argparse.Namespace) -> str:
    with contextlib.closing(Bar(sys.stderr is not None)) as bar:
        try:
            for path in run_on_server(document, options, bar):
                assert is_sentence(f"Saved {path.name}") and path.is_file()
            return "ran"
        except WorkflowError as error:
            for problem in error.problems:
                refused(problem)
            return "refused"
        except ServerError as error:
            return refused(error)
        except KeyboardInterrupt:
            return "cancelled"


def lay_traps(draws: random.Random, folder: Path, output: Path) -> None:
    """Files and links that lie in the output folder already."""
    (folder / "elsewhere").mkdir()
    if draws.random() < 0.5:
        output.mkdir()
        (output / "link").symlink_to(folder / "elsewhere")
        (output / "file").write_bytes(b"OLD")
        (output / "p.png").symlink_to(folder / "elsewhere" / "gone.png")
        (output / ".mgt-0.part").write_bytes(b"CUT")
    if draws.random() < 0.03:
        output.rmdir() if output.is_dir() and not any(output.iterdir()) else None
        with contextlib.suppress(OSError):
            output.write_bytes(b"OLD")


def check(folder: Path, output: Path) -> None:
    assert not any((folder / "elsewhere").iterdir()), "wrote through a link"
    assert {entry.name for entry in folder.iterdir()} <= {"out", "elsewhere"}, "wrote beside the output"
    for path in output.rglob("*"):
        assert str(path.relative_to(output)).isprintable(), "a name that does not show"
        if path.is_file() and path.name != ".mgt-0.part":
            assert not path.name.startswith("."), f"hidden: {path.name}"
            assert path.read_bytes()[:3] in (b"OLD", b"NEW", b'{"M'), f"a cut file: {path.read_bytes()[:9]}"


@contextlib.contextmanager
def limits():
    before = [(module, name, getattr(module, name)) for module, some in LIMITS.items() for name in some]
    for module, name, _ in before:
        setattr(module, name, LIMITS[module][name])
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def odd_addresses(url: str) -> list[str]:
    host = url.removeprefix("http://")
    none = [
        "",
        " ",
        "http://",
        "http://[",
        "http://[::1",
        "\x1b[2J",
        "[",
        "a:b:c",
        "javascript:x",
        "file:///etc/passwd",
    ]
    bad = [
        "http://é" * 80,
        "http://xn--\udce9",
        "http://127.0.0.1:99999",
        "http://..",
        "http://" + "a" * 70,
        "http://\u2100",
    ]
    near = [
        f"http://{host}x",
        f"http://{host}:1",
        f"ftp://{host}",
        f"//{host}",
        f"http://u:p@{host}",
        "http://127.0.0.1:1",
    ]
    more = [f"{url}{end}" for end in (" ", "/ a", "?x=1", "#x", "/\0", "/é", "//", "/../..")]
    return [*none, *bad, *near, *more, url.upper(), host]


class Hostile:
    """Answers as ComfyUI does, but for one place or two."""

    def __init__(self, draws: random.Random):
        places = ["address", "/object_info", "/prompt", "/queue", "/history", "/view", "/ws", "files", "cancel"]
        self.draws = {place: random.Random(draws.random()) for place in places}  # they are asked side by side
        self.at, self.too = draws.choice(places), draws.choice(places) if draws.random() < 0.2 else ""
        self.waits = 99 if self.at == "cancel" else draws.choice([0, 1, 3])  # looks until the run is over
        self.again = draws.choice([3, 99])  # look at the queue at which a second Ctrl-C comes
        self.looks = 0

    def answer(self, path: str, head: bytes):
        place = "/" + path.split("?")[0].split("/", 2)[1] if path.startswith("/") else ""
        draws, good = self.draws.get(place, random.Random(0)), self.good(place)
        if self.at == "cancel" and place == "/queue" and self.looks in (2, self.again):
            _thread.interrupt_main()  # as Ctrl-C does; again while the run is being cancelled
        if place not in (self.at, self.too):
            return [spoken(draws, head)] if place == "/ws" else [http(good)]
        if place == "/ws":
            return [spoken(draws, head, odd=True)] if draws.random() < 0.3 else odd_websocket(draws, head)
        if isinstance(good, bytes) or draws.random() < 0.4:
            return odd_http(draws, b"CUT" + MUCH if isinstance(good, bytes) else json.dumps(good).encode())
        return [http(odd_json(draws, good))]

    def good(self, place: str):
        draws = self.draws.get(place)
        if place == "/object_info":
            return NODES
        if place == "/prompt":
            problem = {"errors": [{"message": "Bad", "details": "steps"}], "class_type": "Make"}
            refuses = place in (self.at, self.too) and draws.random() < 0.4
            return {"prompt_id": "id", "node_errors": {"1": problem} if refuses else {}}
        if place == "/queue":
            self.looks += 1
            return {"queue_running": [[0, "id", {}, {}, []]] if self.looks < LOOKS else [], "queue_pending": []}
        if place == "/history":
            self.waits -= 1
            return {"id": self.entry(draws)} if self.waits < 0 else {}
        return b"NEW" + b"x" * draws.choice([0, 1, 70000]) if place == "/view" else {}

    def entry(self, draws: random.Random) -> dict:
        names = [{"filename": "p.png", "subfolder": "", "type": "output"}, {"filename": "q.png", "type": "temp"}]
        if "files" in (self.at, self.too):
            names = [odd_file(draws) for _ in range(draws.randint(1, 6))]
        failed = ["execution_error", {"node_id": "1", "node_type": "Make", "exception_message": f"burnt{ESCAPE}\n"}]
        bad = draws.random() < 0.1
        status = {"status_str": "error" if bad else "success", "messages": [["execution_start", {}], failed][: 1 + bad]}
        return {"outputs": {"2": {"images": names, "text": ["said"]}}, "status": status, "prompt": [0, "id", {}]}


def odd_file(draws: random.Random) -> dict:
    def path() -> str:
        return "".join(draws.choice(PARTS) + draws.choice("///\\ ") for _ in range(draws.randint(0, 3))) + draws.choice(
            PARTS
        )

    deep = "/".join("d" * draws.choice([2, 10, 2000]))
    kind = draws.choice(["output", "output", draws.choice(KINDS)])
    name = draws.choice([path(), path(), "p.png", draws.choice(ODD)])
    return {"filename": name, "subfolder": draws.choice([path(), path(), "link", "", deep]), "type": kind}


def odd_json(draws: random.Random, good) -> bytes:
    if draws.random() < 0.1:
        return draws.choice(RAW)
    return json.dumps(mutated(draws, good)).encode().replace(b'"RAW"', draws.choice(RAW))


def mutated(draws: random.Random, value):
    """With something else in one place."""
    if not isinstance(value, (dict, list)) or not value or draws.random() < 0.12:
        return draws.choice([*ODD, "RAW", [value], {"a": value}])
    changed = value.copy()
    key = draws.choice(list(value) if isinstance(value, dict) else range(len(value)))
    if isinstance(value, dict) and draws.random() < 0.1:
        del changed[key]
    else:
        changed[key] = mutated(draws, value[key])
    return changed


def spoken(draws: random.Random, head: bytes, odd: bool = False) -> bytes:
    """A websocket with its messages."""
    messages = [
        {"type": "progress", "data": {"value": 1, "max": 4, "node": "1", "prompt_id": "id"}},
        {"type": "status", "data": {}},
        {"type": "executing", "data": {"node": None, "prompt_id": "id"}},
    ]
    if odd:
        messages = [mutated(draws, draws.choice(messages)) for _ in range(20)]
    texts = [json.dumps(message).encode().replace(b'"RAW"', draws.choice(RAW)) for message in messages]
    return switched(head) + b"".join(frame(text, draws.choice([0x81, 0x81, 0x82])) for text in texts)
