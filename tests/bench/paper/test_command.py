"""The whole command on a tiny bundle with tiny judges: what is there is not made again, and what is broken is said."""

import contextlib
import importlib.util
import json
import logging
import sys

import pytest
from PIL import Image

from bench.paper.__main__ import main
from bench.paper.judges.base import JUDGES
from bench.paper.score import kept_scores, score, scores_file
from bench.sweep.worker import Worker
from mgt_core import CalibrationRun, files
from support.judges import clip_judge, pick_judge

CHOICES = {
    "vanilla": {"steps": 2},
    "zigzag": {"steps": 2, "sampler": {"name": "masked_zsampling", "inversion_cfg": 0.0}},
    "cached": {"steps": 2, "token_cache": {"share": 0.5, "every": 2}},
}


@pytest.fixture
def made(monkeypatch):
    """Names of the choices whose pictures were made."""
    found, make = [], Worker.make
    monkeypatch.setattr(Worker, "make", lambda self, job: found.append(job.settings_name) or make(self, job))
    return found


@pytest.fixture
def run(tmp_path, bundle, judges):
    (tmp_path / "prompts.txt").write_text("a red heart\na dog\na cat\n")
    (tmp_path / "choices.json").write_text(json.dumps(CHOICES))
    out = tmp_path / "out"

    def run(*more, prompts=2, wanted="clip,pick", root=judges, choices=tmp_path / "choices.json", model=bundle):
        own = ["--model", model, "--prompts", f"{tmp_path}/prompts.txt:{prompts}", "--judges", wanted, "--out", out]
        return main(list(map(str, [*own, "--choices", choices, "--judge-dir", root, "--size", 32, 32, *more])))

    run.out = out
    return run


def test_twice_then_with_more(run, made, here, judges, monkeypatch, capsys):
    assert run() == 0
    assert made == [
        "vanilla",
        "zigzag",
        "cached",
        "vanilla, 4 steps",
        "vanilla",
        "zigzag",
        "cached",
        "vanilla, 4 steps",
    ]
    told = capsys.readouterr().out
    assert "2 prompts: a win rate of 70 % is known to ± 63.5 points (95 %); 800 prompts give ± 3.2" in told
    assert "zigzag: 7 passes" in told and "4 × 2 pictures, 46 passes" in told
    found = json.loads((run.out / "report.json").read_text())
    assert set(found["judges"]) == {"clip", "pick"} and found["cases"]["zigzag"]["passes"] == 7
    assert found["cases"]["zigzag"]["against_equal_passes"]["case"] == "vanilla, 4 steps"
    assert found["cases"]["cached"]["against_vanilla"]["judges"]["pick"]["win_rate"]["of"] == 2
    assert "| zigzag | vanilla: 4 | 7 |" in (run.out / "page.md").read_text()
    with Image.open(run.out / "pairs.webp") as sheet:
        assert sheet.height >= 4 * 160
    seeds = {json.loads(file.read_text())["seed"] for file in (run.out / "images").glob("*.json")}
    assert seeds == {0, 1}

    made.clear()
    scored, own = [], JUDGES.get("clip").score
    monkeypatch.setattr(JUDGES.get("clip"), "score", lambda *given: scored.append(len(given[1])) or own(*given))
    assert run() == 0 and not made and not scored
    assert json.loads((run.out / "report.json").read_text()) == found

    assert run(prompts=3) == 0
    assert len(made) == 4 and scored == [4]  # the third prompt alone


def test_stopped_in_the_middle(run, made, here, monkeypatch):
    """Once among the pictures, once among the scores."""
    keep, kept = Worker.make, []

    def stop(self, job):
        if len(kept) == 5:
            raise KeyboardInterrupt
        kept.append(job)
        return keep(self, job)

    monkeypatch.setattr(Worker, "make", stop)
    with pytest.raises(SystemExit, match="130"):
        run(wanted="clip")
    monkeypatch.setattr(Worker, "make", keep)
    monkeypatch.setattr("bench.paper.score.BATCH", 3)
    own, batches = JUDGES.get("clip").score, []

    def fail(*given):
        if len(batches) == 2:
            raise KeyboardInterrupt
        batches.append(len(given[1]))
        return own(*given)

    monkeypatch.setattr(JUDGES.get("clip"), "score", fail)
    with pytest.raises(SystemExit, match="130"):
        run(wanted="clip")
    assert len(made) == 8 and batches == [3, 3]
    monkeypatch.setattr(JUDGES.get("clip"), "score", lambda *given: batches.append(len(given[1])) or own(*given))
    assert run(wanted="clip") == 0 and batches == [3, 3, 2] and len(made) == 8


def test_a_warning_that_repeats_is_heard_once_and_only_there(run, here, monkeypatch, caplog):
    keep, warning = Worker.make, logging.getLogger("a part").warning
    monkeypatch.setattr(Worker, "make", lambda self, job: warning("the same of every picture") or keep(self, job))
    run("--plan")
    assert [record.getMessage() for record in caplog.records].count("the same of every picture") == 1
    caplog.clear()
    warning("twice")
    warning("twice")
    assert len(caplog.records) == 2


def test_a_plan_makes_the_first_pictures_alone(run, made, here, capsys):
    assert run("--plan", prompts=3) == 0
    assert made == ["vanilla", "zigzag", "cached"] and not (run.out / "report.json").exists()
    assert "vanilla, 4 steps: 8 passes" in capsys.readouterr().out


def test_judges_that_cannot_work_are_named_before_any_picture(run, made, here, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(JUDGES.get("hps"), "packages", {"nowhere_to_be_found": "open-clip-torch"})
    with pytest.raises(SystemExit, match="no judge is left; nothing was made"):
        run(wanted="hps,geneval,clip", root=tmp_path / "none")
    told = capsys.readouterr().out
    assert "left out: the judge hps needs the package open-clip-torch" in told and not made
    assert "left out: the judge clip needs config.json" in told and "--judge-dir" in told
    with pytest.raises(SystemExit, match="judge is 'beauty'"):
        run(wanted="beauty")
    with pytest.raises(SystemExit, match="--judge-python is 'clip'; expected NAME=PATH"):
        run("--judge-python", "clip")


def test_a_broken_judge_does_not_take_the_others_with_it(run, here, tmp_path, capsys):
    root = tmp_path / "judges"
    clip_judge(root), pick_judge(root)
    (root / "PickScore_v1" / "model.safetensors").write_bytes(b"broken")
    assert run(root=root) == 1
    told = capsys.readouterr().out
    assert "left out: the judge pick failed:" in told and "does not hold a readable CLIPModel" in told
    found = json.loads((run.out / "report.json").read_text())
    assert set(found["judges"]) == {"clip"} and "pick" in found["judges_left_out"]
    assert "PickScore_v1" in (run.out / "scores" / "pick.log").read_text()
    with pytest.raises(SystemExit, match="no judge has spoken; the pictures are in"):
        run(root=root, wanted="pick")
    pick_judge(root)
    assert run(root=root) == 0 and set(json.loads((run.out / "report.json").read_text())["judges"]) == {"clip", "pick"}


def test_a_choice_that_the_model_cannot_make_is_left_out(run, here, tmp_path, capsys):
    own = tmp_path / "own.json"
    far = {"sampler": {"name": "uncage", "objects": [[[[500]], [[501]]]]}, "steps": 2}  # words that no prompt has
    few = {"vanilla": {"steps": 2}, "hot": {"steps": 2, "temperature": 4.0}}
    own.write_text(json.dumps(few | {"far": far}))
    assert run(choices=own, wanted="clip") == 0
    assert "left out: far, since " in capsys.readouterr().out
    assert "*far* was left out: " in (run.out / "page.md").read_text()
    own.write_text(json.dumps({"vanilla": {"steps": 2}, "far": far}))
    with pytest.raises(SystemExit, match="can make none of the choices: "):
        run(choices=own, wanted="clip")


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"prompts": 9}, "holds 3 prompts, and 9 were asked for"),
        ({"choices": "bag"}, "accepted are paper, paper-pairs, decoders or a JSON file"),
        ({"model": "nowhere"}, "model is 'nowhere'"),
    ],
)
def test_what_no_run_could_use(run, made, changes, words):
    with pytest.raises(SystemExit) as end:
        run(**changes)
    assert words in str(end.value) and "\n" not in str(end.value) and not made


def test_a_picture_that_cannot_be_read_is_named(tmp_path, judges):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"no picture")
    listed = [{"name": "a", "file": "images/a.png", "prompt": "a dog", "asked": None}]
    (tmp_path / "scoring.json").write_text(json.dumps(listed))
    with pytest.raises(ValueError, match="a.png cannot be read; remove it and run the command again"):
        score("clip", judges, tmp_path)


def test_the_papers_choices(run, made, here, monkeypatch):
    """All of the set on a model in Meissonic's layout, SCQ and token merging too."""
    monkeypatch.setattr("mgt_core.quantization.pipeline.LOAD_RUN", CalibrationRun(states=1, grid=(2, 2)))
    assert run("--plan", prompts=1, choices="paper", wanted="clip") == 0
    names = ["noise regularization", "differential sampling", "masked Z-Sampling", "Z-Sampling", "token merging"]
    assert made == ["vanilla", *names, "SCQ (w4a8)"]
    rows = [json.loads(file.read_text()) for file in (run.out / "images").glob("*.json")]
    passes = {row["settings_name"]: row["passes"] for row in rows}
    assert passes["masked Z-Sampling"] == 3 * 2 + 2 * 3 and passes["Z-Sampling"] == 3 * 2 + 2 * 2
    assert {row["negative"][:13] for row in rows} == {"worst quality"}


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_on_ray_with_a_judge_in_a_process_of_its_own(run):
    run("--plan", prompts=1, wanted="clip")
    assert run("--ray", "local", "--workers", "1", "--judge-python", f"clip={sys.executable}", wanted="clip") == 0
    found = json.loads((run.out / "report.json").read_text())
    assert all(case["pictures"] == 2 for case in found["cases"].values())
    assert found["cases"]["zigzag"]["against_equal_passes"]["judges"]["clip"]["win_rate"]["of"] == 2
    workers = {json.loads(file.read_text())["pid"] for file in (run.out / "images").glob("*.json")}
    assert len(workers) == 2  # this process and Ray's


def test_scores_file_is_of_the_weights(run, here, tmp_path):
    root = tmp_path / "judges"
    clip_judge(root)
    run(root=root, wanted="clip")
    first = json.loads((run.out / "report.json").read_text())
    clip_judge(root, seed=1)
    run(root=root, wanted="clip")
    second = json.loads((run.out / "report.json").read_text())
    assert first["judges"]["clip"]["weights"] != second["judges"]["clip"]["weights"]
    assert len(list((run.out / "scores").glob("clip-*.json"))) == 2


@pytest.fixture
def others(monkeypatch):
    """What another process has claimed: others(path, before), where `before` happens before it lets go."""

    @contextlib.contextmanager
    def hold(path, before=lambda: None):
        with contextlib.ExitStack() as claims:
            assert claims.enter_context(files.claimed(path))
            monkeypatch.setattr(files.time, "sleep", lambda seconds: (before(), claims.close()))
            yield

    return hold


needs_locks = pytest.mark.skipif(files.fcntl is None, reason="one process at a time on Windows")


@needs_locks
def test_judges_wait_for_those_of_another_process(run, here, others, capsys):
    run("--plan")
    seen = []
    with others(run.out / "scoring.json", lambda: seen.append((run.out / "report.json").exists())):
        assert run(wanted="clip") == 0
    assert seen == [False]
    assert "another process is having pictures judged here; waiting for it" in capsys.readouterr().out


@needs_locks
def test_scores_of_another_process_are_kept(run, here, others, judges, capsys):
    run(wanted="clip")
    (file,) = (run.out / "scores").glob("clip-*.json")
    told = json.loads(file.read_text())
    names = list(told["scores"])
    file.unlink()
    other = told | {"scores": {names[0]: 1.0, "of a list of its own": 2.0}}
    with others(file, lambda: file.write_text(json.dumps(other))):
        score("clip", judges, run.out)
    found = json.loads(file.read_text())["scores"]
    assert set(found) == {*names, "of a list of its own"} and found[names[0]] == 1.0
    assert "another process is scoring pictures here; waiting for it" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b'{"scores": {', b"[]", b'{"scores": {"a": "b"}}'])
def test_scores_that_were_cut_are_judged_again(run, here, judges, content):
    run(wanted="clip")
    (file,) = (run.out / "scores").glob("clip-*.json")
    whole = json.loads(file.read_text())
    file.write_bytes(content)
    score("clip", judges, run.out)
    assert json.loads(file.read_text()) == whole
    (run.out / "scoring.json").write_bytes(content[:1])
    with pytest.raises(ValueError, match="scoring.json cannot be read .*; run bench.paper again"):
        score("clip", judges, run.out)


def test_a_judge_without_every_score_is_left_out(run, here, monkeypatch, capsys):
    def without_one(out, name, weights):
        scores = kept_scores(out, name, weights)
        return dict(list(scores.items())[name == "clip" :])

    monkeypatch.setattr("bench.paper.__main__.kept_scores", without_one)
    assert run() == 1
    told = "the judge clip has left 1 of 8 pictures without a score; the same command has them judged again"
    assert f"left out: {told}" in capsys.readouterr().out
    found = json.loads((run.out / "report.json").read_text())
    assert set(found["judges"]) == {"pick"} and found["judges_left_out"] == {"clip": told}


def test_scores_are_of_what_a_judge_computes_now(tmp_path, monkeypatch):
    """Those of a judge that saw pictures otherwise are not mixed with new ones."""
    file = scores_file(tmp_path, "clip", "0")
    file.parent.mkdir()
    file.write_text(json.dumps({"scores": {"a": 1.0}}))
    assert kept_scores(tmp_path, "clip", "0") == {"a": 1.0}
    monkeypatch.setattr(JUDGES.get("clip"), "revision", 1)
    assert kept_scores(tmp_path, "clip", "0") == {}
