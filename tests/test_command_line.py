"""How `python -m mgt_core` ends: in a sentence, whatever stops it."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from mgt_core import __main__ as command_line
from mgt_core.commands import quantize
from support.pack import ROOT
from support.trials import is_sentence

TOLD = {
    KeyboardInterrupt(): (130, "Cancelled."),
    BrokenPipeError(): (1, ""),
    OSError(28, "No space left on device", "/a/b"): (1, "/a/b cannot be read or written (No space left on device)"),
    OSError(5, "Input/output error"): (1, "a file cannot be read or written (Input/output error)"),
    MemoryError(): (1, command_line.NO_MEMORY),
    torch.cuda.OutOfMemoryError("CUDA out of memory.\nTried"): (1, command_line.NO_GPU_MEMORY),
}


@pytest.mark.parametrize("error", TOLD, ids=lambda error: type(error).__name__)
def test_what_stops_it_is_told_in_a_sentence(error, monkeypatch, capsys):
    def stopped(options):
        raise error

    monkeypatch.setattr(quantize, "run", stopped)
    status, told = TOLD[error]
    assert command_line.main(["quantize", "a", "b"]) == status
    assert capsys.readouterr().err.strip() == told


def test_memory_that_the_processor_lacks(monkeypatch, capsys):
    monkeypatch.setattr(quantize, "run", lambda options: torch.empty(2**60, dtype=torch.uint8))
    assert command_line.main(["quantize", "a", "b"]) == 1
    assert capsys.readouterr().err.strip() == command_line.NO_MEMORY


def test_faults_of_the_library_keep_their_traceback(monkeypatch):
    def wrong(options):
        raise RuntimeError("shapes")

    monkeypatch.setattr(quantize, "run", wrong)
    with pytest.raises(RuntimeError, match="shapes"):
        command_line.main(["quantize", "a", "b"])


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b", "n" * 300, "a\x1b[31m\nb"])
@pytest.mark.parametrize("told", [["quantize", "demo"], ["train-guidance", "demo", "--out"]])
def test_odd_names(told, name, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert command_line.main([*told, f"file/{name}.safetensors"]) == 1
    assert is_sentence(capsys.readouterr().err.strip()) and os.listdir() == ["file"]


def test_nobody_reads(monkeypatch, tmp_path):
    def flush():
        raise BrokenPipeError

    with (tmp_path / "out").open("w") as stream:
        monkeypatch.setattr(sys, "stdout", SimpleNamespace(flush=flush, fileno=stream.fileno))
        monkeypatch.setattr(sys, "stderr", SimpleNamespace(flush=flush, fileno=stream.fileno))
        with pytest.raises(SystemExit) as ended:
            command_line.end(3)
        assert ended.value.code == 3 and os.path.samestat(os.fstat(stream.fileno()), os.stat(os.devnull))


@pytest.mark.parametrize("command", ["mgt_core", "bench.sweep", "bench.laboratory"])
def test_ctrl_c_while_torch_is_imported(command, tmp_path):
    (tmp_path / "torch.py").write_text("raise KeyboardInterrupt")
    places = os.pathsep.join(map(str, (tmp_path, ROOT)))
    done = subprocess.run(
        [sys.executable, "-m", command, "--help"], env=os.environ | {"PYTHONPATH": places}, cwd=tmp_path,
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Cancelled.\n")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
@pytest.mark.skipif(os.name == "nt", reason="its shell closes no streams")
def test_closed_streams(closed):
    told = f'"{sys.executable}" -m mgt_core --help {closed}'
    done = subprocess.run(told, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr
