"""Prompts with pictures, for editing: their ids, and their two guidances."""

import json
from dataclasses import replace

import pytest
import torch

import mgt_core
from mgt_core import MGTError, picture_prompts
from mgt_core.backbones.language.dimoo import TASKS
from mgt_core.conditioning.parts import ConditionPart
from mgt_core.conditioning.picture_prompts import crop_sizes, fitted
from mgt_core.sampling.guided import GuidedNetwork
from support.bundles import copy_bundle
from support.device import HERE, agree, equal
from support.golden_dimoo import TINY
from support.sounds import sound_codec

SYSTEMS = {  # of a prompt as the tokenizer is given it, by the task
    "edit": "<system>Generate an image applying the following editing instruction based on the original image.</system>"
    "<user>{}</user>",
    "style": "<system>Transform the current image into the style of the provided image.</system>"
    "<user>Transform the current image into the style of the provided image.</user>",
    "view": "<system>Generate a view-image based on the given image.</system>"
    "<user>Generate the {} view based on the provided front view.</user>",
    "canny": "<system>Perform dense prediction on the given images.</system>"
    "<user>Generate a canny edge map according to the image.</user>",
}


@pytest.fixture(scope="module")
def pipe():
    return mgt_core.load(TINY, **HERE)


def pictures(count=1, height=32, width=64, seed=0):
    return torch.rand(count, height, width, 3, generator=torch.Generator().manual_seed(seed))


def made(pipe, *args, **kwargs):
    return picture_prompts(pipe.text, pipe.codec, *args, **{"resolution": 0, **kwargs})


def own_ids(pipe, image):
    """As encode_img_with_breaks lays them."""
    at, codes = pipe.model.network.config.marks, pipe.codec.encode(image)[0] + pipe.model.network.code_offset
    rows = [i for row in codes.tolist() for i in [*row, at["row_end"]]]
    return [at["picture"], *rows, at["picture_end"]]


@pytest.mark.parametrize("task", SYSTEMS)
def test_a_picture_stands_before_the_last_id(pipe, task):
    image, other = pictures(), pictures(seed=1) if task == "style" else None
    found = made(pipe, image, "left" if "{}" in SYSTEMS[task] else "", task, other)
    words = pipe.text.tokens(SYSTEMS[task].format("left"))
    system = SYSTEMS[task].split("<user>")[0]
    none = pipe.text.tokens(f"{system}<user><uncondition></user>")
    shown = own_ids(pipe, image) + (own_ids(pipe, other) if other is not None else [])
    assert found.positive.prompt.tolist() == [[*words[:-1], *shown, *words[-1:]]]
    without_words, without_picture = (part.condition.prompt.tolist() for part in found.negative.parts)
    assert without_words == [[*none[:-1], *shown, *none[-1:]]] and without_picture == [words]
    assert [part.weight for part in found.negative.parts] == [2.5, 4.0]
    assert (found.cfg, found.size) == (7.5, (32, 64))


def test_every_published_task_is_there():
    dense = [task for task in TASKS.values() if task.system.startswith("Perform dense")]
    assert len(dense) == 6 and all(not task.takes_text for task in dense)
    assert [name for name, task in TASKS.items() if task.pictures == 2] == ["style"]


@pytest.mark.parametrize("s, s_i", [(2.5, 4.0), (2.5, 0.0), (0.0, 4.0), (0.0, 0.0)])
@torch.inference_mode()
def test_both_guidances_are_the_released_sum(pipe, s, s_i):
    """L = c + s (c - u_text) + s_i (c - u_picture)."""
    found, model = made(pipe, pictures(), "add a hat", text_guidance=s, picture_guidance=s_i), pipe.model
    every = made(pipe, pictures(), "add a hat")
    tokens = torch.randint(0, model.codebook_size, (1, 2, 4), generator=torch.Generator().manual_seed(3))
    tokens[0, 0] = model.mask_id
    c, u_text, u_picture = (
        model.logits(tokens.to(model.device), condition, 0.0)
        for condition in (every.positive, *(part.condition for part in every.negative.parts))
    )
    wanted = c + s * (c - u_text) + s_i * (c - u_picture)
    network = GuidedNetwork(model.network, found.positive.to(model.device), found.negative.to(model.device), (2, 4))
    ours = network.logits(tokens.to(model.device), torch.zeros(1, device=model.device), found.cfg)
    torch.testing.assert_close(ours, wanted.flatten(1, 2), atol=2e-4, rtol=1e-5)


def test_a_batch_of_pictures_is_each_alone(pipe):
    images = pictures(2)
    both = made(pipe, images, "a red hat")
    state = mgt_core.empty_tokens(pipe, *both.size, 2)
    given = {"steps": 3, "cfg": both.cfg, "seed": 5}
    out = mgt_core.sample(pipe.model, state, both.positive, both.negative, **given)
    alone = made(pipe, images[1:], "a red hat")
    one = mgt_core.empty_tokens(pipe, *both.size)
    found = mgt_core.sample(pipe.model, one, alone.positive, alone.negative, **given | {"seed": 6})
    assert agree(out.tokens[1:], found.tokens)
    assert not torch.equal(out.tokens[0], out.tokens[1])


def test_sizes_of_training():
    held = json.loads((TINY / "layout.json").read_text())["crop_sizes"]
    for resolution, sizes in held.items():
        assert crop_sizes(int(resolution)) == [tuple(size) for size in sizes]


def test_a_picture_is_cropped_to_the_nearest_of_them():
    image = torch.zeros(1, 100, 300, 3)
    image[:, :, 100:200] = 1
    found = fitted(image, 128)
    assert tuple(found.shape) == (1, 64, 192, 3) and (192, 64) in crop_sizes(128)
    assert equal(found[0, :, 70:120].round(), torch.ones(64, 50, 3)) and found[0, :, :60].max() < 0.1
    same = pictures(1, 64, 192)
    assert equal(fitted(same, 128), same) and equal(fitted(same, 0), same)


def test_what_does_not_go_together_is_told(pipe, tmp_path):
    clip = mgt_core.load(copy_bundle(tmp_path / "bundle"), **HERE)
    cases = [
        (lambda: picture_prompts(clip.text, pipe.codec, pictures(), "x"), "text encoder reads words alone"),
        (lambda: made(pipe, pictures(), " "), "instruction is empty, and the task 'edit' needs one"),
        (lambda: made(pipe, pictures(), "x", "paint"), "task is 'paint', but the known ones are"),
        (lambda: made(pipe, pictures(), "", "style"), "task 'style' takes two pictures; one was given"),
        (lambda: made(pipe, pictures(), "x", second=pictures()), "task 'edit' takes one picture; a second one"),
        (lambda: made(pipe, pictures(2), "", "style", pictures(3)), "3 second pictures for 2; give 1 or 2"),
        (lambda: made(pipe, pictures(1, 33), "x"), "sides that are multiples of 16"),
        (lambda: made(pipe, pictures(), "x", resolution=16), "resolution is 16"),
        (lambda: made(pipe, pictures(), "x", text_guidance=-1.0), "text_guidance is -1"),
        (lambda: made(pipe, pictures()[0], "x"), r"image is \[32, 64, 3\]"),
        (lambda: picture_prompts(pipe.text, demo().codec, pictures(), "x"), "codes"),
    ]
    for call, words in cases:
        with pytest.raises(MGTError, match=words) as caught:
            call()
        assert "\n" not in str(caught.value)


def demo():
    return mgt_core.load("demo", **HERE)


def test_conditions_are_parts_that_others_may_join(pipe):
    """As regions of a picture and parts of a run are."""
    found = made(pipe, pictures(), "a hat")
    negative = replace(found.negative, parts=(*found.negative.parts, ConditionPart(pipe.text.encode(""), 1.0)))
    state = mgt_core.empty_tokens(pipe, *found.size)
    out = mgt_core.sample(pipe.model, state, found.positive, negative, steps=2, cfg=3.0)
    assert not out.masked.any()


def test_a_codec_of_sound_is_told(pipe):
    with pytest.raises(MGTError, match="a prompt with pictures is for pictures, and the codec given is of sound"):
        picture_prompts(pipe.text, sound_codec(), pictures(), "add a hat")
