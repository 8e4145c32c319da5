"""Files that a run makes: whole, new, and nothing beside them."""

import errno
import itertools
import os
import subprocess
import sys

import pytest

from runner import writing
from support.pack import ROOT


def paths(folder):
    return (folder / f"{number}" for number in itertools.count())


def test_what_is_there_is_left_alone(tmp_path):
    (tmp_path / "0").write_bytes(b"mine")
    (tmp_path / "1").symlink_to(tmp_path / "nowhere")
    assert writing.save_new(paths(tmp_path), lambda stream: stream.write(b"new")) == tmp_path / "2"
    assert (tmp_path / "0").read_bytes() == b"mine" and (tmp_path / "2").read_bytes() == b"new"
    assert {path.name for path in tmp_path.iterdir()} == {"0", "1", "2"} and not (tmp_path / "nowhere").exists()
    assert (tmp_path / "2").stat().st_mode & 0o777 == (tmp_path / "0").stat().st_mode & 0o777


def test_what_fails_leaves_nothing(tmp_path):
    def fail(stream):
        stream.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writing.save_new(paths(tmp_path), fail)
    assert list(tmp_path.iterdir()) == []


def test_file_systems_without_second_names(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "0").write_bytes(b"mine")
    assert writing.save_new(paths(tmp_path), lambda stream: stream.write(b"new")) == tmp_path / "1"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"0": b"mine", "1": b"new"}


SAVE_TWENTY = """
import itertools, sys
from pathlib import Path
from runner.writing import save_new, sweep
for _ in range(20):
    sweep(Path(sys.argv[1]))
    print(save_new((Path(sys.argv[1]) / str(n) for n in itertools.count()), lambda stream: stream.write(b"x")).name)
"""


def test_several_processes_get_each_their_own(tmp_path):
    command = [sys.executable, "-c", SAVE_TWENTY, str(tmp_path)]
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    names = [name for process in running for name in process.communicate()[0].split()]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert sorted(map(int, names)) == list(range(60)) and len(list(tmp_path.iterdir())) == 60


DIE_WRITING = """
import itertools, os, sys
from pathlib import Path
from runner.writing import save_new
save_new((Path(sys.argv[1]) / str(n) for n in itertools.count()), lambda stream: os._exit(9))
"""


def test_what_a_killed_process_left_is_swept_and_what_is_being_written_is_not(tmp_path):
    (tmp_path / "mine.part").write_bytes(b"mine")
    subprocess.run([sys.executable, "-c", DIE_WRITING, str(tmp_path)], cwd=ROOT, check=False)
    (left,) = set(tmp_path.iterdir()) - {tmp_path / "mine.part"}
    assert left.name.startswith(".") and left.name.endswith(writing.UNFINISHED)
    writing.sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.part"]

    def write(stream):
        stream.write(b"new")
        writing.sweep(tmp_path)

    assert writing.save_new(paths(tmp_path), write).read_bytes() == b"new"
