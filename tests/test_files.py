"""Files that are written whole, and claims of those that several processes write."""

import errno
import os
import time
from contextlib import ExitStack

import pytest
from safetensors import SafetensorError

from mgt_core import MGTError, files

needs_locks = pytest.mark.skipif(files.fcntl is None, reason="one process at a time on Windows")


def test_a_file_is_replaced_whole(tmp_path):
    file = tmp_path / "new" / "a.json"
    for content in (b"old", b"new"):
        files.replace_file(file, content)
        assert file.read_bytes() == content
    assert os.listdir(file.parent) == ["a.json"]


def test_what_cannot_be_written_leaves_what_was_there(tmp_path):
    file = tmp_path / "a.json"
    file.write_text("old")
    with pytest.raises(OSError, match="full"), files.written_whole(file) as partial:
        partial.write_text("ne")
        raise OSError(errno.ENOSPC, "disk full")
    assert file.read_text() == "old" and os.listdir(tmp_path) == ["a.json"]


@needs_locks
def test_left_overs_of_killed_processes_are_swept_and_those_of_living_ones_are_not(tmp_path):
    (tmp_path / ".a.json.0123abcd.part").write_text("cut")
    (tmp_path / ".b.json.0123abcd.part").write_text("cut")
    for name in ("mine.part", ".movie.mp4.part", ".a.json.1.part"):
        (tmp_path / name).write_text("of a person")
    with files.written_whole(tmp_path / "a.json") as partial:
        partial.write_text("whole")
        files.sweep(tmp_path, "a.json")
        assert not (tmp_path / ".a.json.0123abcd.part").exists() and partial.exists()
        assert (tmp_path / ".b.json.0123abcd.part").exists()
    files.sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".a.json.1.part", ".movie.mp4.part", "a.json", "mine.part"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_pipes_and_links_hold_nobody_up(tmp_path):
    for name in (f".a{files.LOCK}", ".b.0123abcd.part"):
        os.mkfifo(tmp_path / name)
    os.symlink(tmp_path / "elsewhere", tmp_path / f".c{files.LOCK}")
    files.sweep(tmp_path)
    for name in ("a", "c"):
        with pytest.raises(MGTError, match="is no plain file; remove it"), files.alone(tmp_path / name, "painting"):
            pass
    assert len(os.listdir(tmp_path)) == 3


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_what_does_not_reach_the_disk_replaces_nothing(tmp_path, monkeypatch, number):
    files.replace_file(tmp_path / "a", b"old")

    def fsync(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match=os.strerror(number)):
        files.replace_file(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]
    number = errno.EINVAL  # of systems that cannot
    files.replace_file(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_where_open_files_stay_a_claim_is_removed_after_it_was_closed(tmp_path, monkeypatch):
    closed, locked = [], files.locked_file

    def noted(place):
        stream = locked(place)
        closed.append(stream)
        return stream

    def unlink(path, *_, **__):
        assert closed[-1].closed
        os.unlink(path)

    monkeypatch.setattr(files, "fcntl", None)
    monkeypatch.setattr(files, "locked_file", noted)
    monkeypatch.setattr(type(tmp_path), "unlink", unlink)
    with files.claimed(tmp_path / "a") as mine:
        assert mine
    assert not os.listdir(tmp_path)


@needs_locks
def test_a_claim_that_is_held_for_an_instant_is_waited_for(tmp_path, monkeypatch):
    held = ExitStack()
    held.enter_context(files.claimed(tmp_path / "a"))
    monkeypatch.setattr(files.time, "sleep", lambda _: held.close())
    with files.alone(tmp_path / "a", "painting"):
        pass


@needs_locks
def test_a_claim_is_one_process_s_until_it_ends(tmp_path):
    with files.claimed(tmp_path / "a.json") as first, files.claimed(tmp_path / "a.json") as second:
        assert first and not second
    with files.claimed(tmp_path / "a.json") as again:
        assert again


@needs_locks
def test_a_claim_leaves_nothing_and_is_of_one_name(tmp_path):
    with files.claimed(tmp_path / "a.one") as one, files.claimed(tmp_path / "a.two") as two:
        assert one and two and len(os.listdir(tmp_path)) == 2
    assert not os.listdir(tmp_path)


@needs_locks
def test_a_claim_is_not_of_a_file_that_its_owner_has_just_removed(tmp_path, monkeypatch):
    """The other one opened the file while it was locked, and locks it now that nobody finds it any more."""
    place, lock, calls = tmp_path / f".a{files.LOCK}", files.lock, []

    def late(stream, unsure=True):
        if not calls:
            place.unlink()
        calls.append(stream.name)
        return lock(stream, unsure)

    monkeypatch.setattr(files, "lock", late)
    with files.claimed(tmp_path / "a") as mine:
        assert mine and place.exists() and len(calls) == 3
    assert not place.exists()


@needs_locks
def test_who_is_not_alone_is_told(tmp_path):
    with files.alone(tmp_path / "sub" / "a", "painting"):
        with pytest.raises(MGTError, match="another process is painting .*a now"):
            with files.alone(tmp_path / "sub" / "a", "painting"):
                pass
    (tmp_path / "file").touch()
    with pytest.raises(MGTError, match="cannot be written"), files.alone(tmp_path / "file" / "a", "painting"):
        pass


def torch_s(error):
    """What torch makes of it: its own error, while the first one is handled."""
    try:
        raise error
    except OSError:
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")  # noqa: B904


@pytest.mark.parametrize("where", ["plain", "torch", "safetensors"])
def test_a_full_disk_is_told_in_the_system_s_words(tmp_path, where):
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(MGTError, match=r"a.bin cannot be written \(.*No space left on device.*\); make room$"):
        with files.writing(tmp_path / "a.bin", "make room"):
            if where == "torch":
                torch_s(full)
            raise full if where == "plain" else SafetensorError("I/O error: No space left on device (os error 28)")


def test_faults_are_no_full_disk(tmp_path):
    for fault in (RuntimeError("shapes"), ValueError("a number"), KeyError("a")):
        with pytest.raises(type(fault)) as error, files.writing(tmp_path):
            raise fault
        assert error.value is fault
    for name in ("a\0b", "a\ud800b"):
        with pytest.raises(MGTError, match="cannot be written"), files.writing(tmp_path / name):
            os.stat(tmp_path / name)


def without_locks(monkeypatch):
    def flock(stream, how):
        raise OSError(errno.ENOTSUP, "no locks here")

    monkeypatch.setattr(files.fcntl, "flock", flock)


@needs_locks
def test_without_locks_only_what_is_old_is_left_over(tmp_path, monkeypatch):
    without_locks(monkeypatch)
    for name, age in (("new", 0), ("old", files.ABANDONED + 60)):
        part = tmp_path / f".{name}.0123abcd.part"
        part.touch()
        os.utime(part, (time.time() - age,) * 2)
    files.sweep(tmp_path)
    assert os.listdir(tmp_path) == [".new.0123abcd.part"]


@needs_locks
def test_a_file_system_without_locks_does_not_wait_for_ever(tmp_path, monkeypatch):
    without_locks(monkeypatch)
    with files.waited_for(tmp_path / "a.json", lambda: pytest.fail("waits")):
        pass
