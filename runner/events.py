"""What a ComfyUI server tells while it works: its websocket, or silence where there is none."""

from __future__ import annotations

import logging
import time
from typing import Any

from .answers import read_answer
from .problems import Json
from .transport import LARGEST_ANSWER

log = logging.getLogger(__name__)

HANDSHAKE = 64 * 1024  # bytes, of headers
HANDSHAKE_SECONDS = 5.0
MOST_STEPS = 10**9  # of a node


class Silence:
    """Says nothing, at intervals."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def receive(self) -> Json:
        time.sleep(self._seconds)
        return {}

    def close(self) -> None:
        pass


class Messages(Silence):
    """The websocket's messages, {"type": text, "data": object}; an empty one when it was silent for a while, or is gone
    for good: closed, or closed here since what it says is no message."""

    def __init__(self, socket: Any, silence: type[Exception], seconds: float) -> None:
        super().__init__(seconds)
        self._socket, self._silence = socket, silence

    def receive(self) -> Json:
        if self._socket is None:
            return super().receive()
        try:
            self._socket.sock.wait(self._seconds)
            text = self._socket.recv()
            message = _message(text)
        except self._silence:
            return {}
        except Exception as error:  # whatever it is, the server's history tells how the run goes on
            log.info("The websocket closed (%s); asking the server instead.", error)
            self.close()
            return {}
        self._socket.sock.allow(LARGEST_ANSWER)
        return message

    def close(self) -> None:
        if self._socket is not None:
            self._socket.shutdown()  # says no goodbye, which would be waited for
            self._socket = None


class Metered:
    """A socket that receives no more and no longer than allowed; raises TimeoutError, or ValueError for too much."""

    def __init__(self, connection: Any, size: int, seconds: float) -> None:
        self._connection = connection
        self.allow(size)
        self.wait(seconds)

    def allow(self, size: int) -> None:
        self._left = size

    def wait(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    def recv(self, size: int) -> bytes:
        if time.monotonic() > self._until:
            raise TimeoutError("it takes too long")
        if self._left <= 0:
            raise ValueError("it says too much at once")
        data = self._connection.recv(min(size, self._left))
        self._left -= len(data)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def listen(server: str, client_id: str, seconds: float) -> Silence:
    """The websocket of a server at a http(s) address, if there is one and `websocket-client` is installed."""
    try:
        import websocket
    except ImportError:
        log.info("Without the package websocket-client, steps on a server do not show.")
        return Silence(seconds)

    class Socket(websocket.WebSocket):
        """Meters its connection from the handshake on."""

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(
                name, Metered(value, HANDSHAKE, HANDSHAKE_SECONDS) if name == "sock" and value else value
            )

    address = f"ws{server.removeprefix('http')}/ws?clientId={client_id}"
    try:
        socket = websocket.create_connection(address, timeout=seconds, class_=Socket, redirect_limit=0)
        socket.sock.allow(LARGEST_ANSWER)
    except Exception as error:  # whatever it is, a run needs none
        log.info("No websocket at %s (%s).", address, error)
        return Silence(seconds)
    return Messages(socket, websocket.WebSocketTimeoutException, seconds)


def step_of(message: Json, prompt_id: str) -> tuple[int, int, str] | None:
    """Steps done, of how many, and by which node, where a message says so of a prompt, in numbers that can be."""
    data = message.get("data", {})
    done, total = data.get("value"), data.get("max")
    if message.get("type") != "progress" or data.get("prompt_id") not in (None, prompt_id):
        return None
    if not all(isinstance(number, (int, float)) for number in (done, total)) or not 0 <= done <= total <= MOST_STEPS:
        return None
    node = data.get("node")
    return int(done), int(total), node if isinstance(node, str) else ""


def _message(text: str | bytes) -> Json:
    """Raises ValueError where it is none."""
    if isinstance(text, bytes):
        return {"type": "picture", "data": {}}
    message = read_answer(text)
    if not isinstance(message, dict):
        raise ValueError("it says no objects")
    kind, data = message.get("type"), message.get("data")
    return {"type": kind if isinstance(kind, str) else "", "data": data if isinstance(data, dict) else {}}
