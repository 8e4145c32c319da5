"""The whole command, tiny, on a CPU: in a process that has nothing but what the library needs."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from bench.device.journal import Journal
from bench.device.parts import PARTS
from support.pack import ROOT

# What other benches and the tests use, and a machine with a card may lack.
ABSENT = ("pytest", "hypothesis", "matplotlib", "psutil", "ray", "playwright", "websocket", "resvg_py", "open_clip")
BLOCK = "import sys\nfor name in {names!r}:\n    sys.modules[name] = None\n"


@pytest.fixture
def command(tmp_path):
    """Starts the command with more arguments; site: run by every Python process of it as it starts."""

    def start(*arguments, site="", **options):
        (tmp_path / "sitecustomize.py").write_text(BLOCK.format(names=ABSENT) + site)
        paths = os.pathsep.join([str(tmp_path), str(ROOT)])
        environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        told = [sys.executable, "-m", "bench.device", "--json", str(tmp_path / "out.json"), *arguments]
        return subprocess.Popen(
            told, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
        )

    return start


def read(tmp_path):
    return json.loads((tmp_path / "out.json").read_text())


def of_status(report, *wanted):
    return {(p, n): e for p, tries in report["parts"].items() for n, e in tries.items() if e["status"] in wanted}


def test_tiny_does_every_part(command, tmp_path):
    printed, said = (process := command("--device", "cpu", "--tiny", "--minutes", "10")).communicate()
    assert process.returncode == 0, said
    report = read(tmp_path)
    assert list(report["parts"]) == [part.name for part in PARTS]
    assert not of_status(report, "failed", "broken", "running", "no time"), said
    suite = [entry["figures"]["verdict"] for entry in report["parts"]["suite"].values()]
    assert len(suite) > 8 and set(suite) <= {"same", "ran"}  # the same device twice
    exact = report["parts"]["runs"]["exact@1"]["figures"]
    assert exact["seconds"] > exact["sample_seconds"] > 0 and exact["calls"] == report["steps"]
    step = report["costs"]["exact@1"]
    assert step["operations_a_step"] > 50 and step["flop_a_step"] > 1e6 and 0 < step["roofline_share"] < 1
    assert report["parts"]["budget"] and report["parts"]["original"]["original pipeline"]["status"] == "left out"
    assert {aim["verdict"] for aim in report["aims"]} == {"not measured"}  # at full size alone
    assert "exact@1" in printed and "Right against the CPU" in printed and "not measured" in printed


def test_what_fails_breaks_or_hangs_leaves_the_rest(command, tmp_path):
    """One try raises and leaves the device unusable, one ends its process, one hangs; others are as ever, before and
    after."""
    flag = tmp_path / "lost"
    site = """
import os, sys, time
from pathlib import Path
if "bench.device.worker" in sys.orig_argv:
    from bench.device import ceilings, fused
    def fails(session):
        raise ZeroDivisionError("set by the test")
    def breaks():
        os._exit(7)
    def hangs(session):
        time.sleep(600)
    ceilings.product, ceilings.kernels, ceilings.copy, ceilings.guided = fails, breaks, hangs, lambda session: {}
    from bench.device import tries, parts
    def answers(device, flag=Path(FLAG)):
        lost = not flag.exists()
        flag.touch()
        return not lost
    tries.answers = answers
    tries.Tries.__call__.__defaults__ = (0.0, 8.0)
    parts.PARTS = parts.PARTS[:1]
    parts.AGAIN = ("machine",)
""".replace("FLAG", repr(str(flag)))
    printed, said = (process := command("--device", "cpu", "--tiny", "--minutes", "10", site=site)).communicate()
    assert process.returncode == 0, said
    tries = read(tmp_path)["parts"]["machine"]
    assert tries["hardware"]["status"] == tries["guided forward"]["status"] == "done" and flag.exists()
    assert tries["comfy-kitchen"]["status"] == "broken" and "status 7" in tries["comfy-kitchen"]["error"]
    assert tries["matrix product"]["error"] == "ZeroDivisionError: set by the test"
    assert any("def fails" in line or "in fails" in line for line in tries["matrix product"]["traceback"])
    assert tries["copy"]["status"] == "broken" and "longer than 8 s" in tries["copy"]["error"]
    assert "machine: copy" in printed and "set by the test" in printed and "set by the test" in said


def test_without_time_everything_is_named(command, tmp_path):
    printed, said = (process := command("--device", "cpu", "--tiny", "--minutes", "0")).communicate()
    assert process.returncode == 0, said
    report = read(tmp_path)
    assert len(of_status(report, "no time")) > 10 and not of_status(report, "done", "failed", "broken", "running")
    assert all(entry["reason"] for entry in of_status(report, "no time").values())
    assert "were left" in printed and "more" in printed


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_what_is_ended_leaves_a_report_and_no_process(command, tmp_path):
    process = command("--device", "cpu", "--tiny", "--minutes", "10")
    until = time.time() + 60
    while time.time() < until and not of_status(read_or_none(tmp_path), "done"):
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM and "hardware" not in printed.splitlines()[0]
    assert of_status(read(tmp_path), "done") and "Aims" in printed


def read_or_none(tmp_path):
    """An empty report where there is none yet."""
    file = tmp_path / "out.json"
    return read(tmp_path) if file.is_file() else {"parts": {}}


def test_a_device_that_is_not_there_is_said(command, tmp_path):
    _, said = (process := command("--device", "gpu9", "--tiny")).communicate()
    assert process.returncode == 1 and "gpu9" in said
    assert "status 1" in Journal.open(tmp_path / "out.json").held["ended"]
