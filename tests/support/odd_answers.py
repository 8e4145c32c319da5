"""Answers that are none: bytes which are hardly HTTP, and websockets that say too much or too little."""

import json
import random
from itertools import chain, repeat

from .hostile_server import frame, http, slowly, switched

ESCAPE = "\x1b]0;taken\x07"  # tells a terminal its title
CODES = ["100 A", "103 B", "204 C", "206 D", "304 E", "400 F", "401 G", "404 H", "500 I", "599 J", f"999 {ESCAPE[1:6]}"]
MOVED = ["301 A", "302 B", "303 C", "307 D", "308 E"]
ELSEWHERE = [
    "http://127.0.0.2:9/x",
    "https://127.0.0.1/",
    "/object_info",
    "",
    "http://[",
    "//a.invalid/",
    "file:///x",
    "é",
]
SIZES = [2**17, -1, "x", "9" * 5000, 2**40, "1, 2", "", None]
CHUNKED = {"Content_Length": None, "Transfer_Encoding": "chunked"}
OK = b"HTTP/1.1 200 OK\r\n"
FRAMES = [0x01, 0x00, 0x80, 0x82, 0x88, 0x89, 0x8A, 0x8F, 0xF1]
MUCH = b"x" * 65536


def odd_http(draws: random.Random, body: bytes):
    """Pieces of what is hardly an answer. body: of which never all comes in one that is well formed."""
    pick = draws.choice
    return pick(
        [
            lambda: [],
            lambda: [b"\0\xff\r\n\r\n"],
            lambda: [http(body)[: draws.randrange(20)]],
            lambda: [b"HTTP/1.1 2000 OK\r\n\r\n"],
            lambda: [b"HTTP/9.9 200\r\n\r\n"],
            lambda: [b"SSH-2.0-x\r\n"],
            lambda: [http(pick([b"", body]), pick(CODES))],
            lambda: [http(body, pick(MOVED), Location=pick([*ELSEWHERE, ESCAPE]))],
            lambda: [http(body, pick(MOVED))],
            lambda: [http(body[:-9], Content_Length=pick([len(body), *SIZES]))],
            lambda: chain([http(b"CUT", Content_Length=pick([None, 10**6, 10**9]))], repeat(MUCH)),
            lambda: chain([http(b"CUT", Content_Length=10**4)], slowly(b" " * 999)),
            lambda: slowly(http(body)),
            lambda: chain([OK], slowly(b"A: b\r\n" * 200)),
            lambda: chain([OK], repeat(b"A: b\r\n")),
            lambda: chain([OK, b"A: "], repeat(MUCH)),
            lambda: repeat(b"HTTP/1.1 100 Continue\r\n\r\n"),
            lambda: [http(pick([b"zz\r\nCUT\r\n", b"5\r\nCUTxx\r\n", b"5\r\nCUT", b"f" * 5000]), **CHUNKED)],
            lambda: chain([http(b"-1\r\n", **CHUNKED)], repeat(MUCH)),
            lambda: chain([http(**CHUNKED)], repeat(b"1\r\nx\r\n" * 999)),
            lambda: chain([http(b"3\r\nCUT\r\n0\r\n", **CHUNKED)], repeat(b"A: b\r\n" * 999)),
            lambda: [http(b"\x1f\x8b" + b"\0" * 99, Content_Encoding="gzip", Content_Length=None)],
        ]
    )()


def odd_websocket(draws: random.Random, head: bytes):
    """Pieces of what is hardly a websocket."""
    begun, pick = switched(head), draws.choice
    step = json.dumps({"type": "progress", "data": {"value": 1, "max": 2, "node": ESCAPE}}).encode()
    return pick(
        [
            lambda: [begun],
            lambda: odd_http(draws, b"no websocket"),
            lambda: chain([b"HTTP/1.1 101 A\r\nA: "], repeat(MUCH)),
            lambda: [begun, frame(b"x", pick(FRAMES))],
            lambda: [begun, frame(b"x", length=2**63 - 1)],
            lambda: [begun, frame(b"\x00\x01" * 99, 0x88)],
            lambda: [begun, frame(b"\xff\xfe")],
            lambda: [begun, bytes(draws.randrange(256) for _ in range(999))],
            lambda: chain([begun, frame(b"", length=2**40)], repeat(MUCH)),
            lambda: chain([begun, frame(b"", 0x01)], repeat(frame(b"x", 0x00))),
            lambda: chain([begun], repeat(frame(b"p", 0x89))),
            lambda: chain([begun], slowly(frame(b"x" * 999))),
            lambda: chain([begun], repeat(frame(step) + frame(step.replace(b"2", b"3")))),
            lambda: chain([begun], repeat(frame(pick([b"{}", b"[]", b""])))),
        ]
    )()
