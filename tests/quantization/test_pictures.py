"""Calibration on given pictures."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import mgt_core
from mgt_core.__main__ import main
from mgt_core.errors import MGTError
from mgt_core.loading.bundle import load
from mgt_core.quantization.pictures import fitted, folder_pictures
from mgt_core.quantization.session import Session
from mgt_core.self_guidance.examples import picture
from support.bundles import halton_bundle
from support.device import HERE, equal
from support.golden import bundles
from support.quantized import RUN, pipe, quantized, tokens, with_model


def ids(count: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.randint(pipe().model.codebook_size, (count, 4, 4), generator=torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=30)
@given(height=st.integers(1, 40), width=st.integers(1, 40), size=st.tuples(st.integers(1, 24), st.integers(1, 24)))
def test_pictures_of_any_size_fit(height, width, size):
    images = torch.rand(2, height, width, 3, generator=torch.Generator().manual_seed(height))
    found = fitted(images, size)
    assert found.shape == (2, *size, 3) and 0 <= float(found.min()) and float(found.max()) <= 1
    assert fitted(images, (height, width)) is images


def test_the_middle_is_taken():
    image = torch.zeros(1, 8, 24, 3)
    image[:, :, 8:16] = 1
    assert fitted(image, (8, 8)).min() == 1


def test_tokens_of_pictures():
    images = torch.rand(2, 50, 70, 4)
    size = 4 * pipe().model.pixels_per_token
    wanted = pipe().codec.encode(fitted(images[..., :3], (size, size)))
    for grid in ((4, 4), [np.int64(4), 4.0], np.array([4, 4]), torch.tensor([4, 4])):
        assert equal(mgt_core.picture_tokens(pipe().model, pipe().codec, images, grid=grid), wanted)
    for grid in ((), (4,), (4, 0), "44", 4):
        with pytest.raises(mgt_core.MGTError, match="grid is"):
            mgt_core.picture_tokens(pipe().model, pipe().codec, images, grid=grid)


def test_masked_states():
    """Each picture a few times, with shares of its tokens masked as in training."""
    session = Session.of(pipe().model, *mgt_core.picture_conditions(pipe().model, pipe().text), RUN, pictures=ids(3))
    states = session.states()
    assert len(states) == 3 * RUN.states and {state.place for state in states} == {0}
    for number, state in enumerate(states):
        masked = state.tokens == pipe().model.mask_id
        assert masked.any() and torch.equal(state.tokens[~masked], ids(3)[number // RUN.states][None][~masked])
        assert 0 <= float(state.timestep) <= RUN.steps - 1
        assert torch.equal(state.cells[0], masked.flatten().nonzero()[:, 0])
    again = Session.of(pipe().model, *mgt_core.picture_conditions(pipe().model, pipe().text), RUN, pictures=ids(3))
    assert all(torch.equal(a.tokens, b.tokens) for a, b in zip(states, again.states(), strict=True))


def test_what_the_network_is_told_of_the_time():
    pair = mgt_core.picture_conditions(pipe().model, pipe().text)
    tokens = ids(1)
    for rule, whole, half in (("index", 7, 3), ("mask_ratio", 1.0, 0.5), ("index_share", 7 / 8, 3 / 8)):
        session = Session.of(pipe().model.with_timestep_rule(rule), *pair, replace(RUN, steps=8), pictures=tokens)
        everything = torch.full_like(tokens, pipe().model.mask_id)
        some = torch.where(torch.arange(16).view(1, 4, 4) < 8, everything, tokens)
        assert float(session.recorded(everything, 0).timestep) == whole
        # cos(pi / 2 * 5 / 8) is the mask ratio of the cosine schedule that is nearest to 0.5, with 5 steps made.
        assert float(session.recorded(some, 0).timestep) == pytest.approx(half, abs=1)


@pytest.mark.parametrize("captions", [(), ("a cat",), ("a cat", "a dog")])
def test_calibrating_on_pictures(captions):
    pair = mgt_core.picture_conditions(pipe().model, pipe().text, captions)
    assert pair[0].batch == pair[1].batch == max(1, len(captions))
    seen = []
    done = mgt_core.quantize(
        pipe().model, "w4a8", *pair, RUN, lambda *progress: seen.append(progress), pictures=ids()
    )  # fmt: skip
    assert seen[-1][0] == seen[-1][1]
    layers, sampled = done.report.layers, quantized().report.layers
    assert [one.name for one in layers] == [one.name for one in sampled]
    assert [one.input_scale for one in layers] != [one.input_scale for one in sampled]
    tokens(with_model(done.model))


def test_fine_tuning_on_pictures():
    pair = mgt_core.picture_conditions(pipe().model, pipe().text)
    run = replace(RUN, finetune=1, batch=2)
    done = mgt_core.quantize(pipe().model, "w4a16", *pair, run, pictures=ids())
    assert done.calibration.finetuned == 1


def test_classes(tmp_path):
    of = load(halton_bundle(tmp_path / "halton"), **HERE)
    positive, negative = mgt_core.picture_conditions(of.model, None, labels=torch.tensor([1, 2]))
    assert positive.labels.tolist() == [1, 2] and negative.batch == 2 and len(set(negative.labels.tolist())) == 1
    assert mgt_core.picture_conditions(of.model, None)[0].labels.tolist() == negative.labels[:1].tolist()


def folder_of(place, count: int = 2, captions: bool = True):
    place.mkdir(parents=True)
    for number in range(count):
        values = np.random.default_rng(number).integers(0, 255, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(values).save(place / f"{number}.png")
        if captions:
            (place / f"{number}.txt").write_text(f"picture {number}\n")
    return place


@pytest.mark.parametrize("captions", [True, False])
def test_folders(captions, tmp_path):
    small = replace(pipe(), size=(32, 32), model=replace(pipe().model, trained_size=(32, 32)))
    found, (positive, negative) = folder_pictures(folder_of(tmp_path / "own", captions=captions), small)
    assert found.shape == (2, 4, 4) and positive.batch == negative.batch == (2 if captions else 1)
    expected = pipe().text.encode(["picture 0", "picture 1"] if captions else [""])
    assert torch.equal(positive.hidden, expected.hidden)


def test_files_as_people_have_them(tmp_path):
    """Upright, of any depth; and a file that would start another program is none."""
    rows = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(rows).save(tmp_path / "plain.png")
    Image.fromarray(np.rot90(rows, -1)).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(rows.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    own = picture(tmp_path / "plain.png", (32, 32))
    assert own.dtype == np.float32 and np.array_equal(own[..., 0] * 255, rows)
    for name in ("turned.png", "deep.png"):
        np.testing.assert_array_equal(picture(tmp_path / name, (32, 32)), own)
    Image.new("RGB", (32, 32)).save(tmp_path / "page.eps")
    (tmp_path / "page.eps").rename(tmp_path / "page.png")
    with pytest.raises(MGTError, match="page.png is no readable picture"):
        picture(tmp_path / "page.png", (32, 32))


def test_command_line(tmp_path, capsys):
    own = folder_of(tmp_path / "own", 1)
    start = ["quantize", str(bundles()[0])]
    more = [
        "--pictures",
        str(own),
        "--states",
        "1",
        "--steps",
        "2",
        "--finetune",
        "1",
        "--batch",
        "1",
        "--rate",
        "1e-5",
    ]
    assert main([*start, str(tmp_path / "small"), *more, "--condition-scales", "together", "--outputs", "int8"]) == 0
    loaded = mgt_core.load(tmp_path / "small", **HERE)
    assert loaded.model.quantization == mgt_core.W4A8(condition_scales="together", outputs="int8")
    capsys.readouterr()
    (tmp_path / "none").mkdir()
    for bad, said in (
        (tmp_path / "none", "no folder with pictures"),
        (tmp_path / "nowhere", "no folder with pictures"),
    ):
        assert main([*start, str(tmp_path / "other"), "--pictures", str(bad)]) == 1
        assert said in capsys.readouterr().err
    assert main([*start, str(tmp_path / "other"), "--pictures", str(own), "--prompt", "a cat"]) == 1
    assert "--pictures and --prompt" in capsys.readouterr().err and not (tmp_path / "other").exists()


BAD = [
    (lambda: torch.rand(2, 4, 4), "pictures are"),
    (lambda: ids()[0], "pictures are"),
    (lambda: ids()[:0], "pictures are"),
    (lambda: "photos", "pictures are"),
    (lambda: ids() + 10_000, "ids|tokens"),
    (lambda: torch.full((2, 4, 4), pipe().model.mask_id), "masked tokens"),
    (lambda: ids(3), "3 pictures and 2 prompts"),
]


@pytest.mark.parametrize("pictures, said", BAD)
def test_bad_pictures(pictures, said):
    pair = mgt_core.picture_conditions(pipe().model, pipe().text, ("a cat", "a dog"))
    with pytest.raises(MGTError, match=said) as caught:
        mgt_core.quantize(pipe().model, "w4a8", *pair, RUN, pictures=pictures())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("images", [None, torch.rand(4, 4, 3), torch.rand(1, 8, 8, 1), torch.rand(0, 8, 8, 3)])
def test_bad_images(images):
    with pytest.raises(MGTError, match="images are"):
        mgt_core.picture_tokens(pipe().model, pipe().codec, images)
