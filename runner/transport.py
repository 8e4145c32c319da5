"""Requests to one server: they go nowhere else, and what comes back is bounded in size and time."""

from __future__ import annotations

import http.client
import io
import ipaddress
import json
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager

from .problems import Json, ServerError

SECONDS = 60  # until an answer begins, and then for every PIECE of it; a server may have lists of models to read
PIECE = 64 * 1024
HEAD = 1024 * 1024  # bytes of status and headers, whatever http.client allows
LARGEST_ANSWER = 64 * 1024**2  # of JSON; nodes of a hundred packs take 10 MB, more with thousands of models listed
ANSWER_SECONDS = 300  # for the whole of it
LARGEST_FILE = 2 * 1024**3  # pictures are a thousandth of it, long videos reach it
FILE_SECONDS = 3600
REDIRECTS = 3
MOVED = frozenset({301, 302, 303, 307, 308})
EXAMPLE = "http://127.0.0.1:8188"


class Server:
    """A server at an address as one types it into a browser; a missing scheme means http. Raises ServerError."""

    def __init__(self, address: str) -> None:
        self.url = checked_address(address)
        proxies = {"proxies": {}} if is_loopback(self.url) else {}
        self._opener = urllib.request.OpenerDirector()  # follows nothing, and raises for no status
        for handler in (urllib.request.ProxyHandler(**proxies), _Http(), _Https()):
            self._opener.add_handler(handler)

    def ask(
        self, path: str, body: Json | None = None, *, refusals: bool = False, seconds: float | None = None
    ) -> bytes:
        """The whole answer. refusals: whether one of status 400 is an answer as well. seconds: that it may take, each
        for its head and its body; ANSWER_SECONDS if None. Raises ServerError."""
        seconds = ANSWER_SECONDS if seconds is None else max(0.001, seconds)
        with self._opened(path, body, (200, 400) if refusals else (200,), seconds) as answer:
            return b"".join(self._pieces(answer, path, LARGEST_ANSWER, seconds))

    @contextmanager
    def file(self, path: str) -> Iterator[Iterator[bytes]]:
        """The content of a file, piece by piece; the iterator raises ServerError, too, unless it comes whole."""
        with self._opened(path, None, (200,), FILE_SECONDS) as answer:
            if answer.length is None and not answer.chunked:
                raise ServerError(f"{self.url}{path} does not say how long the file is, so that a cut one would pass.")
            yield self._pieces(answer, path, LARGEST_FILE, FILE_SECONDS)

    @contextmanager
    def _opened(self, path: str, body: Json | None, accepted: tuple[int, ...], seconds: float) -> Iterator[Answer]:
        url = self.url + path
        for _ in range(1 + REDIRECTS):
            with closing(self._send(url, body, seconds)) as answer:
                if answer.status in accepted:
                    yield answer
                    return
                if answer.status not in MOVED:
                    raise ServerError(f"{url} answers {answer.status} {answer.reason}.")
                url = self._moved(url, answer.headers.get("Location", ""), body)
        raise ServerError(f"{self.url}{path} redirects again and again.")

    def _send(self, url: str, body: Json | None, seconds: float) -> Answer:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        try:
            answer = self._opener.open(request, timeout=min(SECONDS, seconds))
        except OSError as error:  # urllib.error.URLError is one
            raise ServerError(f"No ComfyUI server answers at {self.url} ({_reason(error)}).") from None
        except (http.client.HTTPException, ValueError) as error:
            raise ServerError(f"{url} does not answer as ComfyUI does ({_reason(error)}).") from None
        if answer is None:
            raise ServerError(f"No ComfyUI server answers at {self.url} (its proxy is none for http).")
        return answer

    def _moved(self, url: str, location: str, body: Json | None) -> str:
        """Where a redirect leads, unless that is another place."""
        try:
            target = urllib.parse.urljoin(url, location)
            same = _origin(target) == _origin(self.url)
        except ValueError:
            same, target = False, location
        if not location or not same or body is not None:
            what = "which is not followed; --server takes the address where ComfyUI itself answers"
            raise ServerError(f"{url} redirects to {target!r}, {what}.")
        return target

    def _pieces(self, answer: Answer, path: str, limit: int, seconds: float) -> Iterator[bytes]:
        size, until = 0, time.monotonic() + seconds
        where = f"The answer of {self.url}{path}"
        try:
            while size <= limit and (answer.length or 0) <= limit - size:
                answer.meter.allow(min(SECONDS, until - time.monotonic()))
                piece = answer.read(PIECE)
                if not piece:
                    break
                size += len(piece)
                yield piece
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ServerError(f"{where} broke off after {size} bytes ({_reason(error)}).") from None
        if size > limit or (answer.length or 0) > limit - size:
            raise ServerError(f"{where} holds more than {limit // 1024**2} MB, the most that is taken.")
        if answer.length:
            raise ServerError(f"{where} broke off after {size} bytes ({answer.length} are missing).")


class Meter(io.RawIOBase):
    """Bytes of a socket, no more and no longer than allowed. Reading raises TimeoutError, or ValueError past `HEAD`."""

    def __init__(self, raw: io.RawIOBase, connection: socket.socket) -> None:
        self._raw, self._connection = raw, connection
        self.allow(connection.gettimeout() or SECONDS)

    def allow(self, seconds: float) -> None:
        """From now on."""
        self._until, self._left = time.monotonic() + seconds, HEAD

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int | None:
        seconds = self._until - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("it takes too long")
        if self._left <= 0:
            raise ValueError("it is wrapped in too much")
        self._connection.settimeout(seconds)
        count = self._raw.readinto(memoryview(buffer)[: self._left])
        self._left -= count or 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class Answer(http.client.HTTPResponse):
    """One whose every byte is metered, from the status line on."""

    def __init__(self, connection: socket.socket, *args, **options) -> None:
        super().__init__(connection, *args, **options)
        self.meter = Meter(self.fp.detach(), connection)
        self.fp = io.BufferedReader(self.meter)


class _Plain(http.client.HTTPConnection):
    response_class = Answer


class _Secure(http.client.HTTPSConnection):
    response_class = Answer


class _Http(urllib.request.AbstractHTTPHandler):
    def http_open(self, request):
        return self.do_open(_Plain, request)

    http_request = urllib.request.AbstractHTTPHandler.do_request_


class _Https(urllib.request.AbstractHTTPHandler):
    def https_open(self, request):
        return self.do_open(_Secure, request)

    https_request = urllib.request.AbstractHTTPHandler.do_request_


def checked_address(text: str) -> str:
    """`http://host:port/path` of what was typed. Raises ServerError for what is none."""
    if not text.strip():
        raise ServerError(f"--server is empty; it takes the address of a ComfyUI server, for instance {EXAMPLE}.")
    wrong = f"--server takes a http or https address, for instance {EXAMPLE}, not {text!r}"
    if not text.isprintable() or " " in text:
        raise ServerError(f"{wrong}, which holds blanks or characters that do not show.")
    try:
        parts = urllib.parse.urlsplit(text if "://" in text else f"http://{text}")
        host = (parts.hostname or "").encode("idna").decode()
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError as error:
        raise ServerError(f"{wrong} ({error}).") from None
    if parts.scheme not in ("http", "https"):
        raise ServerError(f"--server takes a http or https address, not {text!r}.")
    if not host:
        raise ServerError(f"{wrong}, which names no host.")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ServerError(f"{wrong}; a user name, a password, ? and # have no place in it.")
    path = urllib.parse.quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~")
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}{path}"


def is_loopback(url: str) -> bool:
    name = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    return str(reason) or type(reason).__name__
