"""The sound model that ships with the pack."""

import mgt_core
from mgt_core.loading.layouts import BUILT_IN
from recipe.sound import evaluate
from recipe.sound.judge import judge
from recipe.sound.melodies import FRAMES, HOP, RATE
from support.device import HERE

FOLDER = BUILT_IN["demo-sound"]


def test_it_plays_what_is_asked_for():
    pipe = mgt_core.load("demo-sound", **HERE)
    assert pipe.model.sample_rate == RATE and mgt_core.frames_in(pipe.model, FRAMES * HOP / RATE) == FRAMES
    asked = [("rising scale", "flute", "slow"), ("falling scale", "harp", "fast")]
    waves = evaluate.generate(pipe, asked, 1)
    frames = FRAMES - FRAMES % 3  # spans are whole
    assert waves.shape == (2, frames * HOP) and 0.05 < waves.abs().amax(1).min() and waves.abs().max() < 1.5
    assert [verdict.agrees(combination)["all three"] for verdict, combination in zip(judge(waves), asked)] == [True] * 2


def test_a_sound_comes_back_from_its_tokens():
    pipe = mgt_core.load("demo-sound", **HERE)
    waves = evaluate.generate(pipe, [("trill", "organ", "slow")], 1)[:, None]
    state = mgt_core.encode_sound(pipe.model, pipe.codec, waves, RATE)
    again = pipe.codec.decode(state).cpu()
    assert again.shape == waves.shape
    assert (again - waves).square().mean() < 0.1 * waves.square().mean()


def test_it_takes_little_room():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 1_000_000
