"""Runs a prompt on a ComfyUI server: queue, watch, download.

The server's history decides when a run is over; the websocket, if `websocket-client` is installed, only
feeds the progress bar.
"""

from __future__ import annotations

import ipaddress
import json
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from .events import Silence, listen
from .problems import Json, Problem, RunError, WorkflowError, title_of
from .progress import Bar

POLL_SECONDS = 0.5
MISSING_CHECKS = 3
UNDER_WAY = frozenset({"progress", "progress_state", "status", "executed", "picture"})
TIMEOUT_SECONDS = 60


class ServerError(RunError):
    """The server cannot be reached, or a run on it failed."""


class Client:
    """`url` as one types it into a browser; a missing scheme means http."""

    def __init__(self, url: str) -> None:
        self.url = (url if "://" in url else f"http://{url}").rstrip("/")
        if urllib.parse.urlsplit(self.url).scheme not in ("http", "https"):
            raise ServerError(f"--server takes a http or https address, not {url!r}.")
        self.client_id = uuid.uuid4().hex
        proxies = {"proxies": {}} if is_loopback(self.url) else {}
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler(**proxies))

    def object_info(self) -> Json:
        return self._json("/object_info")

    def run(self, prompt: Json, workflow: Json | None, output: Path, bar: Bar) -> list[Path]:
        """Queue the prompt, wait for its end, and download what it saved. Raises WorkflowError, ServerError."""
        events = listen(self.url, self.client_id, POLL_SECONDS)
        try:
            prompt_id = self._queue(prompt, workflow)
            try:
                entry = self._wait(prompt_id, events, bar, prompt)
            except KeyboardInterrupt:
                self._cancel(prompt_id)
                raise
        finally:
            bar.close()
            events.close()
        _raise_if_failed(entry, prompt)
        return [self._download(file, output) for file in _files(entry)]

    def _queue(self, prompt: Json, workflow: Json | None) -> str:
        extra = {} if workflow is None else {"extra_pnginfo": {"workflow": workflow}}
        body = {"prompt": prompt, "client_id": self.client_id, "extra_data": extra}
        answer = self._json("/prompt", body, refusals=True)
        problems = _node_problems(answer.get("node_errors") or {}, prompt)
        error = answer.get("error")
        if error and not problems:
            details = error if isinstance(error, str) else error.get("details", "")
            problems = [Problem(error if isinstance(error, str) else error.get("message", "Refused"), details)]
        if problems:
            if "prompt_id" in answer:  # other outputs were fine and are queued: all or nothing
                self._cancel(answer["prompt_id"])
            raise WorkflowError(problems)
        return answer["prompt_id"]

    def _cancel(self, prompt_id: str) -> None:
        self._request("/queue", {"delete": [prompt_id]})
        running = self._json("/queue").get("queue_running", [])
        if any(prompt_id in item for item in running):
            self._request("/interrupt", {"prompt_id": prompt_id})

    def _wait(self, prompt_id: str, events: Silence, bar: Bar, prompt: Json) -> Json:
        """The history entry of a finished prompt."""
        missing = 0
        while missing <= MISSING_CHECKS:
            message = events.receive()
            kind, data = message.get("type"), message.get("data") or {}
            if kind == "progress" and data.get("prompt_id") in (None, prompt_id):
                node = str(data.get("node"))
                bar.show(data["value"], data["max"], node, title_of(prompt, node))
            if kind in UNDER_WAY:
                continue
            entry = self._json(f"/history/{prompt_id}").get(prompt_id)
            if entry:
                return entry
            missing = 0 if self._is_queued(prompt_id) else missing + 1
        raise ServerError("The server no longer knows the prompt: it was restarted, or the prompt was deleted.")

    def _is_queued(self, prompt_id: str) -> bool:
        queue = self._json("/queue")
        return any(prompt_id in item for part in ("queue_running", "queue_pending") for item in queue.get(part, []))

    def _download(self, file: Json, output: Path) -> Path:
        kind, name = file.get("type", "output"), PurePosixPath(file["filename"].replace("\\", "/")).name
        parts = PurePosixPath(file.get("subfolder", "").replace("\\", "/")).parts
        inside = [part for part in parts if part not in ("/", "..")]
        folder = output.joinpath(*([] if kind == "output" else [kind]), *inside)
        folder.mkdir(parents=True, exist_ok=True)
        query = {"filename": file["filename"], "subfolder": file.get("subfolder", ""), "type": kind}
        data = self._request(f"/view?{urllib.parse.urlencode(query)}")
        for path in _free_names(folder, name):
            try:
                with path.open("xb") as target:
                    target.write(data)
                return path
            except FileExistsError:
                continue
        raise AssertionError("unreachable: names never end")

    def _json(self, path: str, body: Json | None = None, refusals: bool = False) -> Json:
        data = self._request(path, body, refusals)
        try:
            return json.loads(data)
        except ValueError:
            raise ServerError(f"{self.url}{path} does not answer as ComfyUI does.") from None

    def _request(self, path: str, body: Json | None = None, refusals: bool = False) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        try:
            with self._opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            if refusals and error.code == 400:
                return error.read()
            raise ServerError(f"{self.url}{path} answers {error.code} {error.reason}.") from None
        except (urllib.error.URLError, OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise ServerError(f"No ComfyUI server answers at {self.url} ({reason}).") from None


def is_loopback(url: str) -> bool:
    name = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _free_names(folder: Path, name: str) -> Iterator[Path]:
    stem, dot, suffix = name.rpartition(".")
    yield folder / name
    number = 1
    while True:
        number += 1
        yield folder / (f"{stem} ({number}){dot}{suffix}" if dot else f"{name} ({number})")


def _files(entry: Json) -> list[Json]:
    """Every file that the outputs of a history entry name, once."""
    found = {}
    for outputs in (entry.get("outputs") or {}).values():
        for items in outputs.values():
            for item in items if isinstance(items, list) else ():
                if isinstance(item, dict) and item.get("filename"):
                    found[item.get("type"), item.get("subfolder"), item["filename"]] = item
    return list(found.values())


def _node_problems(node_errors: Json, prompt: Json) -> list[Problem]:
    problems = []
    for node_id, report in node_errors.items():
        for error in report.get("errors", []):
            where = (node_id, report.get("class_type", ""), title_of(prompt, node_id))
            problems.append(Problem(error.get("message", ""), error.get("details", ""), *where))
    return problems


def _raise_if_failed(entry: Json, prompt: Json) -> None:
    status = entry.get("status") or {}
    if status.get("status_str", "success") == "success":
        return
    for kind, data in status.get("messages", []):
        node = str(data.get("node_id"))
        where = {"node_id": node, "class_type": data.get("node_type", ""), "title": title_of(prompt, node)}
        if kind == "execution_error":
            raise ServerError(str(Problem(str(data.get("exception_message", "it failed")).strip(), **where)))
        if kind == "execution_interrupted":
            raise ServerError(str(Problem("The run was cancelled on the server", **where)))
    raise ServerError("The run failed on the server, which does not say why.")
