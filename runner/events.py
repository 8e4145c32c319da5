"""What a ComfyUI server tells while it works: its websocket, or silence where there is none."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from .problems import Json

log = logging.getLogger(__name__)


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
    """The websocket's text messages; an empty one when it was silent for a while, or is gone for good."""

    def __init__(self, socket: Any, errors: tuple[type[Exception], type[Exception]], seconds: float) -> None:
        super().__init__(seconds)
        self._socket = socket
        self._timeout, self._failure = errors

    def receive(self) -> Json:
        if self._socket is None:
            return super().receive()
        try:
            text = self._socket.recv()
        except self._timeout:
            return {}
        except (self._failure, OSError) as error:
            log.info("The websocket closed (%s); asking the server instead.", error)
            text = ""
        if text == "":
            self.close()
            return {}
        return json.loads(text) if isinstance(text, str) else {"type": "picture"}

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def listen(server: str, client_id: str, seconds: float) -> Silence:
    """The websocket of a server at a http(s) address, if there is one and `websocket-client` is installed."""
    try:
        import websocket
    except ImportError:
        log.info("Without the package websocket-client, steps on a server do not show.")
        return Silence(seconds)
    address = f"ws{server.removeprefix('http')}/ws?clientId={client_id}"
    try:
        socket = websocket.create_connection(address, timeout=seconds)
    except (OSError, websocket.WebSocketException) as error:
        log.info("No websocket at %s (%s).", address, error)
        return Silence(seconds)
    return Messages(socket, (websocket.WebSocketTimeoutException, websocket.WebSocketException), seconds)
