"""What a training leaves on the disk, and how it goes on from there: with the same, or not at all."""

import errno
import logging
import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors.torch import load, load_file

import mgt_core
from mgt_core import MGTError, files
from mgt_core.self_guidance import kept
from mgt_core.self_guidance.examples import Examples, gather_examples
from mgt_core.self_guidance.identity import weights_mark
from mgt_core.self_guidance.training import TrainingSettings, train
from support.device import HERE
from support.golden import bundles
from support.saved import tree, variant

PIPE = mgt_core.load(bundles()[0], **HERE)
SMALL = replace(PIPE, size=(4 * PIPE.model.pixels_per_token,) * 2)  # a grid of 4 by 4
TOKENS = torch.randint(8, (6, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
EXAMPLES = Examples(TOKENS, captions=tuple(f"picture {i}" for i in range(6)))
TINY = TrainingSettings(steps=2, batch=3, rate=1e-2, save_every=0.0)

needs_locks = pytest.mark.skipif(files.fcntl is None, reason="one process at a time on Windows")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    train(PIPE, EXAMPLES, folder / "branch.safetensors", TINY)
    return folder


@pytest.fixture
def out(trained, tmp_path):
    """A branch that was trained."""
    shutil.copytree(trained, tmp_path / "out")
    return tmp_path / "out" / "branch.safetensors"


def names(out):
    return sorted(path.name for path in out.parent.iterdir())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"seed": 1}, "seed 0, which is now 1"),
        ({"batch": 4, "rate": 0.5}, "batch 3, which is now 4 and rate 0.01, which is now 0.5"),
        ({"flat": True}, "flat False, which is now True"),
        ({"steps": 1}, "is at step 2 already"),
    ],
)
def test_other_settings_are_named(out, settings, words):
    before = tree(out.parent)
    with pytest.raises(MGTError, match=words):
        train(PIPE, EXAMPLES, out, replace(TINY, **settings))
    assert tree(out.parent) == before


def test_other_weights_and_other_examples_are_named(out):
    before = tree(out.parent)
    with pytest.raises(MGTError, match="branch.state was made with another model;"):
        train(variant(3), EXAMPLES, out, TINY)
    for other in (replace(EXAMPLES, captions=("a",) * 6), replace(EXAMPLES, tokens=TOKENS.flip(0))):
        with pytest.raises(MGTError, match="branch.state was made with another examples;"):
            train(PIPE, other, out, TINY)
    assert tree(out.parent) == before


def test_the_number_format_is_no_other_model():
    half = mgt_core.load(bundles()[0], torch.bfloat16, HERE["device"])
    assert weights_mark(half.model.network) == weights_mark(PIPE.model.network) != weights_mark(PIPE.codec.network)


def test_more_steps_go_on(out):
    train(PIPE, EXAMPLES, out, replace(TINY, steps=3))
    assert (
        kept.branch_told(out)["steps"] == "3" and torch.load(out.with_suffix(".state"), weights_only=True)["step"] == 3
    )


@pytest.mark.parametrize("what", ["missing", "older", "cut"])
def test_the_branch_is_that_of_the_state_also_where_nothing_is_left_to_do(out, what):
    wanted, png = load(out.read_bytes()), out.with_suffix(".png")
    if what == "older":
        out.write_bytes(save_older(out))
    elif what == "cut":
        out.write_bytes(out.read_bytes()[:-100])
    else:
        out.unlink()
    png.write_bytes(b"")
    train(PIPE, EXAMPLES, out, TINY)
    assert all(torch.equal(value, wanted[name]) for name, value in load_file(out).items())
    assert kept.branch_told(out)["steps"] == "2" and Image.open(png).size == (800, 400)
    assert names(out) == ["branch.png", "branch.safetensors", "branch.state"]


def save_older(out):
    held = {name: torch.zeros_like(value) for name, value in load_file(out).items()}
    return kept.save(held, {"format": kept.FORMAT, "steps": "1"})


def test_a_state_that_does_not_say_its_settings_goes_on_with_a_warning(out, caplog):
    state = torch.load(out.with_suffix(".state"), weights_only=True)
    del state["made"]
    torch.save(state, out.with_suffix(".state"))
    with caplog.at_level(logging.WARNING):
        train(PIPE, EXAMPLES, out, replace(TINY, steps=3))
    assert "does not say what it was made with" in caplog.text and kept.branch_told(out)["steps"] == "3"


def test_damaged_states_are_named_and_stay(out):
    state = out.with_suffix(".state")
    whole = torch.load(state, weights_only=True)
    damages = [state.read_bytes()[:-1000], b""]
    for change in ({"curve": [(1.0, 2.0)]}, {"averages": {}}, {"step": "two"}, {"branch": {"a": torch.zeros(2)}}):
        torch.save(whole | change, state)
        damages.append(state.read_bytes())
    for damage in damages:
        state.write_bytes(damage)
        with pytest.raises(MGTError, match="branch.state is no checkpoint of this training; remove it"):
            train(PIPE, EXAMPLES, out, TINY)
        assert state.read_bytes() == damage


def test_too_little_memory_is_not_taken_for_a_damaged_state(out, monkeypatch):
    def load(*arguments, **more):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        train(PIPE, EXAMPLES, out, TINY)


@pytest.mark.parametrize("settings", [{}, {"steps": 1}, {"steps": 4, "seed": 1}])
def test_a_branch_without_its_state_is_not_trained_over(out, settings):
    out.with_suffix(".state").unlink()
    before = tree(out.parent)
    with pytest.raises(MGTError, match="is a trained branch, and branch.state is not there to go on from; move"):
        train(PIPE, EXAMPLES, out, replace(TINY, **settings))
    assert tree(out.parent) == before
    train(PIPE, EXAMPLES, out, replace(TINY, steps=3))
    assert kept.branch_told(out)["steps"] == "3"


@pytest.mark.parametrize("ending", ["safetensors", "png"])
def test_files_of_others_are_not_written_over(tmp_path, ending):
    (tmp_path / f"branch.{ending}").write_text("of a person")
    with pytest.raises(MGTError, match="exists and is not of a training"):
        train(PIPE, EXAMPLES, tmp_path / "branch.safetensors", TINY)
    assert names(tmp_path / "x") == [f"branch.{ending}"]


def test_a_full_disk_keeps_the_state_before(out, monkeypatch):
    before, save = tree(out.parent), torch.save

    def full(state, stream):
        save(state, stream)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(MGTError, match=r"branch.state cannot be written \(No space left on device\); what was saved"):
        train(PIPE, EXAMPLES, out, replace(TINY, steps=4))
    assert tree(out.parent) == before


@needs_locks
def test_one_process_trains_an_output(out):
    with files.claimed(out), pytest.raises(MGTError, match="another process is training"):
        train(PIPE, EXAMPLES, out, TINY)


@needs_locks
def test_left_overs_of_this_output_are_swept(out):
    for name in (".branch.state.1a2b3c4d.part", ".other.state.1a2b3c4d.part", f".branch.safetensors{files.LOCK}"):
        (out.parent / name).touch()
    train(PIPE, EXAMPLES, out, TINY)
    assert names(out) == [".other.state.1a2b3c4d.part", "branch.png", "branch.safetensors", "branch.state"]


# Examples


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    Image.new("RGB", (16, 16)).save(folder / "a.png")
    (folder / "a.txt").write_text("a picture")
    return folder


def test_examples_of_other_data_are_named(data, tmp_path):
    file = tmp_path / "branch.examples"
    gather_examples(str(data), SMALL, file, 10)
    for source, count, words in ((tmp_path / "x", 10, "data 'data', which is now 'x'"), (data, 3, "at most 10")):
        with pytest.raises(MGTError, match=words):
            gather_examples(str(source), SMALL, file, count)
    with torch.no_grad():
        other = variant(0)
        for value in other.codec.network.parameters():
            value.data = value + 1
    with pytest.raises(MGTError, match="another codec"):
        gather_examples(str(data), other, file, 10)


def test_examples_go_with_a_folder_that_moves_and_not_with_other_pictures(data, tmp_path):
    file, moved = tmp_path / "branch.examples", tmp_path / "moved" / "data"
    wanted = gather_examples(str(data), SMALL, file, 10).mark()
    moved.parent.mkdir()
    data.rename(moved)
    assert gather_examples(str(moved), SMALL, file, 10).mark() == wanted
    Image.new("RGB", (16, 16)).save(moved / "plot.png")  # without a caption
    assert gather_examples(str(moved), SMALL, file, 10).mark() == wanted
    (moved / "plot.txt").write_text("another picture")
    with pytest.raises(MGTError, match="another set of pictures"):
        gather_examples(str(moved), SMALL, file, 10)


def test_examples_that_do_not_say_their_pictures_are_taken_with_a_warning(data, tmp_path, caplog):
    file = tmp_path / "branch.examples"
    held = gather_examples(str(data), SMALL, file, 10)
    made = {"data": str(data), "examples at most": 10, "codec": weights_mark(SMALL.codec.network)}
    held.save(file, made)
    with caplog.at_level(logging.WARNING):
        assert gather_examples(str(data), SMALL, file, 10).mark() == held.mark()
    assert "does not say which pictures it was made of" in caplog.text
    assert gather_examples(str(data.rename(tmp_path / "gone") and data), SMALL, file, 10).mark() == held.mark()
    held.save(file, made | {"data": "elsewhere/x"})
    with pytest.raises(MGTError, match="data 'x', which is now 'data'"):
        gather_examples(str(data), SMALL, file, 10)


def test_cut_examples_are_made_anew_and_files_of_others_stay(data, tmp_path):
    file = tmp_path / "branch.examples"
    wanted = gather_examples(str(data), SMALL, file, 10)
    for cut in (file.read_bytes()[:-7], file.read_bytes()[:12], b""):
        file.write_bytes(cut)
        assert gather_examples(str(data), SMALL, file, 10).mark() == wanted.mark()
    for notes in ("a person's notes", "notes"):
        file.write_text(notes)
        with pytest.raises(MGTError, match="is no readable file of examples"):
            gather_examples(str(data), SMALL, file, 10)
        assert file.read_text() == notes


@needs_locks
def test_one_process_gathers(data, tmp_path):
    with files.claimed(tmp_path / "kept"), pytest.raises(MGTError, match="another process is gathering"):
        gather_examples(str(data), SMALL, tmp_path / "kept", 10)


@pytest.mark.parametrize("ending", ["png", "txt"])
def test_data_that_cannot_be_read_are_named(data, tmp_path, ending):
    (data / f"a.{ending}").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(MGTError, match=f"a.{ending} (is no readable|cannot be read)"):
        gather_examples(str(data), SMALL, tmp_path / "kept", 10)
    assert not (tmp_path / "kept").exists()
