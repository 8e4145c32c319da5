"""Tiny judges, and a tiny bundle in Meissonic's layout that draws in three steps."""

import contextlib
import io
import subprocess

import pytest

from bench.paper import score
from bench.paper.judging import Bench
from support.bundles import copy_bundle, edit_config
from support.judges import clip_judge, detector, pick_judge, reward_judge


@pytest.fixture(scope="session")
def judges(tmp_path_factory):
    """Folder of the judges' weights: all but HPSv2's."""
    root = tmp_path_factory.mktemp("judges")
    clip_judge(root), pick_judge(root), reward_judge(root), detector(root)
    return root


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    folder = copy_bundle(tmp_path_factory.mktemp("bundle") / "tiny")
    edit_config(folder / "scheduler", defaults={"steps": 3, "cfg": 2.0})
    return folder


@pytest.fixture
def here(monkeypatch):
    """Judges work in this process, which has imported their packages already."""

    def process(self, name, *more):
        told = io.StringIO()
        with contextlib.redirect_stderr(told):
            code = score.main(["--judge", name, "--judge-dir", str(self.root), *more])
        return subprocess.CompletedProcess(more, code, stderr=told.getvalue())

    monkeypatch.setattr(Bench, "process", process)
