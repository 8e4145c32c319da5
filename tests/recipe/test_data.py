"""The demo model's data: atlas, captions, held-out pairs, and the judge on real compositions."""

import re
from collections import Counter
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from recipe import curves
from recipe.data.groups import COUNTS, GROUPS, plural
from recipe.data.open_captions import AXES, open_captions, twice_meant
from recipe.data.scenes import (
    HALF,
    Renderer,
    Scene,
    SceneSampler,
    evaluation_scenes,
    held_out,
    held_out_pairs,
    held_out_scenes,
    pair_items,
)
from recipe.data.subjects import ATLAS_CELL, ATLAS_COLUMNS, COLOURS, load_sprites, load_subjects, save_atlas
from recipe.evaluate import contact_sheet
from recipe.judge.scores import score, wilson


def test_atlas_and_subjects_agree():
    subjects, sprites = load_subjects(), load_sprites()
    assert len(subjects) == len(sprites) >= 300
    assert len({s.name for s in subjects}) == len({s.codepoints for s in subjects}) == len(subjects)
    assert all(re.fullmatch(r"[a-z0-9-]+( [a-z0-9-]+){0,3}", s.name) for s in subjects)
    assert sprites.shape[1:] == (ATLAS_CELL, ATLAS_CELL, 4)
    assert (sprites[..., 3].mean((1, 2)) > 10).all(), "an empty cell in the atlas"


def test_an_atlas_keeps_what_was_drawn(tmp_path):
    sprites = np.random.default_rng(0).integers(0, 256, (ATLAS_COLUMNS + 1, 8, 8, 4), np.uint8)
    sprites[:, :4, :, 3] = 0  # transparent, and of some colour
    save_atlas(sprites, tmp_path / "sprites.webp", 8)
    sheet = np.asarray(Image.open(tmp_path / "sprites.webp"))
    assert sheet.shape == (16, 8 * ATLAS_COLUMNS, 4)
    assert np.array_equal(sheet[:8].reshape(8, ATLAS_COLUMNS, 8, 4).swapaxes(0, 1), sprites[:-1])
    assert np.array_equal(sheet[8:, :8], sprites[-1])


def test_held_out_split_is_fixed_and_fair():
    assert [held_out("pizza", c) for c in COLOURS] == [held_out("pizza", c) for c in COLOURS]
    table = np.array([[held_out(s.name, c) for c in COLOURS] for s in load_subjects()])
    assert table.sum() == 331, "another split would make published figures incomparable"
    assert (~table).sum(1).min() >= 6, "every subject is seen on many colours"
    assert (~table).sum(0).min() >= 0.85 * len(table), "every colour is seen with most subjects"


def test_training_scenes_avoid_held_out_pairs_and_repeat_with_the_seed():
    subjects = load_subjects()
    draws = [SceneSampler(subjects, np.random.default_rng(5)) for _ in range(2)]
    first, second = ([sampler.draw() for _ in range(1500)] for sampler in draws)
    assert first == second
    assert not any(held_out(subjects[i.subject].name, scene.colour) for scene in first for i in scene.items)
    assert {len(scene.items) for scene in first} == {1, 2, 3, 4}


def named(name, caption):
    """Whether the caption says the subject's name, its plural or a group that it belongs to."""
    words = [name, plural(name), *(group for group, names in GROUPS.items() if name in names)]
    return any(re.search(rf"\b{word}\b", caption) for word in words)


def test_captions_are_true_of_what_is_drawn():
    subjects = load_subjects()
    sampler = SceneSampler(subjects, np.random.default_rng(6))
    for _ in range(3000):
        scene = sampler.draw()
        caption, items = scene.caption, scene.items
        assert all(named(subjects[item.subject].name, caption) for item in items), scene
        if said := re.search(r" (?:on|of) (?:an? )?(\w+) background$", caption):
            assert said[1] == scene.colour, scene
        assert len(re.findall(r"[a-z]+|\d|[^\sa-z\d]", caption)) <= 22, "longer than the text encoder reads"
        for number, word in COUNTS.items():
            if caption.startswith(word + " ") and not caption.startswith("four leaf clover"):
                assert len(items) == number == len({(item.left, item.top) for item in items})
        if len(items) == 2 and " left of " in caption:
            assert items[0].left < items[1].left
        if len(items) == 2 and " below " in caption:
            assert items[0].top > items[1].top


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bee", "bees"),
        ("cup of coffee", "cups of coffee"),
        ("maple leaf", "maple leaves"),
        ("tooth", "teeth"),
        ("strawberry", "strawberries"),
        ("tomato", "tomatoes"),
        ("church", "churches"),
        ("house with garden", "houses with garden"),
        ("glasses", "glasses"),
        ("hot springs", "hot springs"),
        ("toy", "toys"),
    ],
)
def test_plurals(name, expected):
    assert plural(name) == expected


def test_groups_hold_subjects_that_there_are():
    names = {subject.name for subject in load_subjects()}
    assert all(set(found) <= names and len(found) >= 5 for found in GROUPS.values())
    everyone = [name for found in GROUPS.values() for name in found]
    assert len(everyone) == len(set(everyone)), "a subject of two groups"
    assert not set(GROUPS) & names


@pytest.mark.parametrize("axis", AXES)
def test_open_captions(axis):
    """Different scenes whose weights sum to 1, held-out pairs where the pair is fixed and nowhere else."""
    subjects = load_subjects()
    captions = open_captions(subjects, axis, 20, seed=3)
    assert captions == open_captions(subjects, axis, 20, seed=3) and len(captions) == 20
    for one in captions:
        assert one.weights.sum() == pytest.approx(1) and len(one.scenes) == len(one.weights) > 1
        assert len({(s.colour, s.items) for s in one.scenes}) == len(one.scenes)
        pairs = {(subjects[i.subject].name, s.colour) for s in one.scenes for i in s.items}
        expected = axis in ("place", "arrangement", "count")
        assert {held_out(*pair) for pair in pairs} == {expected}, one.caption


def test_captions_that_mean_two_subjects_are_not_asked():
    assert twice_meant(load_subjects()) == {"house", "houses", "airplane", "small airplane"}
    for axis in AXES:
        if axis != "subject":
            texts = [one.caption for one in open_captions(load_subjects(), axis, 150)]
            assert not [
                text for text in texts if re.search(r"\b(house|houses|airplane)( |$)", text) and "with" not in text
            ]


def test_the_conditional_is_that_of_the_generator():
    """A list of few subjects, so that every caption is drawn often: frequencies against the weights, chi squared."""
    subjects = [s for s in load_subjects() if s.name in ("bee", "owl", "pizza")]
    sampler = SceneSampler(subjects, np.random.default_rng(8))
    drawn = [sampler.draw() for _ in range(40_000)]
    checked = Counter()
    for axis in AXES:
        # Held-out pairs are asked for on purpose where all but one thing is fixed; ask for seen ones here.
        with mock.patch("recipe.data.open_captions._asked", lambda *pair: not held_out(*pair)):
            captions = open_captions(subjects, axis, 4)
        for one in captions:
            found = Counter((s.colour, frozenset(s.items)) for s in drawn if s.caption == one.caption)
            if (total := sum(found.values())) < 10:
                continue
            counts = np.array([found.pop((s.colour, frozenset(s.items)), 0) for s in one.scenes])
            assert not found, (one.caption, found)
            chi = ((counts - total * one.weights) ** 2 / (total * one.weights)).sum()
            assert chi < len(counts) + 5 * np.sqrt(2 * len(counts)), (one.caption, counts)
            checked[axis] += 1
    assert set(checked) == set(AXES), checked


def test_held_out_prompts_spread_over_subjects():
    scenes = held_out_scenes(load_subjects(), 200)
    assert scenes == held_out_scenes(load_subjects(), 200) and len(scenes) == 200
    assert max(Counter(scene.items[0].subject for scene in scenes).values()) == 1


def test_held_out_prompts_of_two():
    scenes = evaluation_scenes(load_subjects(), 500)
    assert [len(scene.items) for scene in scenes] == [1] * 331 + [2] * 169
    for scene in scenes[331:]:
        first, second = (load_subjects()[item.subject].name for item in scene.items)
        assert first != second and held_out(first, scene.colour) and held_out(second, scene.colour)
        assert {item.size for item in scene.items} == {HALF}
    assert len({scene.caption for scene in scenes}) == 500
    words = Counter(
        next(word for word in ("left", "right", "above", "below") if f" {word} " in s.caption) for s in scenes[331:]
    )
    assert min(words.values()) >= 36


def test_half_size_objects_have_the_same_place_in_pairs_and_alone():
    left, right = pair_items(5, 9, "to the right of")
    assert (left.subject, left.left, right.subject, right.left) == (5, 64, 9, 0)
    assert {item.left % 8 for item in (left, right)} | {item.top % 8 for item in (left, right)} == {0}


@pytest.fixture(scope="module")
def compositions():
    scenes = [scene for scene in held_out_scenes(load_subjects(), 331) if scene.colour in ("white", "red", "cyan")]
    renderer = Renderer(load_sprites())
    return scenes, np.stack([renderer.render(scene) for scene in scenes])


def test_judge_reads_real_compositions(compositions):
    figures, _ = score(*compositions)
    assert figures["object"]["share"] >= 0.97 and figures["background"]["share"] >= 0.99


def test_judge_reads_damaged_compositions(compositions):
    """Noise and a half-transparent veil, no template match to the pixel."""
    scenes, images = compositions
    noise = np.random.default_rng(7).normal(0, 0.05, images.shape).astype(np.float32)
    figures, _ = score(scenes, np.clip(0.85 * images + 0.15 * images.mean((1, 2), keepdims=True) + noise, 0, 1))
    assert figures["object"]["share"] >= 0.9


def test_judge_is_not_fooled_by_empty_pictures(compositions):
    scenes, images = compositions
    figures, _ = score(scenes, np.broadcast_to(images[:, :1, :1], images.shape).copy())
    assert figures["object"]["share"] < 0.05


@pytest.fixture(scope="module")
def pairs():
    scenes = [scene for scene in held_out_pairs(load_subjects(), 200) if scene.colour in ("red", "cyan")]
    renderer = Renderer(load_sprites())
    return scenes, np.stack([renderer.render(scene) for scene in scenes])


def test_judge_reads_real_pairs(pairs):
    figures, _ = score(*pairs)
    assert set(figures) == {"background", "layout", "valid", "residual"}
    assert figures["layout"]["share"] >= 0.98 and figures["background"]["share"] == 1


def test_judge_reads_damaged_pairs(pairs):
    scenes, images = pairs
    noise = np.random.default_rng(7).normal(0, 0.05, images.shape).astype(np.float32)
    figures, _ = score(scenes, np.clip(0.85 * images + 0.15 * images.mean((1, 2), keepdims=True) + noise, 0, 1))
    assert figures["layout"]["share"] >= 0.9


def test_judge_tells_a_pair_from_its_mirror_image_and_from_other_places(pairs):
    scenes, images = pairs
    opposite = {
        "to the left of": "to the right of",
        "to the right of": "to the left of",
        "above": "below",
        "below": "above",
    }
    turned = {
        "to the left of": "above",
        "to the right of": "below",
        "above": "to the left of",
        "below": "to the right of",
    }
    for other in (opposite, turned):
        asked = [
            Scene(s.caption, s.colour, pair_items(s.items[0].subject, s.items[1].subject, other[relation]))
            for s in scenes
            for relation in [next(word for word in other if f" {word} " in s.caption)]
        ]
        assert score(asked, images)[0]["layout"]["share"] == 0


def test_one_object_is_no_pair(compositions):
    _, images = (part[:10] for part in compositions)
    scenes = held_out_pairs(load_subjects(), 10)
    assert score(scenes, images)[0]["layout"]["share"] == 0


def test_interval_and_sheet(compositions):
    low, high = wilson(190, 200)
    assert 0.909 < low < 0.911 and 0.972 < high < 0.974
    scenes, images = (part[:12] for part in compositions)
    sheet = contact_sheet(scenes, images, score(scenes, images)[1])
    assert sheet.size == (1320, 348)


def test_learning_curves_are_drawn(tmp_path):
    curves.draw(
        [{"seconds": 60, "psnr_db": 20}, {"seconds": 120, "psnr_db": 22}],
        [{"seconds": 60, "loss": 3}, {"seconds": 120, "loss": 2}],
        tmp_path / "curves.webp",
    )
    assert Image.open(tmp_path / "curves.webp").size == (900, 320)
