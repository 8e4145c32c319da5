"""A sweep that is killed at any moment, and started again."""

import json
from pathlib import Path
from unittest import mock

import torch

from bench.sweep.run import store_of, sweep
from bench.sweep.spec import Spec
from bench.sweep.worker import Worker
from support.golden import bundles

KILLS = 6

torch.set_num_threads(1)  # or a copy of this process would wait for threads that it does not have
SPEC = Spec(
    ["a dog", "a red heart"],
    {"quick": {"steps": 2, "cfg": 1.0}},
    [0, 7],
    model=str(bundles()[0]),
    dtype="float32",
    size=[32, 32],
    batch=2,
)


def prepare(folder: Path) -> None:
    sweep(SPEC, folder / "undisturbed")


def act(folder: Path) -> None:
    sweep(SPEC, folder / "out")


def check(folder: Path, finished: bool) -> None:
    out, wanted = folder / "out", pictures(folder / "undisturbed")
    claims = len(list((out / "claims").glob("*")))
    store, jobs = store_of(SPEC, out), list(SPEC.jobs())
    there = [job for job in jobs if store.finished(job)]
    assert claims <= len(jobs) and (not finished or there == jobs)
    assert all(store.picture(job).read_bytes() == wanted[store.picture(job).name] for job in there)
    made, make = [], Worker.make
    with mock.patch.object(Worker, "make", lambda self, *group: made.extend(group) or make(self, *group)):
        rows = sweep(SPEC, out)
    assert sorted(made, key=jobs.index) == [job for job in jobs if job not in there]
    assert pictures(out) == wanted and not any(row["error"] for row in rows)
    assert json.loads((out / "results.json").read_text()) == rows and (out / "contact_sheet.png").is_file()
    left = [entry for entry in out.rglob("*") if entry.name.startswith(".") or entry.parent.name == "claims"]
    assert not left, left


def pictures(out: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (out / "images").glob("*.png")}
