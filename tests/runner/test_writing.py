"""New files: whole or not at all, under names that nobody has."""

import os
import subprocess
import sys

import pytest

from runner import writing
from runner.writing import save_new, sweep
from support.pack import ROOT


def paths(folder):
    return (folder / f"{number}.png" for number in range(1, 9))


def written(folder, content=b"new"):
    return save_new(paths(folder), lambda file: file.write(content)).name


@pytest.fixture(params=["links", "no links", "as on Windows"])
def folder(request, tmp_path, monkeypatch):
    def no_link(*_):
        raise PermissionError(1, "Operation not permitted")

    def rename(source, target, plain=os.rename):
        if os.path.lexists(target):
            raise FileExistsError(target)
        plain(source, target)

    if request.param == "no links":
        monkeypatch.setattr(os, "link", no_link)
    if request.param == "as on Windows":
        monkeypatch.setattr(writing, "fcntl", None)
        monkeypatch.setattr(os, "rename", rename)
    return tmp_path


def test_the_first_free_name_is_taken_and_nothing_else_left(folder):
    (folder / "1.png").write_bytes(b"old")
    (folder / "2.png").symlink_to(folder / "elsewhere.png")
    assert [written(folder), written(folder)] == ["3.png", "4.png"]
    assert {path.name for path in folder.iterdir()} == {"1.png", "2.png", "3.png", "4.png"}
    assert (folder / "1.png").read_bytes() == b"old" and (folder / "3.png").read_bytes() == b"new"


def test_what_fails_leaves_nothing(folder):
    def fails(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_new(paths(folder), fails)
    assert list(folder.iterdir()) == []


def test_no_name_left(folder):
    (folder / "1.png").touch()
    with pytest.raises(FileExistsError):
        save_new(iter([folder / "1.png"]), lambda file: file.write(b"new"))
    assert [path.name for path in folder.iterdir()] == ["1.png"]


def test_what_a_killed_process_left_is_swept_and_what_another_writes_is_not(tmp_path):
    code = (
        "import sys, pathlib, runner.writing as w\n"
        "def stay(file):\n    file.write(b'half'); file.flush(); print('here', flush=True); sys.stdin.readline()\n"
        "w.save_new(iter([pathlib.Path(sys.argv[1]) / '1.png']), stay)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        (partial,) = tmp_path.iterdir()
        if writing.fcntl:
            sweep(tmp_path)
        assert partial.exists() and partial.name.startswith(".")
        process.kill()
    if not writing.fcntl:
        os.utime(partial, (0, 0))
    (tmp_path / ".mine.part").touch()
    (tmp_path / f"{writing.MARK}folder{writing.UNFINISHED}").mkdir()
    sweep(tmp_path)
    assert written(tmp_path) == "1.png"
    assert not partial.exists() and (tmp_path / ".mine.part").exists()
