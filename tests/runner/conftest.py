"""The command over fake nodes."""

import json
import sys
from pathlib import Path

import pytest

import run_workflow
from runner import server
from runner.images import Folders
from runner.local import Library
from runner.problems import LONGEST
from support.fake_nodes import fake_library
from support.hostile_server import as_comfyui, sending

MAKE = {"inputs": {"text": "cat", "steps": 4, "kind": "b"}, "class_type": "Make", "_meta": {"title": "Slowly\x1b[31m"}}
SHOW = {"inputs": {"thing": ["2", 0]}, "class_type": "Show"}


@pytest.fixture
def calls():
    return []


@pytest.fixture
def library(calls, tmp_path):
    return fake_library(calls, Folders((tmp_path / "in",), tmp_path / "out"))


@pytest.fixture
def command(library, monkeypatch, tmp_path, capsys):
    """Runs the command over the fake nodes: command(document, *arguments) -> (exit code, stdout, stderr)."""
    monkeypatch.setattr(Library, "of_pack", classmethod(lambda cls, folders: library))

    def run(document, *arguments):
        file = tmp_path / "workflow.json"
        if isinstance(document, Path):
            file = document
        elif isinstance(document, bytes):
            file.write_bytes(document)
        else:
            file.write_text(json.dumps(document))
        code = run_workflow.main([str(file), "--output", str(tmp_path / "out"), *arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def hurried(monkeypatch):
    """The client of servers does not wait long."""
    monkeypatch.setattr(server, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(server, "CANCEL_SECONDS", 1.0)


@pytest.fixture
def ask(tmp_path, capsys):
    """Runs a workflow on a server: ask(url, *arguments) -> (exit code, stdout, stderr)."""

    def run(url, *arguments):
        file = tmp_path / "workflow.json"
        file.write_text(json.dumps({"2": MAKE, "3": SHOW}))
        code = run_workflow.main([str(file), "--server", url, "--output", str(tmp_path / "out"), *arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def before(ask, tmp_path):
    """The same before a server that answers as ComfyUI does, but for some paths: before(view=...) -> (exit code, names
    of what is saved, the sentence that is said)."""

    def run(*arguments, **odd):
        with sending(as_comfyui(**odd)) as url:
            code, _, err = ask(url, *arguments)
        assert len(err) < LONGEST + 20 and err.count("\n") <= 1 and err.strip("\n").isprintable(), err
        return (
            code,
            [path.name for path in tmp_path.rglob("out/**/*") if path.is_file()],
            err.replace(url, "URL").strip(),
        )

    return run


@pytest.fixture
def load(library, tmp_path):
    """What Load Audio makes of these bytes."""

    def run(content, name="a.wav"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(content)
        return library.classes["LoadAudio"]().load(name)[0]

    return run


@pytest.fixture
def without_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)


@pytest.fixture(scope="session")
def info():
    """The classes of support/fake_nodes.py, in the shape of GET /object_info."""
    return fake_library([]).object_info
