"""Sweeps: jobs that fail, several pictures in one run, and where workers run."""

import csv
import importlib.util
import json
import logging
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from bench.sweep import on_ray
from bench.sweep.__main__ import main
from bench.sweep.on_ray import share
from bench.sweep.run import sweep
from bench.sweep.spec import Spec, grouped
from bench.sweep.worker import Worker
from mgt_core.conditioning.text import TextEncoder
from support.bundles import halton_bundle

FEW = {"quick": {"steps": 2, "cfg": 2.0}, "merged": {"steps": 2, "cfg": 2.0, "token_merging": {"ratio": 0.5}}}
NO_RAY = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")


def spec(**changes) -> Spec:
    usual = {"prompts": ["a red heart", "a dog"], "settings": FEW, "seeds": [7, 3], "dtype": "float32"}
    return Spec(**usual | {"size": [64, 64]} | changes)


@pytest.fixture
def failing(monkeypatch):
    """Settings named "full" run out of memory, as torch says it, for as long as the list is not empty."""
    make, on = Worker.make, [True]

    def make_or_fail(self, *jobs):
        if on and jobs[0].settings_name == "full":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee the documentation.")
        return make(self, *jobs)

    monkeypatch.setattr(Worker, "make", make_or_fail)
    return on


def test_a_job_that_fails_is_told_and_the_others_go_on(tmp_path, failing):
    settings = {"full": FEW["quick"], "quick": FEW["quick"]}
    file = tmp_path / "spec.json"
    file.write_text(json.dumps({"prompts": ["a dog"], "settings": settings, "seeds": [0, 1], "size": [64, 64]}))
    with pytest.raises(SystemExit, match="2 of 4 pictures failed, and are tried again .*OutOfMemoryError: CUDA out"):
        main([str(file), "--out", str(tmp_path / "out")])
    with (tmp_path / "out/results.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [bool(row["error"]) for row in rows] == [True, False, True, False]
    assert rows[0]["file"] == "" and "Tried to allocate 2.00 GiB" in rows[0]["error"]

    failing.clear()
    main([str(file), "--out", str(tmp_path / "out")])
    made = json.loads((tmp_path / "out/results.json").read_text())
    assert not any(row["error"] for row in made) and made[1]["pid"] == int(rows[1]["pid"])


def test_the_contact_sheet_has_a_place_for_what_is_missing(tmp_path, failing):
    """And each picture stays in its column."""
    first = {"quick": FEW["quick"]}
    sweep(spec(prompts=["a dog"], settings=first | {"full": FEW["quick"]}), tmp_path / "two")
    sweep(spec(prompts=["a dog"], settings=first), tmp_path / "one")
    two, one = (np.asarray(Image.open(tmp_path / name / "contact_sheet.png")) for name in ("two", "one"))
    width = one.shape[1]
    assert two.shape == (one.shape[0], 2 * width + 4, 3)
    assert np.array_equal(two[20:, :width], one[20:])  # below the labels, which may be cut
    missing = two[:, width + 4 :]
    assert (missing == 211).all(-1).mean() > 0.3  # light gray
    assert (missing == (139, 0, 0)).all(-1).any()  # words in dark red


def test_nothing_but_failures(tmp_path, failing):
    rows = sweep(spec(settings={"full": {"steps": 1}}), tmp_path)
    assert len(rows) == 4 and all(row["error"] for row in rows)
    assert (tmp_path / "contact_sheet.png").is_file() and not list((tmp_path / "images").iterdir())


def test_a_model_of_classes_is_refused(tmp_path):
    (row,) = sweep(
        spec(model=str(halton_bundle(tmp_path / "model")), prompts=["a"], settings={"x": {}}, seeds=[0]),
        tmp_path / "out",
    )
    assert "takes classes and no text" in row["error"]


def pixels(folder, rows):
    return [np.asarray(Image.open(folder / row["file"])) for row in rows]


def test_pictures_of_a_batch_are_those_made_alone(tmp_path):
    wanted = spec(seeds=[7, 3, 2**64 - 1])
    alone, together = (sweep(wanted, tmp_path / name, batch=n) for name, n in (("alone", 1), ("together", 4)))
    assert [row["seed"] for row in together] == [row["seed"] for row in alone]
    assert [row["batch"] for row in together] == [4] * 8 + [2] * 4  # of 6 pictures with either setting
    assert {row["batch"] for row in alone} == {1}
    for one, other in zip(*(pixels(tmp_path / n, rows) for n, rows in (("alone", alone), ("together", together)))):
        assert np.array_equal(one, other)
    assert len({picture.tobytes() for picture in pixels(tmp_path / "alone", alone)}) == len(alone)


def test_a_batch_holds_one_setting_and_what_is_missing_alone():
    jobs = list(spec(seeds=[0, 1, 2]).jobs())
    groups = grouped(jobs[1:], 4)
    assert [len(group) for group in groups] == [4, 4, 2, 1]
    assert all(len({job.settings_name for job in group}) == 1 for group in groups)
    assert sorted(job.name for group in groups for job in group) == sorted(job.name for job in jobs[1:])
    assert [job for group in grouped(jobs, 1) for job in group] == jobs


def test_a_batch_that_is_too_large_is_made_by_halves(tmp_path, monkeypatch, caplog):
    make, tried = Worker.make, []

    def two_at_most(self, *jobs):
        tried.append(len(jobs))
        if len(jobs) > 2 or any(job.seed == 3 for job in jobs):
            raise torch.OutOfMemoryError("out of memory")
        return make(self, *jobs)

    monkeypatch.setattr(Worker, "make", two_at_most)
    rows = sweep(spec(prompts=["a dog"], settings={"x": FEW["quick"]}, seeds=[0, 1, 2, 3, 4]), tmp_path, batch=5)
    assert tried == [5, 2, 3, 1, 2, 1, 1]
    assert [bool(row["error"]) for row in rows] == [False, False, False, True, False]
    assert "5 pictures were not made together (OutOfMemoryError: out of memory)" in caplog.text


def test_prompts_are_encoded_once(tmp_path, monkeypatch):
    encode, asked = TextEncoder.encode, []
    monkeypatch.setattr(TextEncoder, "encode", lambda self, prompt: asked.append(prompt) or encode(self, prompt))
    sweep(spec(negative="ugly"), tmp_path)
    assert Counter(asked) == {"a red heart": 1, "a dog": 1, "ugly": 1}


def test_where_pictures_are_made_is_told(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (row,) = sweep(spec(prompts=["a"], seeds=[0], settings={"x": {"steps": 1}}), tmp_path)
    assert f"process {row['pid']} on {row['host']} makes pictures on {row['device']}" in caplog.text


@pytest.mark.parametrize(
    "resources, gpus, workers, expected",
    [
        ({"CPU": 8.0}, None, None, (0, 8)),
        ({"CPU": 8.0, "GPU": 2.0}, None, None, (1, 2)),
        ({"CPU": 8.0, "GPU": 2.0}, 0, None, (0, 8)),
        ({"CPU": 8.0, "GPU": 2.0}, 0.5, None, (0.5, 4)),
        ({"CPU": 8.0, "GPU": 2.0}, None, 1, (1, 1)),
        ({"CPU": 8.0, "GPU": 1.0}, 2, None, (2, 1)),
        ({"CPU": 8.0, "GPU": 1.0}, None, 2, (0.5, 2)),
        ({"CPU": 4.0, "GPU": 8.0}, None, None, (1, 4)),
        ({"CPU": 8.0, "GPU": 2.0}, 1, 4, (1, 2)),
    ],
)
def test_the_share_of_a_worker(resources, gpus, workers, expected):
    assert share(resources, gpus, workers) == expected


@NO_RAY
def test_on_ray_a_worker_holds_a_gpu_and_says_where_it_is(tmp_path, monkeypatch, caplog):
    """Of a cluster that counts one, whether it is there or not; a job that fails does not end its worker."""
    import ray

    def with_a_gpu(ray, address, workers):
        ray.init(
            "local", num_cpus=2, num_gpus=1, include_dashboard=False, object_store_memory=2**28, log_to_driver=False
        )

    monkeypatch.setattr(on_ray, "start_ray", with_a_gpu)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)  # which a suite on the CPU has emptied
    caplog.set_level(logging.INFO)
    free = []
    settings = {"bad": {"quantization": {"name": "w8a16", "keep": ["nothing"]}}, "good": {"steps": 1}}
    rows = sweep(
        spec(prompts=["a dog"], settings=settings),
        tmp_path,
        ray="local",
        batch=2,
        on_done=lambda job, row: free.append(ray.available_resources().get("GPU", 0)),
    )
    assert [bool(row["error"]) for row in rows] == [True, False, True, False]
    assert free[0] == 0 and {row["batch"] for row in rows if not row["error"]} == {2}
    (pid,) = {row["pid"] for row in rows if not row["error"]}
    assert f"process {pid} on " in caplog.text and "1 workers with 1 GPUs each" in caplog.text
