"""The command over fake nodes."""

import json
from pathlib import Path

import pytest

import run_workflow
from runner.images import Folders
from runner.local import Library
from support.fake_nodes import fake_library


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
