"""ComfyUI's own model management decides how much of a backbone is loaded; the rest works from where it rests."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from support.comfy_host import Host, HostMissingError, Json
from support.pack import ROOT

SCRIPT = Path(__file__).with_name("partial_loading.py")


@pytest.fixture(scope="module")
def results() -> Json:
    try:
        host = Host.find()
    except HostMissingError as reason:
        pytest.skip(str(reason))
    command = [host.python, str(SCRIPT), str(ROOT), str(host.folder)]
    ended = subprocess.run(command, cwd=host.folder, capture_output=True, text=True, timeout=500)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.mark.parametrize("scheme", ["none", "fp8", "w4a16"])
def test_partial_loads_change_nothing(results: Json, scheme: str) -> None:
    found = results[scheme]["cpu"]
    counted, real = found["size"]
    assert counted == real > 0
    steps = found["steps"]
    assert all(same for *_, same in steps) and found["unloaded"][1]
    assert [left for _, _, left, _ in steps] == sorted((left for _, _, left, _ in steps), reverse=True)
    assert steps[0][2] > steps[-1][2] > 0
    assert all(loaded <= share for share, loaded, *_ in steps)
    assert found["whole"] == [0, True]


@pytest.mark.parametrize("scheme", ["none", "fp8", "w4a16"])
def test_only_what_cannot_stream_is_loaded_without_room(results: Json, scheme: str) -> None:
    found = results[scheme]["meta"]
    assert found["output"] == "meta" and found["seen"] == ["meta"]
    assert found["kept on the CPU"] == found["all on the CPU"] == found["after"] > 0
    assert found["loaded"] == found["moved"]
    assert found["kept on the CPU"] > found["moved"]
