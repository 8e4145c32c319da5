"""What a server tells meanwhile stops no run, and Ctrl-C does, whatever the server does then."""

import _thread
import json
import time
from itertools import chain, repeat

import pytest

from runner import events, server
from support.hostile_server import as_comfyui, frame, http, sending, slowly, switched

ESCAPE = "\x1b[31m"

pytestmark = pytest.mark.usefixtures("hurried")


def test_escapes_do_not_reach_the_terminal(ask):
    pytest.importorskip("websocket")
    step = {"type": "progress", "data": {"value": 1, "max": 2, "node": "2"}}
    begun = as_comfyui()
    history = iter([http({}), begun("/history", b"")[0]])
    odd = {
        "ws": lambda head: [switched(head) + frame(json.dumps(step).encode())],
        "history": lambda head: [next(history)],
    }
    with sending(as_comfyui(**odd)) as url:
        code, _, err = ask(url)
    assert code == 0 and r"Slowly\x1b[31m" in err and ESCAPE not in err


@pytest.mark.parametrize(
    "frames",
    [
        lambda: [frame(b"[1]")],
        lambda: [frame(b"not JSON")],
        lambda: [frame(b"\xff")],
        lambda: [frame(b'{"type": [], "data": 5}')],
        lambda: [frame(json.dumps({"type": "progress", "data": {"value": "1", "max": float("nan")}}).encode())],
        lambda: [frame(json.dumps({"type": "progress", "data": {"value": -1, "max": 10**300}}).encode())],
        lambda: chain([frame(b"", length=2**62)], repeat(b"x" * 65536)),
        lambda: slowly(frame(b"x" * 9999)),
        lambda: repeat(frame(b"{}")),
        lambda: repeat(frame(b'{"type": "status"}')),
        lambda: repeat(frame(b"picture", 0x82)),
        lambda: repeat(frame(b"ping", 0x89)),
    ],
)
def test_no_websocket_stops_a_run(frames, before, monkeypatch):
    pytest.importorskip("websocket")
    monkeypatch.setattr(server, "BUSY_SECONDS", 0.1)
    monkeypatch.setattr(events, "LARGEST_ANSWER", 10**6)
    looks = iter([http({})] * 5 + as_comfyui()("/history", b""))
    started = time.monotonic()
    code, saved, _ = before(
        "--quiet", ws=lambda head: chain([switched(head)], frames()), history=lambda head: [next(looks)]
    )
    assert (code, saved) == (0, ["p.png"]) and time.monotonic() - started < 5


def test_a_websocket_that_says_nothing_but_at_once_is_no_busy_loop(before):
    pytest.importorskip("websocket")
    asked = []

    def history(head):
        asked.append(head)
        return [http({}) if time.monotonic() < until else as_comfyui()("/history", b"")[0]]

    until = time.monotonic() + 0.5
    assert before(ws=lambda head: chain([switched(head)], repeat(frame(b"{}"))), history=history)[0] == 0
    assert len(asked) < 15


@pytest.mark.parametrize("hangs", [False, True])
def test_ctrl_c_ends_at_once_though_the_server_hangs(hangs, ask):
    def queue(head):
        if not asked:
            _thread.interrupt_main()
        asked.append(head.split()[0])
        return slowly(b" " * 99) if hangs and len(asked) > 1 else as_comfyui()("/queue", b"")

    asked, started = [], time.monotonic()
    with sending(as_comfyui(history=http({}), queue=queue)) as url:
        code, _, err = ask(url)
    assert (code, err) == (130, "Cancelled.\n") and time.monotonic() - started < 3
    assert asked == ([b"GET", b"POST"] if hangs else [b"GET", b"POST", b"GET"])


def test_a_second_ctrl_c_leaves_the_server_alone(ask):
    def queue(head):
        asked.append(head)
        if len(asked) < 3:
            _thread.interrupt_main()
        return as_comfyui()("/queue", b"")

    asked = []
    with sending(as_comfyui(history=http({}), queue=queue)) as url:
        code, _, err = ask(url)
    assert (code, err) == (130, "Cancelled.\n") and len(asked) == 2
