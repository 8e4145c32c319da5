"""Every node through its FUNCTION on a tiny model, without ComfyUI and against stand-ins for its modules."""

import gc
import sys
import weakref
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

import mgt_core
from support.fake_comfy import FakeComfy, FakeFolderPaths, Interrupted
from support.node_runs import NODES, run
from support.pack import ALIAS

host = sys.modules[f"{ALIAS}.nodes.host"]
preview = sys.modules[f"{ALIAS}.nodes.preview"]
conditioning = sys.modules[f"{ALIAS}.nodes.conditioning"]


# Text to image


def test_text_to_image(loaded, graph, unit):
    tokens = run("MGTSample", **graph)[0]
    assert not tokens.masked.any()
    image = run("MGTDecode", tokens=tokens, codec=loaded[2])[0]
    assert image.shape == (2, 2 * unit, 3 * unit, 3)
    assert image.dtype == torch.float32
    assert image.is_contiguous()
    assert 0 <= image.min() < image.max() <= 1


def test_nodes_add_nothing_to_what_the_library_computes(loaded, graph):
    model, text, _ = loaded
    direct = mgt_core.sample(
        model,
        graph["tokens"],
        text.encode(["a red heart"]),
        text.encode([""]),
        steps=4,
        cfg=3.0,
        temperature=(2.0, 0.0),
        seed=5,
    )
    assert torch.equal(run("MGTSample", **{**graph, "seed": 5, "cfg": 3.0})[0].tokens, direct.tokens)


def test_seed_decides_the_tokens(graph):
    first, again, other = (run("MGTSample", **graph, seed=seed)[0].tokens for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(first[1], other[0])  # image 1 of seed 1 is image 0 of seed 2


def test_every_schedule_can_be_picked(graph):
    choices = NODES["MGTMaskSchedule"].INPUT_TYPES()["required"]["schedule"][0]
    assert {*choices, "custom"} == set(mgt_core.list_schedules())  # which has a node of its own
    for name in choices:
        schedule = run("MGTMaskSchedule", schedule=name)[0]
        assert not run("MGTSample", **{**graph, "schedule": schedule})[0].masked.any()


def test_largest_seed_and_a_batch(graph):
    assert not run("MGTSample", **graph, seed=2**64 - 1)[0].masked.any()


@pytest.mark.parametrize("size", [{"width": 17}, {"height": 0}, {"batch_size": 0}])
def test_bad_sizes_are_named(loaded, unit, size):
    (name, value), *_ = size.items()
    with pytest.raises(mgt_core.MGTError, match=rf"{name.removesuffix('_size')} is {value}\b"):
        run("MGTEmptyTokens", **{"model": loaded[0], "width": unit, "height": unit, **size})


def test_masked_tokens_are_not_decoded(loaded, graph):
    with pytest.raises(mgt_core.MGTError, match="still masked"):
        run("MGTDecode", tokens=graph["tokens"], codec=loaded[2])


# Conditioning


def test_text_encode_gives_comfyui_conditioning(loaded):
    ((hidden, extra),) = run("MGTTextEncode", text="a red heart", text_encoder=loaded[1])[0]
    expected = loaded[1].encode(["a red heart"])
    assert hidden.dtype == extra["pooled_output"].dtype == torch.float32
    assert torch.equal(hidden, expected.hidden)
    assert torch.equal(extra["pooled_output"], expected.pooled)


def test_micro_conditions(graph):
    given = graph["positive"]
    changed = run("MGTMicroConditions", conditioning=given, height=100, crop_left=7, aesthetic_score=5.5)[0]
    micro = conditioning.condition_from(changed, "positive", (32, 48), 8).micro
    assert micro.tolist() == [[48, 100, 0, 7, 5.5]]
    assert "mgt_micro" not in given[0][1]
    assert changed[0][0] is given[0][0]
    again = run("MGTMicroConditions", conditioning=changed)[0]
    assert conditioning.condition_from(again, "positive", (32, 48), 8).micro.tolist() == [[48, 32, 0, 0, 6]]


def test_default_micro_conditions_change_nothing_and_others_do(graph):
    plain = run("MGTSample", **graph)[0].tokens
    same = run("MGTMicroConditions", conditioning=graph["positive"])[0]
    other = run("MGTMicroConditions", conditioning=graph["positive"], aesthetic_score=0.0, width=4000)[0]
    assert torch.equal(run("MGTSample", **{**graph, "positive": same})[0].tokens, plain)
    condition = [conditioning.condition_from(c, "positive", (32, 32), 8) for c in (same, other)]
    time = torch.tensor([1.0])
    first, second = (graph["model"].logits(graph["tokens"].tokens[:1], c, time) for c in condition)
    assert not torch.equal(first, second)


def test_prompts_of_a_batch(loaded, graph):
    """One entry may hold a prompt for each image."""
    encoded = loaded[1].encode(["a red heart", "a blue fish"])
    positive = [[encoded.hidden, {"pooled_output": encoded.pooled}]]
    assert not run("MGTSample", **{**graph, "positive": positive})[0].masked.any()


BAD_CONDITIONING = {
    "nothing": (lambda c: [], "positive conditioning is empty"),
    "no tensor": (lambda c: [[None, {}]], "holds NoneType"),
    "flat": (lambda c: [[c[0][0][0], c[0][1]]], "expected text states"),
    "no pooled": (lambda c: [[c[0][0], {}]], "lacks pooled"),
    "wide hidden": (lambda c: [[torch.cat([c[0][0]] * 2, -1), c[0][1]]], "made for another model"),
    "wide pooled": (lambda c: [[c[0][0], {"pooled_output": torch.zeros(1, 3)}]], "made for another model"),
    "three prompts": (
        lambda c: [[c[0][0].expand(3, -1, -1), {"pooled_output": c[0][1]["pooled_output"].expand(3, -1)}]],
        "3 prompts for 2 images",
    ),
    "control": (lambda c: [[c[0][0], {**c[0][1], "control": object()}]], "carries control"),
    "hooks": (lambda c: [[c[0][0], {**c[0][1], "hooks": 1, "gligen": ("position",)}]], "carries gligen, hooks"),
    "a volume": (lambda c: [[c[0][0], {**c[0][1], "area": (1, 1, 1, 0, 0, 0)}]], "area of 3 dimensions"),
    "range the wrong way round": (
        lambda c: [[c[0][0], {**c[0][1], "start_percent": 0.5, "end_percent": 0.25}]],
        "starts at 0.5 and ends at 0.25",
    ),
    "nowhere": (lambda c: [[c[0][0], {**c[0][1], "strength": -1.0}]], "condition weight is -1.0"),
}


@pytest.mark.parametrize("case", BAD_CONDITIONING)
def test_conditioning_of_no_use_is_refused_in_one_sentence(graph, case):
    change, words = BAD_CONDITIONING[case]
    with pytest.raises(mgt_core.MGTError, match=words) as error:
        run("MGTSample", **{**graph, "positive": change(graph["positive"])})
    assert "\n" not in str(error.value)


def test_settings_that_change_nothing_are_accepted(graph):
    hidden, extra = graph["positive"][0]
    neutral = [[hidden, {**extra, "start_percent": 0.0, "end_percent": 1.0, "strength": 1.0}]]
    assert not run("MGTSample", **{**graph, "positive": neutral})[0].masked.any()


# Which models can be picked


def bundle(folder, marker="model_index.json", text="{}"):
    path = folder / marker
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_combo_lists_the_built_in_model_first(monkeypatch, tmp_path):
    models, elsewhere, shelf = tmp_path / "models", tmp_path / "elsewhere", tmp_path / "shelf"
    bundle(models / "mgt" / "beta")
    bundle(models / "mgt" / "alpha" / "deep", "transformer/config.json")
    bundle(models / "mgt" / "demo")
    bundle(models / "mgt" / ".cache" / "hidden")
    bundle(models / "mgt" / "beta" / "inner")
    bundle(models / "direct")
    bundle(elsewhere / "gamma")
    bundle(elsewhere / "beta")
    bundle(shelf)  # a path of extra_model_paths.yaml may be a bundle itself
    bundle(models / "diffusers" / "monetico")
    bundle(models / "diffusers" / "sd", text='{"vae": ["diffusers", "AutoencoderKL"]}')
    (models / "mgt" / "notes.txt").write_text("not a folder")
    folders = FakeFolderPaths(
        models, mgt=[elsewhere, shelf, tmp_path / "missing"], diffusers=[models / "diffusers"], loras=[models / "loras"]
    )
    monkeypatch.setitem(sys.modules, "folder_paths", folders)

    choices = NODES["MGTLoadModel"].INPUT_TYPES()["required"]["model"][0]
    assert choices[0] == "demo"
    assert set(choices) == {
        "demo",
        "beta",
        "gamma",
        "shelf",
        "alpha/deep",
        "mgt/demo",
        "diffusers/monetico",
        "models/direct",
    }
    assert len(choices) == len(set(choices))
    assert host.bundles()["beta"] == str(elsewhere / "beta")  # the first path wins, as in ComfyUI
    # Asking twice adds our folder once, and keeps the paths that were there.
    expected = [elsewhere, shelf, tmp_path / "missing", models / "mgt"]
    assert folders.get_folder_paths("mgt") == [str(path) for path in expected]


def test_combo_without_comfyui(monkeypatch, tmp_path):
    monkeypatch.setattr(host, "PACK", tmp_path)
    assert host.bundles() == {"demo": "demo"}
    bundle(tmp_path / "models" / "mgt" / "mine")
    assert list(host.bundles()) == ["demo", "mine"]


def test_links_in_a_circle_end(monkeypatch, tmp_path):
    root = tmp_path / "models" / "mgt"
    bundle(root / "mine")
    (root / "loop").symlink_to(root, target_is_directory=True)
    monkeypatch.setattr(host, "PACK", tmp_path)
    assert "mine" in host.bundles()


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"model": "none such"}, "model is 'none such', but the known ones are demo"),
        ({"model": "demo", "dtype": "int3"}, "dtype is 'int3', but the known ones are auto"),
        ({"model": "mine"}, "has no subfolder transformer"),
    ],
)
def test_bad_choices_get_one_sentence(monkeypatch, tmp_path, inputs, words):
    monkeypatch.setattr(host, "PACK", tmp_path)
    bundle(tmp_path / "models" / "mgt" / "mine")
    with pytest.raises(mgt_core.MGTError, match=words):
        run("MGTLoadModel", **inputs)


# Progress, previews, interrupts


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


@pytest.mark.parametrize("step", [1, 3])
def test_cancel_leaves_at_once_and_the_next_run_is_unaffected(monkeypatch, graph, step):
    expected = run("MGTSample", **graph)[0].tokens
    comfy = FakeComfy(monkeypatch)
    comfy.interrupt_at = step
    with pytest.raises(Interrupted):
        run("MGTSample", **graph)
    assert len(comfy.updates) == step - 1
    assert torch.equal(run("MGTSample", **graph)[0].tokens, expected)


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


# Memory


def test_networks_are_placed_by_the_host(monkeypatch, golden, tmp_path):
    comfy = FakeComfy(monkeypatch)
    monkeypatch.setitem(sys.modules, "folder_paths", FakeFolderPaths(tmp_path, mgt=[golden / "meissonic"]))
    model, text, codec = run("MGTLoadModel", model=list(host.bundles())[1], dtype="auto")
    assert comfy.loads == []  # nothing is moved before it is used
    assert model.dtype == torch.float32
    names = [type(part.network).__name__ for part in (model, text, codec)]

    positive = run("MGTTextEncode", text="", text_encoder=text)[0]
    assert comfy.loads == [[names[1]]]
    unit = model.pixels_per_token * model.grid_multiple
    tokens = run("MGTEmptyTokens", model=model, width=unit, height=unit)[0]
    comfy.loads.clear()
    parts = {"schedule": run("MGTMaskSchedule")[0], "sampler": run("MGTSamplerMaskGIT", temperature_start=2.0)[0]}
    filled = run("MGTSample", model=model, positive=positive, negative=positive, tokens=tokens, **parts, steps=2)[0]
    assert comfy.loads[0] == [names[0]]
    # A preview in the middle of the run keeps the network of the run where it is.
    assert [names[2], names[0]] in comfy.loads[1:]
    assert [names[2]] not in comfy.loads
    comfy.loads.clear()
    run("MGTDecode", tokens=filled, codec=codec)
    assert set(map(tuple, comfy.loads)) == {(names[2],)}


def test_placement_finishes_a_load_that_the_host_left_undone(monkeypatch):
    FakeComfy(monkeypatch)
    network = torch.nn.Linear(2, 2)
    placement = host.ManagedPlacement(network, torch.device("meta"), torch.device("cpu"))
    assert placement.acquire() == torch.device("meta")
    assert network.weight.device.type == "meta"
    assert placement._patcher.model.model_loaded_weight_memory == 24  # as the host counts it


def test_weights_live_as_long_as_a_handle(monkeypatch):
    FakeComfy(monkeypatch)
    network = torch.nn.Linear(2, 2)
    alive = weakref.ref(network)
    placement = host.ManagedPlacement(network, torch.device("cpu"), torch.device("cpu"))
    beside = placement.beside(host.ManagedPlacement(torch.nn.Linear(2, 2), torch.device("cpu"), torch.device("cpu")))
    del network, placement
    gc.collect()
    assert alive() is not None
    del beside
    gc.collect()
    assert alive() is None
