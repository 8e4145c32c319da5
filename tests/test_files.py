"""Files that are written whole, and claims of those that several processes write."""

import errno
import os

import pytest

from mgt_core import files

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
    (tmp_path / ".a.json.1.part").write_text("cut")
    (tmp_path / ".b.json.1.part").write_text("cut")
    (tmp_path / "mine.part").write_text("of a person")
    with files.written_whole(tmp_path / "a.json") as partial:
        partial.write_text("whole")
        files.sweep(tmp_path, "a.json")
        assert sorted(os.listdir(tmp_path)) == sorted([".b.json.1.part", "mine.part", partial.name])
    files.sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["a.json", "mine.part"]


@needs_locks
def test_a_claim_is_one_process_s_until_it_ends(tmp_path):
    with files.claimed(tmp_path / "a.json") as first, files.claimed(tmp_path / "a.json") as second:
        assert first and not second
    with files.claimed(tmp_path / "a.json") as again:
        assert again


@needs_locks
def test_a_file_system_without_locks_does_not_wait_for_ever(tmp_path, monkeypatch):
    def flock(stream, how):
        raise OSError(errno.ENOTSUP, "no locks here")

    monkeypatch.setattr(files.fcntl, "flock", flock)
    with files.waited_for(tmp_path / "a.json", lambda: pytest.fail("waits")):
        pass
