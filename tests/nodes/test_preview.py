"""Progress, previews, interrupts."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

import mgt_core
from support.fake_comfy import FakeComfy, Interrupted
from support.node_runs import run
from support.pack import ALIAS
from support.runs import PIPE
from support.sounds import sound_model

host = sys.modules[f"{ALIAS}.nodes.host"]
preview = sys.modules[f"{ALIAS}.nodes.preview"]


def test_progress_and_previews_reach_the_host(monkeypatch, graph):
    comfy = FakeComfy(monkeypatch)
    run("MGTSample", **graph, unique_id="17")
    assert [update[:3] for update in comfy.updates] == [
        (
            "17",
            done,
            4,
        )
        for done in (1, 2, 3, 4)
    ]
    kind, picture, limit = comfy.updates[-1][3]
    assert (kind, limit, picture.mode) == ("JPEG", None, "RGB")
    assert 256 <= max(picture.size) <= 512
    assert comfy.updates[0][3] is not None


@pytest.mark.parametrize("settings", [{"method": "none"}, {"size": 0}])
def test_no_previews_when_the_host_wants_none(monkeypatch, graph, settings):
    comfy = FakeComfy(monkeypatch, **settings)
    run("MGTSample", **graph, unique_id="17")
    assert len(comfy.updates) == 4
    assert all(update[3] is None for update in comfy.updates)


def test_no_previews_without_a_codec(monkeypatch, graph):
    comfy = FakeComfy(monkeypatch)
    run("MGTSample", **{**graph, "model": replace(graph["model"], codec=None)})
    assert all(update[3] is None for update in comfy.updates)


@pytest.mark.parametrize("check", [1, 3])  # before the first block, and inside a step
@pytest.mark.parametrize("step", [1, 3])
def test_cancel_leaves_at_once_and_the_next_run_is_unaffected(monkeypatch, graph, step, check):
    expected = run("MGTSample", **graph)[0].tokens
    comfy = FakeComfy(monkeypatch)
    comfy.interrupt_after = step - 1, check
    with pytest.raises(Interrupted):
        run("MGTSample", **graph)
    assert len(comfy.updates) == step - 1
    assert torch.equal(run("MGTSample", **graph)[0].tokens, expected)


LONG = {
    "MGTDecode": lambda graph: {"tokens": run("MGTSample", **graph)[0], "codec": PIPE.codec, "tile_size": 0},
    "MGTEncodeImage": lambda graph: {"model": PIPE.model, "codec": PIPE.codec, "image": torch.rand(1, 64, 64, 3)},
    "MGTTextEncode": lambda graph: {"text": "a cat", "text_encoder": PIPE.text},
}


@pytest.mark.parametrize("name", LONG)
def test_cancel_ends_what_has_no_steps(monkeypatch, graph, name):
    given = LONG[name](graph)
    expected = repr(run(name, **given))
    comfy = FakeComfy(monkeypatch)
    comfy.interrupt_after = 0, 2
    with pytest.raises(Interrupted):
        run(name, **given)
    assert comfy.checks == 2
    assert repr(run(name, **given)) == expected


def test_progress_without_comfyui(graph):
    seen = []
    with host.progress_to(lambda *step: seen.append(step)):
        run("MGTSample", **graph, unique_id="3")
    run("MGTSample", **graph)
    assert seen == [(done, 4, "3") for done in (1, 2, 3, 4)]


class Painter:
    """Records how pictures were asked for, each taking `cost` seconds of a fake clock."""

    def __init__(self, side=16, cost=0.0):
        self.now, self.cost, self.side, self.full = 0.0, cost, side, []

    def image(self, state, full):
        self.now += self.cost
        self.full.append(full)
        return Image.new("L", (self.side, self.side))

    def clock(self):
        return self.now


def state_of(height, width):
    return mgt_core.empty_state(1, (height, width), mask_id=9, codebook_size=8)


def test_previews_are_spaced_but_for_the_last():
    painter = Painter()
    live = preview.LivePreview(painter, "auto", 512, painter.clock)
    shown = []
    for index in range(101):  # 100 steps a second
        painter.now = index / 100
        shown.append(live.picture(state_of(4, 4), last=index == 99) is not None)
    assert [index for index, yes in enumerate(shown) if yes] == [0, 25, 50, 75, 99]


def test_the_result_of_a_step_is_asked_for_only_when_it_is_shown():
    view = preview.RunView(3, None, SimpleNamespace(codec=None))
    view._preview = preview.LivePreview(Painter(), "auto", 512, lambda: 0.0)
    steps = [mgt_core.Step(index, 3, state_of(4, 4).tokens, outcome=lambda: state_of(4, 4)) for index in range(3)]
    for step in steps:
        view(step)
    assert ["result" in vars(step) for step in steps] == [True, False, True]


def test_slow_previews_take_a_fifth_of_the_time():
    painter = Painter(cost=1.0)
    live = preview.LivePreview(painter, "auto", 512, painter.clock)
    while painter.now < 50:
        live.picture(state_of(4, 4), last=False)
        painter.now += 0.1
    assert 9 <= len(painter.full) <= 11


@pytest.mark.parametrize(("frames", "full"), [(50, True), (500, False)])
def test_sounds_are_shown_as_tokens_below_their_spectrum(monkeypatch, frames, full):
    FakeComfy(monkeypatch)
    view = preview.RunView(2, None, sound_model())
    state = mgt_core.empty_sound(sound_model(), frames / 50)
    shown = view.picture(mgt_core.Step(0, 2, state.tokens, outcome=lambda: state))
    assert shown.mode == "RGB" and shown.size == (500, 64 + 160 * full)


@pytest.mark.parametrize(
    ("method", "grid", "full"), [("auto", (32, 32), True), ("auto", (32, 33), False), ("taesd", (64, 64), True)]
)
def test_large_grids_are_decoded_only_on_request(method, grid, full):
    painter = Painter()
    preview.LivePreview(painter, method, 512, painter.clock).picture(state_of(*grid), last=False)
    assert painter.full == [full]


@pytest.mark.parametrize(
    ("size", "limit", "expected"),
    [
        ((16, 16), 512, (256, 256)),
        ((64, 48), 512, (256, 192)),
        ((100, 50), 512, (300, 150)),
        ((300, 200), 512, (300, 200)),
        ((64, 64), 150, (128, 128)),
        ((1024, 512), 512, (512, 256)),
        ((64, 64), 32, (32, 32)),
    ],
)
def test_previews_are_enlarged_in_whole_steps_within_the_limit(size, limit, expected):
    picture = Image.effect_noise(size, 50)
    out = preview.enlarged(picture, limit)
    assert out.size == expected
    if out.width > size[0]:
        assert out.getpixel((0, 0)) == out.getpixel((1, 1)) == picture.getpixel((0, 0))
