"""What a sweep has kept: cut files are made again, and whatever ends a run leaves what was finished."""

import csv
import errno
import io
import json
import os

import pytest
from PIL import Image

from bench.sweep import run as runs
from bench.sweep import store as stores
from bench.sweep.__main__ import main
from bench.sweep.run import store_of, sweep
from bench.sweep.sheet import contact_sheet
from bench.sweep.spec import Spec
from bench.sweep.worker import Picture, Worker
from mgt_core import files
from mgt_core.errors import MGTError

FIGURES = {"seconds": 0.1, "steps": 1, "calls": 1, "passes": 1, "batch": 1, "device": "cpu", "host": "here", "pid": 1}
ASKED = {"prompts": ["a dog", "a cat"], "settings": {"quick": {"steps": 1}}, "seeds": [0, 7]}


def painted(job) -> Picture:
    png = io.BytesIO()
    Image.new("RGB", (32, 32), (len(job.prompt) % 256, job.seed % 256, 0)).save(png, "PNG")
    return Picture(png.getvalue(), FIGURES)


@pytest.fixture
def made(monkeypatch):
    """The jobs that were made, in no time."""
    found = []
    monkeypatch.setattr(Worker, "make", lambda self, *jobs: [found.append(job) or painted(job) for job in jobs])
    return found


@pytest.fixture
def command(tmp_path):
    """The sweep as a command: its status or what it says at its end."""
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(ASKED))

    def run(out="out"):
        try:
            main([str(file), "--out", str(tmp_path / out)])
        except SystemExit as end:
            return end.code

    return run


def told(out):
    return json.loads((out / "results.json").read_text())


BROKEN = {
    "cut": lambda data, other: data[:-9],
    "cut by one": lambda data, other: data[:-1],
    "empty": lambda data, other: b"",
    "zeros": lambda data, other: bytes(len(data)),
    "no object": lambda data, other: b"[]",
    "no row": lambda data, other: b"{}",
    "not UTF-8": lambda data, other: b"\xff" + data,
    "a hole": lambda data, other: data[:50] + bytes(8) + data[58:],
    "deep": lambda data, other: b"[" * 100_000,
    "half of a character": lambda data, other: data.replace(b'"cpu"', b'"\\ud800"'),
    "another's": lambda data, other: other,
    "without figures": lambda data, other: data.replace(b'"seconds"', b'"minutes"'),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("ending", [".json", ".png"])
def test_what_was_cut_is_made_again(tmp_path, made, caplog, kind, ending):
    if ending == ".png" and kind in ("half of a character", "another's", "without figures"):
        return  # a whole picture, of which nothing tells that it is not this one
    wanted = Spec(**ASKED)
    rows = sweep(wanted, tmp_path)
    broken, other = ((tmp_path / row["file"]).with_suffix(ending) for row in rows[:2])
    whole = broken.read_bytes()
    broken.write_bytes(BROKEN[kind](whole, other.read_bytes()))
    made.clear()
    again = sweep(wanted, tmp_path)
    assert made == [next(wanted.jobs())] and again == rows
    assert broken.read_bytes() == whole
    said = [line for line in caplog.messages if line.endswith("is made again")]
    assert len(said) == 1 and str(broken) in said[0]


def test_the_row_of_a_picture_is_one_of_numbers(tmp_path, made, monkeypatch):
    monkeypatch.setitem(FIGURES, "host", "a\x1b[31mb")
    monkeypatch.setitem(FIGURES, "score", float("nan"))
    sweep(Spec(**ASKED), tmp_path)
    for file in (tmp_path / "images").glob("*.json"):
        json.loads(file.read_text(), parse_constant=pytest.fail)
    json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a": 1}', b"\xff"])
def test_marks_that_do_not_tell_are_named(tmp_path, made, content):
    wanted, marks = Spec(**ASKED), tmp_path / "marks.json"
    sweep(wanted, tmp_path)
    marks.write_bytes(content)
    with pytest.raises(MGTError, match="marks.json cannot be read .*remove it where they are of the sweep's"):
        sweep(wanted, tmp_path)
    marks.unlink()
    made.clear()
    assert len(sweep(wanted, tmp_path)) == 4 and not made


def test_a_contact_sheet_shows_a_cut_picture_as_missing(tmp_path, made):
    rows = sweep(Spec(**ASKED), tmp_path)
    before = (tmp_path / "contact_sheet.png").read_bytes()
    (tmp_path / rows[0]["file"]).write_bytes(b"no picture")
    store_of(Spec(**ASKED), tmp_path).summary(rows)
    assert (tmp_path / "contact_sheet.png").read_bytes() != before


def test_a_sheet_of_many_settings_stays_small(tmp_path):
    names = [f"{number}" for number in range(100)]
    rows = [
        {"file": "", "error": "why", "settings_name": n, "seed": s, "prompt": "a dog"} for s in range(50) for n in names
    ]
    assert contact_sheet(tmp_path, rows).size == (40 * (256 + 4) - 4, 6 * (256 + 18 + 4) - 4)
    assert contact_sheet(tmp_path, rows[::100]).size == (256, 40 * (256 + 18 + 4) - 4)


def full_disk(monkeypatch, refuses):
    """A disk that takes no file of which `refuses` says so."""
    replace = files.replace_file

    def refusing(path, content):
        if refuses(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        replace(path, content)

    monkeypatch.setattr(stores, "replace_file", refusing)


@pytest.mark.parametrize("summary", [True, False])
def test_a_full_disk_ends_the_run_in_a_sentence_and_it_goes_on(tmp_path, made, monkeypatch, command, summary):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        last = {job.name for job in list(Spec(**ASKED).jobs())[2:]}
        full_disk(patch, lambda path: path.stem in last or (not summary and path.name.startswith("results")))
        said = command()
    assert said.startswith(f"sweep: {out} takes no more of the sweep (No space left on device); make room there")
    assert len(list((out / "images").glob("*.json"))) == 2 and len(made) == 3
    assert (out / "results.json").exists() is summary
    if summary:
        assert [row["prompt"] for row in told(out)] == ["a dog", "a dog"]
    assert command() is None and len(made) == 3 + 2
    assert [row["prompt"] for row in told(out)] == ["a dog", "a dog", "a cat", "a cat"]


def test_a_disk_without_room_for_the_summary_is_told(tmp_path, made, monkeypatch, command):
    full_disk(monkeypatch, lambda path: path.name == "results.csv")
    assert "takes no more of the sweep" in command()


@pytest.mark.parametrize("number", [errno.EDQUOT, errno.EIO])
def test_room_is_asked_for_where_it_lacks(tmp_path, number):
    store = stores.Store(tmp_path)
    with pytest.raises(MGTError, match=os.strerror(number)) as error, store.writing():
        raise OSError(number, os.strerror(number))
    assert ("make room there" in str(error.value)) is (number == errno.EDQUOT)


@pytest.mark.skipif(runs.resource is None, reason="Windows has no such limits")
def test_a_batch_takes_no_more_files_than_a_process_may_open(tmp_path, made, monkeypatch):
    monkeypatch.setattr(runs.resource, "getrlimit", lambda _: (4, 4))
    together, results = [], Worker.results
    monkeypatch.setattr(Worker, "results", lambda self, *jobs: together.append(len(jobs)) or results(self, *jobs))
    rows = sweep(Spec(**ASKED), tmp_path, batch=4)
    assert len(rows) == len(made) == sum(together) and max(together) == 2


def test_an_output_that_is_no_folder(tmp_path, made, command):
    (tmp_path / "file").write_text("")
    for out in ("file", "file/below"):
        assert command(out).startswith(f"sweep: {tmp_path / out} takes no more of the sweep (")
    assert "(File name too long)" in command("x" * 300)
    assert not made


def test_ctrl_c_leaves_what_is_there(tmp_path, made, monkeypatch, command, capsys):
    make = Worker.make

    def stopped(self, *jobs):
        if len(made) == 3:
            raise KeyboardInterrupt
        return make(self, *jobs)

    with monkeypatch.context() as patch:
        patch.setattr(Worker, "make", stopped)
        assert command() == 130
    assert capsys.readouterr().err.splitlines()[-1] == "Cancelled."
    assert len(told(tmp_path / "out")) == 3
    assert command() is None and len(made) == 4


def test_what_is_kept_and_was_not_told_when_a_run_was_stopped_is_summed_up(tmp_path, made, monkeypatch):
    """Of a batch the pictures before the one that the disk does not take."""
    jobs = list(Spec(**ASKED).jobs())
    full_disk(monkeypatch, lambda path: path.stem == jobs[3].name)
    with pytest.raises(MGTError, match="takes no more"):
        sweep(Spec(**ASKED), tmp_path, batch=4)
    assert [row["file"] for row in told(tmp_path)] == [f"images/{job.name}.png" for job in jobs[:3]]


def test_what_killed_runs_left_is_swept(tmp_path, made):
    wanted = Spec(**ASKED)
    store = store_of(wanted, tmp_path)
    first, second, *_ = wanted.jobs()
    left = [
        *(store.picture(job).with_name(f".{store.picture(job).name}.12345678.part") for job in (first, second)),
        tmp_path / ".marks.json.12345678.part",
        tmp_path / ".results.csv.12345678.part",
        tmp_path / "claims" / f".{first.name}{files.LOCK}",
    ]
    for file in left:
        file.write_bytes(b"cut")
    mine = tmp_path / ".of.a.person.part"
    mine.touch()
    sweep(wanted, tmp_path)
    assert [file for file in tmp_path.rglob(".*") if file.is_file()] == [mine]
    if files.fcntl:
        assert not list((tmp_path / "claims").iterdir())


def test_a_claim_of_a_picture_that_is_there_goes_and_others_stay(tmp_path, made):
    wanted = Spec(**ASKED)
    (row, *_) = sweep(wanted, tmp_path)
    claims = tmp_path / "claims"
    kept, held = claims / f"{os.path.basename(row['file'])[:-4]}.lock", claims / "another_0_ab.lock"
    for claim in (kept, held):
        claim.touch()
    store_of(wanted, tmp_path)
    assert not kept.exists() and held.exists()


def test_odd_prompts_stay_in_their_lines_and_cells(tmp_path, made, monkeypatch, caplog):
    caplog.set_level("INFO")

    def make(self, job):
        if "\x1b" in job.prompt:
            raise RuntimeError(f"no tokens for {job.prompt}")
        return [painted(job)]

    monkeypatch.setattr(Worker, "make", make)
    prompts = ["a\x1b[31m dog", 'a "cat", and\n\r\ta\0 bird', "=1+1", "𝒜" * 60, "x" * 10_000]
    rows = sweep(Spec(prompts, {"a/../b\0": {"steps": 1}}, [2**64 - 1]), tmp_path)
    with (tmp_path / "results.csv").open(newline="") as stream:
        held = [row["prompt"] for row in csv.DictReader(line.replace("\0", "") for line in stream)]
    assert held == [prompt.replace("\0", "") for prompt in prompts]
    assert [row["prompt"] for row in told(tmp_path)] == prompts
    assert all(line.isprintable() for line in caplog.messages)
    assert [bool(row["error"]) for row in rows] == [True, False, False, False, False]
