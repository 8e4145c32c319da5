"""A server that sends bytes as they are, whether they are HTTP or not."""

import base64
import hashlib
import json
import socket
import struct
import threading
import time
from contextlib import contextmanager, suppress

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
NODES = {
    "Make": {
        "input": {
            "required": {
                "text": ["STRING", {"default": ""}],
                "steps": ["INT", {"default": 4, "min": 1, "max": 99}],
                "kind": [["a", "b"], {}],
            }
        },
        "input_order": {"required": ["text", "steps", "kind"]},
        "output": ["THING"],
        "output_node": False,
        "display_name": "Make",
    },
    "Show": {"input": {"required": {"thing": ["THING"]}}, "output": [], "output_node": True},
}
PICTURE = {"filename": "p.png", "subfolder": "", "type": "output"}


def http(content=b"", status="200 OK", **headers) -> bytes:
    """An answer; content that is not bytes is JSON. A header that is None is left out."""
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    headers = {"Content-Length": len(content), **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items() if value is not None)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + content


def switched(head: bytes) -> bytes:
    """The answer that a request for a websocket waits for."""
    key = next(line.split(b": ")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()
    more = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Accept": accept, "Content_Length": None}
    return http(status="101 Switching Protocols", **more)


def frame(content: bytes, kind: int = 0x81, length: int | None = None) -> bytes:
    """Of a websocket. length: what it says of itself, if that is not so."""
    return struct.pack("!BBQ", kind, 127, len(content) if length is None else length) + content


def slowly(content):
    for number in range(len(content)):
        time.sleep(0.02)
        yield content[number : number + 1]


def as_comfyui(**odd):
    """What ComfyUI answers, path by path, but for some, which are bytes or a function of the request's head."""
    entry = {"outputs": {"3": {"images": [PICTURE]}}, "status": {"status_str": "success", "messages": []}}
    good = {
        "object_info": http(NODES),
        "prompt": http({"prompt_id": "id", "node_errors": {}}),
        "queue": http({"queue_running": [[0, "id"]], "queue_pending": []}),
        "history": http({"id": entry}),
        "view": http(b"picture"),
        "ws": http(status="404 None"),
        **odd,
    }

    def answer(path, head):
        found = good.get(path.split("?")[0].split("/")[1], b"")
        return [found] if isinstance(found, bytes) else found(head)

    return answer


@contextmanager
def sending(answer):
    """The address of a server; `answer(path, head)` gives the pieces of bytes that a request gets."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads, over = [], threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(5)
            head, body = b"", b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65536) or b"\r\n\r\n"
            head, _, body = head.partition(b"\r\n\r\n")
            length = [
                int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower()[:15] == b"content-length:"
            ]
            while len(body) < sum(length):
                body += connection.recv(65536) or b" " * sum(length)
            path = head.split(b" ")[1].decode() if head.count(b" ") > 1 else ""
            for piece in answer(path, head):
                if over.is_set():
                    break
                connection.sendall(piece)

    def accept() -> None:
        while not over.is_set():
            with suppress(OSError):
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=serve, args=[connection], daemon=True))
                threads[-1].start()

    listener.settimeout(0.02)
    threads.append(threading.Thread(target=accept, daemon=True))
    threads[0].start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        over.set()
        listener.close()
        for thread in list(threads):
            thread.join(6)
