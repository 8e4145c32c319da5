"""A real ComfyUI server with this pack in it, and a client for its HTTP and websocket interface."""

from __future__ import annotations

import copy
import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import websocket
from PIL import Image

from .pack import ROOT
from .stand_ins import make_scorers, make_stand_ins, make_text_encoders

PROBE = Path(__file__).resolve().with_name("probe_nodes")
PACK = "mgt-pack"  # any folder name must do; a hyphen shows that nothing imports the pack by name
START_SECONDS = 300
PREVIEW_FRAME = 1  # event number of a binary frame that holds a preview

Json = dict[str, Any]


class HostMissingError(Exception):
    """There is no ComfyUI to test with; the message says what to set."""


class HostStartError(Exception):
    """ComfyUI did not start, or did not take the pack; the message ends with its log."""


class PromptRefusedError(Exception):
    """The server found invalid nodes; the message is what it says of them."""

    def __init__(self, node_errors: Json) -> None:
        errors = [error for node in node_errors.values() for error in node["errors"]]
        super().__init__("; ".join(f"{e['message']}: {e['details']}" for e in errors))


@dataclass(frozen=True)
class Host:
    """An installed ComfyUI: its folder and the Python that has its requirements."""

    folder: Path
    python: str

    @staticmethod
    def find() -> Host:
        folder = os.environ.get("COMFYUI_PATH")
        if not folder:
            raise HostMissingError("set COMFYUI_PATH to a ComfyUI folder to run this test")
        if not (Path(folder) / "main.py").is_file():
            raise HostMissingError(f"COMFYUI_PATH={folder} holds no main.py")
        return Host(Path(folder).resolve(), os.environ.get("COMFYUI_PYTHON") or sys.executable)


@dataclass
class Run:
    """What the websocket told about one prompt, in order of arrival."""

    prompt_id: str
    outcome: str = ""  # execution_success, execution_error or execution_interrupted
    details: Json = field(default_factory=dict)  # what came with the outcome
    progress: list[Json] = field(default_factory=list)
    previews: list[Image.Image] = field(default_factory=list)


class Server:
    """Client for one running server. Every method raises on an unexpected HTTP status."""

    def __init__(self, address: str, base: Path, log: Path, pid: int = 0) -> None:
        self.address = address
        self.pid = pid
        self.user = ""  # sent with every request; a server with --multi-user tells people apart by it
        self.base = base
        self.log = log

    def request(self, path: str, body: Json | None = None, timeout: float = 60) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if data is not None else {}
        if self.user:
            headers["Comfy-User"] = self.user
        request = urllib.request.Request(f"http://{self.address}{path}", data, headers)
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return response.read()

    def json(self, path: str, body: Json | None = None) -> Any:
        return json.loads(self.request(path, body))

    def object_info(self) -> Json:
        return self.json("/object_info")

    def pack_nodes(self) -> Json:
        """The part of /object_info that this pack registered."""
        module = f"custom_nodes.{PACK}"
        return {k: v for k, v in self.object_info().items() if v["python_module"] == module}

    def interrupt(self) -> None:
        self.request("/interrupt", {})

    def free(self) -> None:
        self.request("/free", {"unload_models": True, "free_memory": True})

    def submit(self, prompt: Json, client_id: str = "") -> Json:
        """Answer of POST /prompt, also of a refusal: prompt_id or error, and node_errors."""
        body = {"prompt": prompt, "client_id": client_id or uuid.uuid4().hex}
        try:
            return self.json("/prompt", body)
        except urllib.error.HTTPError as error:
            if error.code != 400:
                raise
            return json.loads(error.read())

    def run(
        self,
        prompt: Json,
        on_progress: Callable[[Json], None] | None = None,
        timeout: float = 600,
    ) -> Run:
        """Queue a prompt and follow it to its end. Raises PromptRefusedError if any node is invalid."""
        client_id = uuid.uuid4().hex
        address = f"ws://{self.address}/ws?clientId={client_id}"
        with closing(websocket.create_connection(address, timeout=timeout)) as stream:
            stream.recv()  # the first status message: this client is known to the server now
            answer = self.submit(prompt, client_id)
            if answer["node_errors"]:
                raise PromptRefusedError(answer["node_errors"])
            run = Run(answer["prompt_id"])
            deadline = time.monotonic() + timeout
            while time.monotonic() < deadline:
                if _follow(run, stream.recv(), on_progress):
                    return run
        raise TimeoutError(f"prompt {run.prompt_id} did not end within {timeout} s")

    def failure(self, prompt: Json) -> str:
        """The message a person gets for a prompt that must not succeed."""
        try:
            run = self.run(prompt)
        except PromptRefusedError as refusal:
            return str(refusal)
        assert run.outcome == "execution_error", f"expected an error, got {run.outcome}"
        return run.details["exception_message"].strip()

    def images(self, run: Run) -> list[Image.Image]:
        """The pictures that the finished run left, read back through /history and /view."""
        return [Image.open(io.BytesIO(file)) for file in self._files(run, "images")]

    def sounds(self, run: Run) -> list[bytes]:
        """The same of sounds, each a file."""
        return self._files(run, "audio")

    def _files(self, run: Run, kind: str) -> list[bytes]:
        outputs = self.json(f"/history/{run.prompt_id}")[run.prompt_id]["outputs"]
        queries = [urllib.parse.urlencode(file) for output in outputs.values() for file in output.get(kind, [])]
        return [self.request(f"/view?{query}") for query in queries]

    def held_models(self) -> Json:
        """What the probe pack saw: modules alive by class name, and those the host lists."""
        return self.json("/mgt_probe")

    def log_tail(self, lines: int = 60) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def _follow(run: Run, message: str | bytes, on_progress: Callable[[Json], None] | None) -> bool:
    """Record one websocket message; true when the run is over and its history is written."""
    if isinstance(message, bytes):
        if int.from_bytes(message[:4], "big") == PREVIEW_FRAME:
            run.previews.append(Image.open(io.BytesIO(message[8:])))
        return False
    event = json.loads(message)
    kind, data = event["type"], event["data"]
    if data.get("prompt_id") != run.prompt_id:
        return False
    if kind == "progress":
        run.progress.append(data)
        if on_progress:
            on_progress(data)
    elif kind in ("execution_success", "execution_error", "execution_interrupted"):
        run.outcome, run.details = kind, data
    return kind == "executing" and data["node"] is None


def pixels(image: Image.Image) -> np.ndarray:
    """[height, width, 3], bytes."""
    return np.asarray(image.convert("RGB"))


def node_id(prompt: Json, class_type: str) -> str:
    """Id of the one node of a class in an API-format prompt."""
    (found,) = [key for key, node in prompt.items() if node["class_type"] == class_type]
    return found


def changed(prompt: Json, inputs: dict[str, Json]) -> Json:
    """Copy of an API-format prompt with other inputs: {class name: {input: value}}."""
    prompt = copy.deepcopy(prompt)
    for class_type, values in inputs.items():
        prompt[node_id(prompt, class_type)]["inputs"].update(values)
    return prompt


def make_base(folder: Path) -> Path:
    """A base directory that holds nothing but this pack, the probe, and tiny models by the names that
    workflows use."""
    for name in ("custom_nodes", "input", "user/default"):
        (folder / name).mkdir(parents=True)
    (folder / "custom_nodes" / PACK).symlink_to(ROOT, target_is_directory=True)
    (folder / "custom_nodes" / "mgt_probe").symlink_to(PROBE, target_is_directory=True)
    make_stand_ins(folder / "models" / "mgt")
    make_text_encoders(folder / "models" / "text_encoders")
    make_scorers(folder / "models" / "clip_vision")
    # A person who has used the program before: no tour, no panels or tabs over the graph.
    settings = {
        "Comfy.TutorialCompleted": True,
        "Comfy.Minimap.Visible": False,
        "Comfy.Graph.CanvasInfo": False,
        "Comfy.Workflow.WorkflowTabsPosition": "Sidebar",
    }
    (folder / "user/default/comfy.settings.json").write_text(json.dumps(settings))
    return folder


@contextmanager
def running_server(host: Host, base: Path, *options: str) -> Iterator[Server]:
    """Start ComfyUI on a free port, with more options, wait until it answers, and end it afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [host.python, "main.py", "--cpu", "--listen", "127.0.0.1", "--port", str(port)]
    command += ["--base-directory", str(base), "--database-url", f"sqlite:///{base / 'comfyui.db'}"]
    command += ["--disable-auto-launch", "--disable-api-nodes", "--preview-method", "auto", *options]
    server = Server(f"127.0.0.1:{port}", base, base / "server.log")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    with server.log.open("wb") as log:
        process = subprocess.Popen(command, cwd=host.folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    server.pid = process.pid
    try:
        _wait_until_ready(process, server)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], server: Server) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            server.request("/object_info")
            break
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise HostStartError(f"ComfyUI did not start:\n{server.log_tail()}") from None
            time.sleep(0.25)
    if "IMPORT FAILED" in server.log.read_text(errors="replace"):
        raise HostStartError(f"ComfyUI could not import a pack:\n{server.log_tail()}")
