"""Sweeps: every picture once, whatever dies on the way."""

import contextlib
import csv
import importlib.util
import json
import os
import signal

import psutil
import pytest
import torch
from PIL import Image

import mgt_core
from bench.sweep.__main__ import main
from bench.sweep.marks import weights_mark
from bench.sweep.run import store_of, sweep
from bench.sweep.settings import arguments
from bench.sweep.spec import Job, Spec
from bench.sweep.store import Store
from bench.sweep.worker import Worker
from mgt_core import files
from mgt_core.errors import MGTError
from mgt_core.views.pictures import to_pil
from support.bundles import copy_bundle
from support.encoders import clip_model

FEW = {"quick": {"steps": 2, "cfg": 1.0}, "merged": {"steps": 2, "cfg": 2.0, "token_merging": {"ratio": 0.5}}}


def spec(**changes) -> Spec:
    return Spec(**{"prompts": ["a red heart", "a dog"], "settings": FEW, "seeds": [0, 7], "dtype": "float32"} | changes)


def test_in_process_then_resumed(tmp_path, monkeypatch):
    file = tmp_path / "spec.json"
    file.write_text(json.dumps({"prompts": ["a red heart"], "settings": FEW, "seeds": [0, 7], "dtype": "float32"}))
    out = tmp_path / "out"
    main([str(file), "--out", str(out)])
    rows = json.loads((out / "results.json").read_text())
    assert [(row["seed"], row["settings_name"]) for row in rows] == [(s, n) for s in (0, 7) for n in FEW]
    assert [row["passes"] for row in rows] == [2, 4, 2, 4]
    with (out / "results.csv").open() as stream:
        assert [row["file"] for row in csv.DictReader(stream)] == [row["file"] for row in rows]
    size = mgt_core.load("demo").size
    assert {Image.open(out / row["file"]).size for row in rows} == {size[::-1]}
    assert Image.open(out / "contact_sheet.png").size[0] > 2 * size[1]

    # A picture without its sidecar was cut off; one with other settings is another picture.
    (out / rows[1]["file"]).with_suffix(".json").unlink()
    made, make = [], Worker.make
    monkeypatch.setattr(Worker, "make", lambda self, job: made.append(job) or make(self, job))
    again = sweep(spec(prompts=["a red heart"], settings=FEW | {"more": {"steps": 1}}, seeds=[0]), out)
    assert [job.settings_name for job in made] == ["merged", "more"]
    assert [row["settings_name"] for row in again] == ["quick", "merged", "more"]


ONE = {"prompts": ["a dog"], "settings": {"quick": {"steps": 1, "cfg": 1.0}}, "seeds": [0]}


@pytest.fixture
def bundle(tmp_path):
    return copy_bundle(tmp_path / "model")


def changed(bundle, last=b"x"):
    file = next((bundle / "transformer").glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-1] + last)


def test_other_weights_at_the_same_place_are_told(tmp_path, bundle):
    """Or the pictures of those that lay there before would count as theirs."""
    out, wanted = tmp_path / "out", spec(model=str(bundle), **ONE)
    store_of(wanted, out)
    changed(bundle)
    sweep(wanted, out)  # nothing was made of the others
    sweep(wanted, out)
    changed(bundle, b"y")
    with pytest.raises(MGTError, match="holds pictures of other weights that lay at '.*model' before"):
        sweep(wanted, out)
    store_of(spec(), out)  # another model may share the folder


def test_weights_are_those_of_a_model_and_its_parts(tmp_path, bundle):
    out, encoder = tmp_path / "out", clip_model(tmp_path / "encoder")
    own, other = (spec(model=str(bundle), parts=parts, **ONE) for parts in ({}, {"text_encoder": str(encoder)}))
    for wanted in (own, other, own, other):
        assert len(sweep(wanted, out)) == 1
    assert len(list((out / "images").glob("*.png"))) == 2
    file = encoder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    store_of(own, out)
    with pytest.raises(MGTError, match="other weights that lay at '.*model' and '.*encoder' before"):
        store_of(other, out)


def test_what_loading_does_not_read_is_no_part_of_the_weights(bundle):
    before = weights_mark({"model": bundle})
    for name in ("README.md", ".DS_Store", "transformer/LICENSE.txt", ".cache/download/config.json"):
        (bundle / name).parent.mkdir(parents=True, exist_ok=True)
        (bundle / name).write_text("{}")
    assert weights_mark({"model": bundle}) == before
    marks = {before, weights_mark({"transformer": bundle})}
    for name in ("transformer/config.json", "tokenizer/merges.txt", "transformer/calibration.w4a8.json"):
        with (bundle / name).open("a") as stream:
            stream.write(" ")
        marks.add(weights_mark({"model": bundle}))
    assert len(marks) == 5


def test_a_weight_file_is_marked_with_its_configs_alone(tmp_path):
    file = tmp_path / "net.pth"
    for name in ("net.pth", "net.json", "network.json", "other.pth"):
        (tmp_path / name).write_text("{}")
    before = weights_mark({"model": file})
    for name, same in (("network.json", True), ("other.pth", True), ("net.json", False)):
        (tmp_path / name).write_text("{ }")
        assert (weights_mark({"model": file}) == before) is same


@pytest.mark.skipif(files.fcntl is None, reason="one process at a time on Windows")
@pytest.mark.parametrize("dies", [False, True])
def test_another_process_s_picture_is_waited_for_and_made_where_that_died(tmp_path, monkeypatch, dies):
    wanted = spec(prompts=["a red heart"], settings=FEW, seeds=[0, 7])
    first, store, made, make = next(iter(wanted.jobs())), Store(tmp_path), [], Worker.make
    with contextlib.ExitStack() as claims:
        assert claims.enter_context(store.claimed(first))

        def sleep(seconds):
            if not dies:
                store.keep(first, *make(Worker("cpu"), first), 1)
            claims.close()

        monkeypatch.setattr("bench.sweep.run.time.sleep", sleep)
        monkeypatch.setattr(Worker, "make", lambda self, job: made.append(job) or make(self, job))
        rows = sweep(wanted, tmp_path)
    jobs = list(wanted.jobs())
    assert made == jobs[1:] + [first] * dies
    assert [row["file"] for row in rows] == [f"images/{job.name}.png" for job in jobs]


def test_pictures_are_those_of_sample(tmp_path):
    (row,) = sweep(spec(prompts=["a dog"], settings={"quick": FEW["quick"]}, seeds=[7]), tmp_path)
    pipe = mgt_core.load("demo", dtype=torch.float32, device="cpu")
    settings = dict(pipe.model.defaults) | FEW["quick"]
    settings["temperature"] = tuple(settings["temperature"])
    state = mgt_core.empty_tokens(pipe, *pipe.size)
    state = mgt_core.sample(pipe.model, state, pipe.text.encode("a dog"), pipe.text.encode(""), seed=7, **settings)
    expected = to_pil(pipe.codec.decode(state)[0])
    assert Image.open(tmp_path / row["file"]).tobytes() == expected.tobytes()


def test_a_sampler_with_settings_and_a_quantization():
    zigzag = {"sampler": {"name": "masked_zsampling", "end": 0.5}, "temperature": [3.0, 1.0]}
    assert arguments("zigzag", zigzag) == {"sampler": mgt_core.MaskedZSampling(end=0.5, temperature=(3.0, 1.0))}
    worker = Worker("cpu")
    packed = {"steps": 2, "quantization": {"name": "w8a16"}}
    jobs = [spec(settings={"x": settings}).job("a dog", 0, "x") for settings in (packed, zigzag | {"steps": 2})]
    pictures = [picture for job in jobs for picture in worker.make(job)]
    assert [picture.figures["steps"] for picture in pictures] == [2, 2]
    assert [picture.figures["calls"] for picture in pictures] == [2, 4]  # one step of two is a zigzag
    kinds = [worker.pipeline(job).model.quantization for job in jobs]
    assert kinds == [mgt_core.W8A16(), None]


def test_parts_from_elsewhere(tmp_path):
    bundle, encoder = copy_bundle(tmp_path / "bundle"), clip_model(tmp_path / "encoder")
    jobs = [
        Spec(["a"], model=str(bundle), parts=parts, settings={"x": {"steps": 1, "cfg": 1.0}}).job("a", 0, "x")
        for parts in ({}, {"text_encoder": str(encoder)})
    ]
    (own,), (other,) = (Worker("cpu").make(job) for job in jobs)
    assert own.png != other.png and jobs[0].name != jobs[1].name


def test_names_of_pictures_stay_what_they_were():
    """Or a rerun would make them again."""
    assert Job("demo", "float32", "a dog", "", 0, None, "quick", {"steps": 2}).name == "quick-a-dog_0_9b537e860123"


def test_a_job_that_cannot_be_done_is_a_row(tmp_path):
    rows = sweep(spec(prompts=["a dog"], settings={"quick": FEW["quick"]}, seeds=[0], size=[24, 31]), tmp_path)
    assert "31" in rows[0]["error"] or "24" in rows[0]["error"]
    assert not list((tmp_path / "images").iterdir())
    assert json.loads((tmp_path / "results.json").read_text()) == rows


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_on_ray_with_a_worker_killed(tmp_path):
    """Two workers; one is killed (SIGKILL) after its first picture, with its next job in hand."""
    killed = []

    def kill_the_first(job, row):
        if not killed:
            killed.append(row["pid"])
            os.kill(row["pid"], signal.SIGKILL)

    wanted = spec(settings={"slow": {"steps": 16, "cfg": 1.0}}, seeds=[0, 1, 2])
    rows = sweep(wanted, tmp_path, ray="local", workers=2, on_done=kill_the_first)
    assert [(row["prompt"], row["seed"]) for row in rows] == [(p, s) for p in wanted.prompts for s in wanted.seeds]
    assert not any(row["error"] for row in rows)
    assert all(Store(tmp_path).finished(job) for job in wanted.jobs())
    assert killed[0] in {row["pid"] for row in rows} and len({row["pid"] for row in rows}) > 1
    assert max(row["attempts"] for row in rows) == 2
    assert os.getpid() not in {row["pid"] for row in rows}
    _, alive = psutil.wait_procs(psutil.Process().children(recursive=True), timeout=30)
    assert not alive  # the cluster is gone


@pytest.mark.parametrize(
    "content, words",
    [
        ("{", "not valid JSON"),
        ("[]", "has no prompts"),
        ({"prompts": []}, "prompts are []"),
        ({"prompts": ["a"], "seeds": [-1]}, "a seed of the sweep is -1"),
        ({"prompts": ["a"], "seed": 1}, "has seed; accepted are prompts"),
        ({"prompts": ["a"], "dtype": "float8"}, "dtype is 'float8'"),
        ({"prompts": ["a"], "size": 64}, "size is 64"),
        ({"prompts": ["a"], "batch": 0}, "the batch of the sweep is 0"),
        ({"prompts": ["a"], "model": "nowhere"}, "model is 'nowhere'"),
        ({"prompts": ["a"], "settings": {"x": {"stepz": 1}}}, "'x' have stepz; accepted are sampler"),
        ({"prompts": ["a"], "settings": {"x": {"steps": 0}}}, "steps of the settings 'x' is 0"),
        ({"prompts": ["a"], "settings": {"x": {"sampler": "ddim"}}}, "sampler is 'ddim'"),
        ({"prompts": ["a"], "settings": {"x": {"guidance": {"begin": 0}}}}, "guidance has no setting begin"),
        ({"prompts": ["a"], "settings": {"x": {"token_merging": {"ratio": 2}}}}, "token merging ratio is 2"),
        (
            {"prompts": ["a"], "settings": {"x": {"sampler": {"name": "maskgit", "w": 1}}}},
            "'x': maskgit has no setting w",
        ),
        ({"prompts": ["a"], "settings": {"x": {"quantization": "w2"}}}, "'x': quantization is 'w2'"),
        ({"prompts": ["a"], "parts": {"decoder": "here"}}, "parts are {'decoder': 'here'}; expected paths by name of"),
    ],
)
def test_bad_specs_give_one_sentence(tmp_path, content, words):
    file = tmp_path / "spec.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(SystemExit) as end:
        main([str(file), "--out", str(tmp_path / "out")])
    assert words in str(end.value)
    assert "\n" not in str(end.value)
