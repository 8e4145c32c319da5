"""Training of a Self-Guidance branch: the objective, the examples, and runs that are stopped and go on."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import mgt_core
from mgt_core import __main__ as command_line
from mgt_core.self_guidance import training as loop
from mgt_core.self_guidance.examples import Examples, gather_examples, load_examples
from mgt_core.self_guidance.objective import IGNORED, branch_loss, mask_some, propose, substitute
from mgt_core.self_guidance.training import TrainingSettings, rate, timestep, train
from support.bundles import magnet_bundle, openmuse_bundle
from support.device import DEVICE, HERE, equal
from support.golden import bundles, pipeline
from support.runs import few

PIPE = pipeline(bundles()[0])
NET, MASK = PIPE.model.network, PIPE.model.mask_id
GRID = (4, 4)
TINY = TrainingSettings(steps=4, batch=3, rate=1e-2)


def examples(count=6):
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(NET.codebook_size, (count, *GRID), generator=generator, dtype=torch.int32)
    return Examples(tokens, captions=tuple(f"picture {i}" for i in range(count)))


# The objective


@few
@given(batch=st.integers(1, 4), cells=st.integers(1, 40), seed=st.integers(0, 999))
def test_corruption_keeps_its_counts(batch, cells, seed):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(20, (batch, cells), generator=generator)
    progress = torch.rand(batch, generator=generator)
    masked = mask_some(tokens, MASK, progress, torch.rand(batch, cells, generator=generator))
    hidden = masked == MASK
    expected = (cells * torch.cos(progress * math.pi / 2)).round().clamp(1, cells)
    assert torch.equal(hidden.sum(1), expected.long()) and torch.equal(masked[~hidden], tokens[~hidden])
    proposed = torch.full_like(tokens, 77)
    shown, labels = substitute(masked, proposed, MASK, torch.rand(batch, cells, generator=generator))
    chosen = labels != IGNORED
    assert torch.equal(chosen.sum(1), (0.3 * (~hidden).sum(1)).round().clamp_min(1).long())
    assert torch.equal(shown, torch.where(chosen, proposed, masked)) and torch.equal(labels[chosen], masked[chosen])
    visible = (~hidden).any(1)
    assert not bool((chosen & hidden)[visible].any())


def test_proposals_follow_the_model_or_are_nearly_uniform():
    prepared = NET.prepare(PIPE.model.complete(PIPE.text.encode(["a"] * 400), 400, GRID, "given").to(DEVICE), GRID)
    race = torch.empty(400, 16, NET.codebook_size).exponential_(generator=torch.Generator().manual_seed(0)).to(DEVICE)
    own, flat = (propose(NET, (400, *GRID), prepared, race, flat) for flat in (False, True))
    p = PIPE.model.logits(torch.full((1, *GRID), MASK), PIPE.text.encode("a"), 1.0).softmax(-1).flatten(0, 2)
    likely = p.argmax(-1)
    share = float((own == likely).float().mean())
    assert share == pytest.approx(float(p.amax(-1).mean()), abs=0.03)
    assert float((flat == likely).float().mean()) < max(0.6 * share, 3 / NET.codebook_size)


def test_the_network_is_frozen_and_every_part_of_the_branch_learns():
    branch = mgt_core.fresh_branch(NET).to(DEVICE).requires_grad_(True)
    with torch.no_grad():
        for decoder in branch.decoders:
            decoder.linear2.weight.add_(0.01)
    before = {name: value.clone() for name, value in NET.state_dict().items()}
    tokens = examples().tokens[:2].long().to(DEVICE)
    prepared = NET.prepare(PIPE.model.complete(PIPE.text.encode(["a", "b"]), 2, GRID, "given").to(DEVICE), GRID)
    labels = tokens.flatten(1).clone()
    labels[:, 8:] = IGNORED
    labels[0, 0] = MASK  # has no logit here: left out
    loss = branch_loss(branch, NET, tokens, labels, torch.ones(2, device=DEVICE), prepared)
    loss.total.backward()
    assert all(float(p.grad.abs().max()) > 0 for p in branch.parameters())
    assert all(p.grad is None for p in NET.parameters())
    assert all(torch.equal(value, before[name]) for name, value in NET.state_dict().items())


def test_what_the_network_is_told():
    masked = torch.tensor([[True, False, False, False], [True, True, True, True]])
    assert timestep("mask_ratio", masked, torch.tensor([0.9, 0.0])).tolist() == [0.25, 1.0]
    assert timestep("index", masked, torch.tensor([0.999, 0.0])).tolist() == [0.0, 63.0]
    assert timestep("index_share", masked, torch.tensor([0.999, 0.0])).tolist() == [0.0, 63 / 64]


@pytest.mark.parametrize("steps", [1, 5, 3000])
def test_the_rate_rises_and_falls(steps):
    rates = [rate(step, steps) for step in range(steps)]
    assert all(0 < r <= 1 for r in rates) and (steps < 100 or rates[0] < max(rates) > rates[-1])


# The loop


@pytest.mark.cpu_only("a GPU adds up gradients in any order")
def test_a_run_that_was_stopped_goes_on_the_same(tmp_path, monkeypatch):
    whole = train(PIPE, examples(), tmp_path / "whole.safetensors", TINY)
    kept = tmp_path / "halves.safetensors"
    one_step, calls = loop.one_step, []

    def stop_after_two(*arguments):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(1)
        return one_step(*arguments)

    monkeypatch.setattr(loop, "one_step", stop_after_two)
    always = TrainingSettings(steps=4, batch=3, rate=1e-2, save_every=0.0)
    with pytest.raises(KeyboardInterrupt):
        train(PIPE, examples(), kept, always)
    monkeypatch.undo()
    assert torch.load(kept.with_suffix(".state"), weights_only=True)["step"] == 2
    went_on = train(PIPE, examples(), kept, always)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(value, went_on.state_dict()[name], atol=0, rtol=0)
    assert (tmp_path / "whole.safetensors").read_bytes()[-1000:] == kept.read_bytes()[-1000:]
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors", ".state", ".png"}


def test_the_file_is_half_precision_and_loads(tmp_path):
    out = tmp_path / "branch.safetensors"
    trained = train(PIPE, examples(), out, TINY)
    assert {value.dtype for value in load_file(out).values()} == {torch.float16}
    with safe_open(out, "pt") as file:
        told = file.metadata()
    assert told["backbone"] == "MeissonicTransformer" and json.loads(told["settings"])["batch"] == 3
    loaded = mgt_core.load_branch(out, NET)
    torch.testing.assert_close(loaded.top_down_transform, trained.top_down_transform, atol=1e-3, rtol=1e-3)
    assert Image.open(out.with_suffix(".png")).size == (800, 400)
    model = PIPE.model.with_self_guidance(loaded)
    condition = PIPE.text.encode("a")
    out = mgt_core.sample(model, mgt_core.empty_state(1, GRID, MASK, NET.codebook_size), condition, steps=2, cfg=1.0)
    assert not bool(out.masked.any())


def test_it_learns(tmp_path):
    """To restore the one picture there is, from what the first pass says of it."""
    one = Examples(examples().tokens[:1], captions=("a picture",))
    train(PIPE, one, tmp_path / "one.safetensors", TrainingSettings(steps=40, batch=8, rate=1e-2))
    curve = torch.load(tmp_path / "one.state", weights_only=True)["curve"]
    first, last = (sum(loss for loss, _ in part) / 5 for part in (curve[:5], curve[-5:]))
    assert last < 0.9 * first


def test_damaged_checkpoints_are_named(tmp_path):
    (tmp_path / "branch.state").write_bytes(b"nothing")
    with pytest.raises(mgt_core.MGTError, match="branch.state is no checkpoint of this training"):
        train(PIPE, examples(), tmp_path / "branch.safetensors", TINY)


@pytest.mark.parametrize(
    ("settings", "words"), [({"steps": 0}, "steps is 0"), ({"batch": 0}, "batch is 0"), ({"rate": 0.0}, "rate is 0.0")]
)
def test_settings_out_of_range_are_named(settings, words):
    with pytest.raises(mgt_core.MGTError, match=words):
        TrainingSettings(**settings)


# Examples


def picture(path, shade, size=(40, 24)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), shade, np.uint8)).save(path)


def test_captioned_pictures_are_encoded_once(tmp_path):
    for shade in (0, 120, 250):
        picture(tmp_path / "data" / f"{shade}.png", shade)
    for shade in (0, 120):
        (tmp_path / "data" / f"{shade}.txt").write_text(f"shade {shade}\n")
    kept = tmp_path / "kept"
    found = gather_examples(str(tmp_path / "data"), PIPE, kept, 100)
    assert found.captions == ("shade 0", "shade 120")
    size = tuple(side // PIPE.model.pixels_per_token for side in PIPE.size)
    assert found.tokens.shape == (2, *size)
    # In one batch, as there: in a plain picture the norms magnify what rounding leaves, which hangs on the batch.
    plain = torch.stack([torch.full((*PIPE.size, 3), shade / 255) for shade in (0, 120)])
    assert equal(found.tokens.long(), PIPE.codec.encode(plain))
    assert len(gather_examples(str(tmp_path / "data"), PIPE, tmp_path / "fewer", 1)) == 1
    shutil.rmtree(tmp_path / "data")
    again = gather_examples(str(tmp_path / "data"), PIPE, kept, 100)
    assert torch.equal(again.tokens, found.tokens) and again.captions == found.captions


def test_scenes_of_the_built_in_model_come_at_its_size(tmp_path):
    pipe = mgt_core.load("demo", **HERE)
    examples = gather_examples("demo", pipe, tmp_path / "kept.safetensors", 3)
    grid = tuple(side // pipe.codec.scale for side in pipe.size)
    assert examples.tokens.shape == (3, *grid) and len(examples.captions) == 3


def test_classes_are_folders_in_order(tmp_path):
    pipe = mgt_core.load(openmuse_bundle(tmp_path / "bundle"), **HERE)
    for index, name in enumerate(["ant", "bee"]):
        picture(tmp_path / "data" / name / "a.png", 100 * index)
    found = gather_examples(str(tmp_path / "data"), pipe, tmp_path / "kept", 100)
    assert found.labels.tolist() == [0, 1] and found.captions is None
    assert load_examples(tmp_path / "kept").labels.tolist() == [0, 1]
    branch = train(pipe, found, tmp_path / "branch.safetensors", TINY)
    model = pipe.model.with_self_guidance(branch, 0.5)
    labels = mgt_core.Condition(labels=torch.tensor([1]))
    out = mgt_core.sample(model, mgt_core.empty_tokens(pipe, 16, 16), labels, steps=2, cfg=1.0)
    assert not bool(out.masked.any())


def test_bad_examples_are_named(tmp_path):
    tokens = examples().tokens
    save_file({"tokens": tokens}, tmp_path / "untold")
    save_file({"tokens": tokens, "labels": torch.zeros(6).long()}, tmp_path / "classes")
    Examples(tokens + NET.codebook_size, captions=("a",) * 6).save(tmp_path / "large")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").write_bytes(b"no")
    cases = {
        "untold": "expected tokens",
        "classes": "tells its pictures by class, and this model takes prompts",
        "large": "this model takes 0 to",
        "empty": "holds no pictures",
        "broken": "is no readable file of examples",
        "missing": "expected a .safetensors file of examples",
    }
    for name, words in cases.items():
        with pytest.raises(mgt_core.MGTError, match=words) as error:
            gather_examples(str(tmp_path / name), PIPE, tmp_path / "kept", 10)
        assert "\n" not in str(error.value)


# The command


def test_the_command_trains(tmp_path, capsys):
    for shade in (0, 200):
        picture(tmp_path / "data" / f"{shade}.png", shade)
        (tmp_path / "data" / f"{shade}.txt").write_text("a shade")
    out = tmp_path / "sub" / "branch.safetensors"
    told = ["train-guidance", str(bundles()[0]), "--out", str(out), "--data", str(tmp_path / "data")]
    assert (
        command_line.main([*told, "--steps", "2", "--batch", "2", "--dtype", "float32", "--device", str(DEVICE)]) == 0
    )
    assert {path.name for path in out.parent.iterdir()} == {
        f"branch.{kind}" for kind in ("safetensors", "state", "examples", "png")
    }
    mgt_core.load_branch(out, NET)
    assert command_line.main([*told[:3], str(tmp_path / "branch.pt"), *told[4:]]) == 1
    assert "must end in .safetensors" in capsys.readouterr().err
    assert command_line.main(told[:4]) == 1
    assert "--data is missing" in capsys.readouterr().err


def test_sounds_are_refused(tmp_path, capsys):
    """Its examples are pictures."""
    source, out = magnet_bundle(tmp_path / "bundle"), tmp_path / "branch.safetensors"
    told = ["train-guidance", str(source), "--out", str(out), "--data", str(tmp_path), "--device", "cpu"]
    assert command_line.main(told) == 1
    words = "training Self-Guidance is for pictures, and the model given is of sound"
    assert capsys.readouterr().err.splitlines()[-1] == words and not out.exists()
    with pytest.raises(mgt_core.MGTError, match=words):
        train(mgt_core.load(source, **HERE), examples(), out, TrainingSettings(1))
