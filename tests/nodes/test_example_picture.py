"""The picture that the editing workflows open with is there, and nobody's file is touched."""

import json
import sys
from pathlib import Path

import pytest

from support.pack import ALIAS, load_pack
from support.workflow_files import WORKFLOWS

load_pack()
example = sys.modules[f"{ALIAS}.nodes.example_picture"]
host = sys.modules[f"{ALIAS}.nodes.host"]


def test_it_is_copied_into_a_folder_without_it(tmp_path):
    example.offer(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [example.NAME]
    assert (tmp_path / example.NAME).read_bytes() == example.SOURCE.read_bytes()


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_what_is_there_stays(tmp_path, kind):
    place = tmp_path / example.NAME
    {"file": lambda: place.write_bytes(b"mine"), "folder": place.mkdir, "dangling link": lambda: place.symlink_to("x")}[
        kind
    ]()
    example.offer(tmp_path)
    assert list(tmp_path.iterdir()) == [place]
    assert place.is_dir() if kind == "folder" else place.is_symlink() or place.read_bytes() == b"mine"
    assert kind != "dangling link" or not place.exists()


@pytest.mark.parametrize("fault", [PermissionError(13, "Permission denied"), OSError(28, "No space left on device")])
def test_a_folder_that_takes_nothing_is_left(tmp_path, monkeypatch, caplog, fault):
    def refuse(path):
        raise fault

    monkeypatch.setattr(example, "written_whole", refuse)
    with caplog.at_level("DEBUG"):
        example.offer(tmp_path)
    assert [record.levelname for record in caplog.records] == ["DEBUG"] and fault.strerror in caplog.text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="of Linux: there nobody writes, not even root")
def test_a_folder_that_is_read_only_is_left(caplog):
    with caplog.at_level("DEBUG"):
        example.offer(Path("/proc/self/fd"))
    assert "was not copied to /proc/self/fd" in caplog.text


def test_no_folder_is_made(tmp_path):
    example.offer(tmp_path / "input")
    example.offer(None)
    assert list(tmp_path.iterdir()) == []


def test_outside_a_host_nothing_is_copied():
    assert host.input_folder() is None


def test_workflows_ask_for_no_other_picture():
    loaded = [
        node["widgets_values"][0]
        for path in WORKFLOWS
        for node in json.loads(path.read_text())["nodes"]
        if node["type"].startswith("LoadImage")
    ]
    assert loaded and set(loaded) == {example.NAME}
