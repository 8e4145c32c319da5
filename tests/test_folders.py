"""Folders that take the place of older ones: whole, whatever fails and whenever a process is killed."""

import os
import time

import pytest

from mgt_core import files, folders

needs_locks = pytest.mark.skipif(files.fcntl is None, reason="one process at a time on Windows")


def folder(path, content):
    (path / "sub").mkdir(parents=True)
    (path / "sub" / "file").write_text(content)
    return path


def held(path):
    return (path / "sub" / "file").read_text()


def written(place, content="new"):
    with folders.written_folder(place) as new:
        folder(new / "in", content)


def test_it_is_written_and_written_again(tmp_path):
    for content in ("one", "two"):
        written(tmp_path / "a", content)
        assert held(tmp_path / "a" / "in") == content and os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("error", [OSError("refused"), KeyboardInterrupt()])
@pytest.mark.parametrize("renames", [0, 1])
def test_a_rename_that_fails_leaves_the_old_one(tmp_path, monkeypatch, error, renames):
    place, replace, made = folder(tmp_path / "a", "old"), os.replace, []

    def stops(source, target):
        made.append(source)
        if len(made) == renames + 1:
            raise error
        replace(source, target)

    monkeypatch.setattr(os, "replace", stops)
    with pytest.raises(type(error)):
        written(place)
    assert held(place) == "old" and os.listdir(tmp_path) == ["a"]


def test_a_block_that_raises_leaves_the_old_one(tmp_path):
    place = folder(tmp_path / "a", "old")
    with pytest.raises(KeyError), folders.written_folder(place) as new:
        folder(new / "in", "new")
        raise KeyError
    assert held(place) == "old" and os.listdir(tmp_path) == ["a"]


def killed_between_the_renames(tmp_path):
    folder(tmp_path / f".a{folders.OLD}", "old")
    folder(tmp_path / f".a{folders.NEW}", "new")
    (tmp_path / f".a{files.LOCK}").touch()
    return tmp_path / "a"


@pytest.mark.parametrize("who", ["loads it", pytest.param("saves beside it", marks=needs_locks)])
def test_the_old_one_comes_back_after_a_kill(tmp_path, who):
    place = killed_between_the_renames(tmp_path)
    if who == "loads it":
        folders.recover(place)
    else:
        folders.sweep_folders(tmp_path)
    assert held(place) == "old" and os.listdir(tmp_path) == ["a"]


@needs_locks
def test_an_old_one_that_was_replaced_does_not_come_back(tmp_path):
    place = killed_between_the_renames(tmp_path)
    folder(place, "new")
    folders.recover(place)
    assert held(place) == "new"
    folders.sweep_folders(tmp_path)
    assert held(place) == "new" and os.listdir(tmp_path) == ["a"]


@needs_locks
def test_what_a_living_process_writes_is_left_alone(tmp_path):
    place = killed_between_the_renames(tmp_path)
    before = sorted(os.listdir(tmp_path))
    with files.claimed(place) as mine:
        assert mine
        folders.sweep_folders(tmp_path)
        folders.recover(place)
        assert sorted(os.listdir(tmp_path)) == before


def test_a_bundle_behind_a_link_comes_back(tmp_path):
    place = killed_between_the_renames(tmp_path)
    os.symlink(place, tmp_path / "link")
    folders.recover(tmp_path / "link")
    assert held(place) == "old" and sorted(os.listdir(tmp_path)) == ["a", "link"]


@pytest.mark.parametrize("ending", [folders.NEW, folders.OLD])
@pytest.mark.parametrize("kind", ["link", "dangling", "file"])
@pytest.mark.parametrize("is_there", [True, False])
def test_what_is_no_folder_is_removed_alone(tmp_path, ending, kind, is_there):
    others, here = folder(tmp_path / "others", "mine"), tmp_path / "here"
    (folder(here / "a", "old") if is_there else here).mkdir(exist_ok=True, parents=True)
    os.chmod(others, 0o755)
    left = here / f".a{ending}"
    left.write_text("") if kind == "file" else os.symlink(others if kind == "link" else tmp_path / "none", left)
    folders.sweep_folders(here)
    assert os.listdir(here) == ["a"] * is_there and held(others) == "mine"
    assert others.stat().st_mode & 0o777 == 0o755


def test_without_locks_nothing_is_settled_under_a_running_save(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "fcntl", None)
    place = killed_between_the_renames(tmp_path)
    long_ago = time.time() - 2 * files.ABANDONED
    for name in (files.LOCK, folders.OLD):
        os.utime(tmp_path / f".a{name}", (long_ago, long_ago))
    folders.sweep_folders(tmp_path)
    assert not place.exists() and (tmp_path / f".a{folders.NEW}").is_dir()
    os.utime(tmp_path / f".a{folders.NEW}", (long_ago, long_ago))
    folders.sweep_folders(tmp_path)
    assert held(place) == "old" and os.listdir(tmp_path) == ["a"]


def test_hidden_folders_of_others_are_left_alone(tmp_path):
    for name in (".git", ".a.old", ".mgt-new", "a.mgt-new"):
        folder(tmp_path / name, "mine")
    before = sorted(os.listdir(tmp_path))
    folders.sweep_folders(tmp_path)
    assert sorted(os.listdir(tmp_path)) == before
