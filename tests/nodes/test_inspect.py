"""Maps, animations, grids and descriptions of what a run did."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

import mgt_core
from support.golden import bundles, pipeline
from support.node_runs import NODES, answer, graph_of, report, run
from support.pack import load_pack

PIPE = pipeline(bundles()[0])
NAMES = load_pack().NODE_DISPLAY_NAME_MAPPINGS


@pytest.fixture(scope="module")
def graph():
    return graph_of(PIPE)


@pytest.fixture(scope="module")
def filled(graph):
    return run("MGTSample", **graph)[0]


@pytest.fixture(scope="module")
def image(filled):
    return run("MGTDecode", tokens=filled, codec=PIPE.codec)[0]


# Maps


@pytest.mark.parametrize("name", ["MGTRevealOrder", "MGTConfidenceMap"])
def test_maps_lie_over_the_image(filled, image, name):
    bare = run(name, tokens=filled, codec=PIPE.codec)[0]
    assert bare.shape == image.shape and 0 <= bare.min() < bare.max() <= 1
    over = {opacity: run(name, tokens=filled, codec=PIPE.codec, image=image, opacity=opacity)[0] for opacity in (0, 1)}
    torch.testing.assert_close(over[0], image)
    torch.testing.assert_close(over[1], bare)
    with pytest.raises(mgt_core.MGTError, match="the image has shape"):
        run(name, tokens=filled, codec=PIPE.codec, image=image[:, 1:])
    with pytest.raises(mgt_core.MGTError, match="the tokens carry no"):
        run(name, tokens=replace(filled, revealed_at=None, confidence=None), codec=PIPE.codec)


def test_reveal_order_shows_first_last_and_given(filled):
    at = torch.zeros_like(filled.revealed_at)
    at[:, 0, 0], at[:, 0, 1] = 7, -1
    drawn = run("MGTRevealOrder", tokens=replace(filled, revealed_at=at), codec=PIPE.codec)[0]
    cell = PIPE.codec.scale
    last, given, first = drawn[0, 0, 0], drawn[0, 0, cell], drawn[0, -1, -1]
    assert given.tolist() == [0.5, 0.5, 0.5]
    assert first.sum() < given.sum() < last.sum()


# Animation


class FakeFolderPaths:
    """What the host does to name a file in its temporary folder."""

    def __init__(self, folder):
        self.folder = folder

    def get_temp_directory(self):
        return str(self.folder)

    def get_save_image_path(self, prefix, folder):
        return folder, prefix, len(list(self.folder.iterdir())) + 1, "", prefix


def test_animation_ends_with_the_image(filled, image):
    animated = answer("MGTSamplingAnimation", tokens=filled, codec=PIPE.codec, hold_last=0.0, batch_index=1)
    frames = animated["result"][0]
    assert animated["ui"] == {}  # nothing shows it
    assert frames.shape == (4, *image.shape[1:])  # before the first step, and after each
    torch.testing.assert_close(frames[-1], image[1], atol=0.5 / 255 + 1e-4, rtol=0)
    assert len({tuple(frame.flatten().tolist()) for frame in frames}) == 4
    held = run("MGTSamplingAnimation", tokens=filled, codec=PIPE.codec, frames_per_second=4.0, hold_last=1.5)
    assert len(held[0]) == 4 + 6


def test_animation_is_shown_under_the_node(monkeypatch, tmp_path, filled):
    monkeypatch.setitem(sys.modules, "folder_paths", FakeFolderPaths(tmp_path))
    shown = answer("MGTSamplingAnimation", tokens=filled, codec=PIPE.codec, frames_per_second=5.0, hold_last=0.4)["ui"]
    assert shown["animated"] == (True,)
    (entry,) = shown["images"]
    assert (entry["type"], entry["subfolder"]) == ("temp", "")
    with Image.open(tmp_path / entry["filename"]) as picture:
        assert picture.format == "WEBP" and picture.is_animated
        assert max(picture.size) >= 256 or max(picture.size) == max(filled.grid) * PIPE.codec.scale


def test_an_animation_that_cannot_be_written_loses_no_frames(monkeypatch, tmp_path, filled, caplog):
    def full(self, place, *args, **options):
        place.write_bytes(b"RIFF")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(sys.modules, "folder_paths", FakeFolderPaths(tmp_path))
    monkeypatch.setattr(Image.Image, "save", full)
    animated = answer("MGTSamplingAnimation", tokens=filled, codec=PIPE.codec, hold_last=0.0)
    assert animated["ui"] == {} and len(animated["result"][0]) == 4 and "No space left" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_animation_can_be_cancelled(monkeypatch, filled):
    class Interrupted(Exception):
        pass

    def cancel():
        raise Interrupted

    management = SimpleNamespace(
        throw_exception_if_processing_interrupted=cancel, intermediate_device=lambda: torch.device("cpu")
    )
    monkeypatch.setitem(sys.modules, "comfy.model_management", management)
    with pytest.raises(Interrupted):
        run("MGTSamplingAnimation", tokens=filled, codec=PIPE.codec)


def test_animation_names_an_image_that_is_not_there(filled):
    with pytest.raises(mgt_core.MGTError, match="the image to animate is 2; accepted are whole numbers from 0 to 1"):
        run("MGTSamplingAnimation", tokens=filled, codec=PIPE.codec, batch_index=2)


# Grids


def flat(value, batch=1, height=64, width=64):
    return torch.full((batch, height, width, 3), value)


def labels_of(monkeypatch, **inputs):
    """Labels and values of the images that a grid is made of."""
    seen = []

    def spy(images, labels, columns):
        seen.extend((label, float(image.mean())) for image, label in zip(images, labels, strict=True))
        return flat(0.0)

    monkeypatch.setattr("mgt_core.views.pictures.labelled_grid", spy)
    run("MGTCompareGrid", **inputs)
    return seen


def test_grid_labels_follow_the_sockets(monkeypatch):
    batches = {"image_1": flat(0.0), "image_3": flat(0.5, 2), "image_8": flat(1.0, 2)}
    seen = labels_of(monkeypatch, **batches, labels="one\ntwo\n  three \n")
    assert seen == [("one", 0.0), ("three #1", 0.5), ("three #2", 0.5), ("#1", 1.0), ("#2", 1.0)]


@pytest.mark.parametrize(("columns", "shape"), [(0, (3, 1)), (2, (2, 2)), (1, (1, 3)), (9, (3, 1))])
def test_grid_has_the_columns_asked_for(columns, shape):
    sheet = run("MGTCompareGrid", image_1=flat(0.2), image_2=flat(0.4, 2), labels="a\nb", columns=columns)[0]
    assert sheet.ndim == 4 and len(sheet) == 1
    side, gap, label = 192, 4, 18  # tiny images are enlarged threefold
    across, down = shape
    assert sheet.shape[1:] == (down * (side + label + gap) - gap, across * (side + gap) - gap, 3)


def test_grid_keeps_the_proportions_of_smaller_images():
    sheet = run("MGTCompareGrid", image_1=flat(0.0, height=200, width=200), image_2=flat(0.0, height=50, width=100))[0]
    dark = sheet[0, 18:, 204:].sum(-1) < 0.1
    assert dark.any(0).sum() == 200 and dark.any(1).sum() == 100


@pytest.mark.parametrize("shape", [(1, 8, 8, 5), (8, 8, 3)])
def test_grid_names_what_is_no_image(shape):
    with pytest.raises(mgt_core.MGTError, match="image_2 has shape"):
        run("MGTCompareGrid", image_1=flat(0.0), image_2=torch.zeros(shape))


# Description


def test_description_is_reported_and_an_output():
    answered = answer("MGTDescribeModel", model=run("MGTTopKTopP", model=PIPE.model)[0])
    ((text,),) = answered["ui"].values()
    assert text.splitlines()[-1] == "1. MGT Top-k / Top-p: k 0, p 1" and answered["result"] == (text,)


def test_description_lists_what_is_attached_in_order():
    first, second = report("MGTDescribeModel", model=PIPE.model).splitlines()
    assert second == "Nothing is attached."
    assert first.startswith(f"Recommended: {PIPE.model.defaults['steps']} steps, cfg 9, cosine schedule (linear for")
    model = PIPE.model
    for name in ("MGTTopKTopP", "MGTGuidanceSchedule", "MGTNoiseRegularization"):
        model = run(name, model=model)[0]
    model = run("MGTTokenMerging", model=model, start=0.25, stride_rows=4, known_only=True)[0]
    model = mgt_core.quantize_pipeline(replace(PIPE, model=model), "w8a16").model
    text = report("MGTDescribeModel", model=model)
    assert text.splitlines()[1:] == [
        "Attached, in the order in which it acts:",
        "1. Weights of w8a16",
        "2. MGT Token Merging: ratio 0.25, stride 4 and 2, blocks joint, known only on, from 25 % to 100 % of the run",
        "3. MGT Guidance Schedule: shape constant, outside 1",
        "4. MGT Top-k / Top-p: k 0, p 1",
        "5. MGT Noise Regularization: amplitude 2, shape paper",
    ]
    assert model.attached()[4] == repr(mgt_core.NoiseRegularization())  # for scripts


@pytest.mark.parametrize("name", sorted(name for name in NODES if NODES[name].CATEGORY == "MGT/patches"))
def test_every_part_is_told_in_words(name, sound_pipe):
    model = replace(sound_pipe.model, patches=()) if name == "MGTStageSteps" else PIPE.model  # it is of sound alone
    more = {
        "MGTSelfGuidance": lambda: {"branch": run("MGTLoadSelfGuidance", model=PIPE.model)[0]},
        "MGTRescoring": lambda: {"rescorer": PIPE.model.with_modifier(mgt_core.TopKTopP(5))},
    }.get(name, dict)()
    text = report("MGTDescribeModel", model=run(name, model=model, **more)[0])
    line = text.splitlines()[-1]
    assert line.startswith(f"1. {NAMES[name]}") and not set("=()'") & set(line)


def test_transparent_pictures_are_shown_without_it():
    plain = torch.rand(1, 16, 16, 3)
    clear = torch.cat([plain, torch.zeros(1, 16, 16, 1)], -1)
    assert torch.equal(run("MGTCompareGrid", image_1=clear)[0], run("MGTCompareGrid", image_1=plain)[0])
