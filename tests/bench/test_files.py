"""Claims of files that several processes write."""

import errno

import pytest

from bench import files

pytestmark = pytest.mark.skipif(files.fcntl is None, reason="one process at a time on Windows")


def test_a_claim_is_one_process_s_until_it_ends(tmp_path):
    with files.claimed(tmp_path / "a.json") as first, files.claimed(tmp_path / "a.json") as second:
        assert first and not second
    with files.claimed(tmp_path / "a.json") as again:
        assert again


def test_a_file_system_without_locks_does_not_wait_for_ever(tmp_path, monkeypatch):
    def flock(stream, how):
        raise OSError(errno.ENOTSUP, "no locks here")

    monkeypatch.setattr(files.fcntl, "flock", flock)
    with files.waited_for(tmp_path / "a.json", lambda: pytest.fail("waits")):
        pass
