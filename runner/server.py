"""Runs a prompt on a ComfyUI server: queue, watch, download.

The server's history decides when a run is over; the websocket, if `websocket-client` is installed, only
feeds the progress bar.
"""

from __future__ import annotations

import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from . import answers
from .events import Silence, listen, step_of
from .places import free_names, place_of
from .problems import Json, ServerError, WorkflowError, title_of
from .progress import Bar
from .transport import Server, is_loopback
from .writing import save_new, sweep

__all__ = ["Client", "ServerError", "is_loopback"]

POLL_SECONDS = 0.5
BUSY_SECONDS = 2.0  # between two looks into the history while messages say that the run goes on
PAUSE = 0.05  # seconds between two looks at least, whatever comes
CANCEL_SECONDS = 5.0  # until a server that does not take a cancellation is left alone
MISSING_CHECKS = 3
UNDER_WAY = frozenset({"progress", "progress_state", "status", "executed", "picture"})

T = TypeVar("T")


class Client:
    """`url` as one types it into a browser; a missing scheme means http."""

    def __init__(self, url: str) -> None:
        self._server = Server(url)
        self.url = self._server.url
        self.client_id = uuid.uuid4().hex

    def object_info(self) -> Json:
        return self._json("/object_info", answers.checked_object_info)

    def run(self, prompt: Json, workflow: Json | None, output: Path, bar: Bar) -> Iterator[Path]:
        """Queue the prompt and wait for its end; what it saved comes down as the result is gone through. Raises
        WorkflowError, ServerError."""
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
        answers.raise_if_failed(entry, prompt)
        return self._save(answers.files(entry), output)

    def _queue(self, prompt: Json, workflow: Json | None) -> str:
        extra = {} if workflow is None else {"extra_pnginfo": {"workflow": workflow}}
        body = {"prompt": prompt, "client_id": self.client_id, "extra_data": extra}
        answer = self._json("/prompt", answers.as_object, body, refusals=True)
        problems = answers.refusals(answer, prompt)
        if problems:
            with suppress(ValueError):  # other outputs were fine and are queued: all or nothing
                self._cancel(answers.checked_id(answer))
            raise WorkflowError(problems)
        return self._shaped("/prompt", answers.checked_id, answer)

    def _cancel(self, prompt_id: str) -> None:
        """On a server that does not answer, nothing."""
        until = time.monotonic() + CANCEL_SECONDS
        with suppress(ServerError):
            self._server.ask("/queue", {"delete": [prompt_id]}, seconds=until - time.monotonic())
            running = self._json(
                "/queue", lambda a: answers.queued(a, "queue_running"), seconds=until - time.monotonic()
            )
            if prompt_id in running:
                self._server.ask("/interrupt", {"prompt_id": prompt_id}, seconds=until - time.monotonic())

    def _wait(self, prompt_id: str, events: Silence, bar: Bar, prompt: Json) -> Json:
        """The history entry of a finished prompt."""
        missing, looked = 0, time.monotonic()
        history = f"/history/{urllib.parse.quote(prompt_id, safe='')}"
        while missing <= MISSING_CHECKS:
            message = events.receive()
            if step := step_of(message, prompt_id):
                bar.show(*step, title_of(prompt, step[-1]))
            if message.get("type") in UNDER_WAY and time.monotonic() < looked + BUSY_SECONDS:
                continue
            time.sleep(max(0, looked + PAUSE - time.monotonic()))
            looked = time.monotonic()
            entry = self._json(history, lambda answer: answers.history_entry(answer, prompt_id))
            if entry:
                return entry
            missing = 0 if self._is_queued(prompt_id) else missing + 1
        raise ServerError("The server no longer knows the prompt: it was restarted, or the prompt was deleted.")

    def _is_queued(self, prompt_id: str) -> bool:
        parts = ("queue_running", "queue_pending")
        return prompt_id in self._json("/queue", lambda answer: answers.queued(answer, *parts))

    def _save(self, files: list[Json], output: Path) -> Iterator[Path]:
        """Downloads what there is a place for, and raises afterwards for what there is none."""
        refused, swept = None, set()
        for file in files:
            try:
                place = place_of(file, output)
            except ServerError as error:
                refused = refused or error
                continue
            if place.parent not in swept:
                sweep(place.parent)
                swept.add(place.parent)
            yield self._download(file, place)
        if refused:
            raise refused

    def _download(self, file: Json, place: Path) -> Path:
        query = {"filename": file["filename"], "subfolder": file.get("subfolder") or "", "type": file.get("type")}
        query["type"] = query["type"] or "output"
        address = f"/view?{urllib.parse.urlencode(query, errors='surrogatepass')}"
        try:
            with self._server.file(address) as pieces:
                place.parent.mkdir(parents=True, exist_ok=True)
                return save_new(free_names(place), lambda target: target.writelines(pieces))
        except OSError as error:
            raise ServerError(f"{place} cannot be written ({error.strerror or error}).") from None

    def _json(self, path: str, shape: Callable[[Any], T], *body: Json, **options: Any) -> T:
        data = self._server.ask(path, *body, **options)
        return self._shaped(path, lambda text: shape(answers.read_answer(text)), data)

    def _shaped(self, path: str, shape: Callable[[Any], T], answer: Any) -> T:
        try:
            return shape(answer)
        except ValueError as error:
            raise ServerError(f"{self.url}{path} does not answer as ComfyUI does ({error}).") from None
