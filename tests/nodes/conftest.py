"""The first tiny bundle and a stand-in for MAGNeT, as nodes hand them on."""

import sys

import pytest

import mgt_core
from mgt_core.loading.layouts import BUILT_IN
from support.bundles import magnet_bundle
from support.device import DEVICE
from support.fake_comfy import FakeFolderPaths
from support.node_runs import run
from support.pack import ALIAS

host = sys.modules[f"{ALIAS}.nodes.host"]


@pytest.fixture(scope="module")
def loaded(golden, tmp_path_factory):
    """(model, text, codec) of the first tiny bundle, as MGT Load Model gives them."""
    folders = FakeFolderPaths(tmp_path_factory.mktemp("models"), mgt=[golden / "meissonic"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "folder_paths", folders)
        names = [name for name in host.bundles() if name not in BUILT_IN]
        assert names, f"no bundle under {golden}/meissonic"
        return run("MGTLoadModel", model=names[0], dtype="float32")


@pytest.fixture(scope="module")
def unit(loaded):
    """Side in pixels of the smallest image."""
    return loaded[0].pixels_per_token * loaded[0].grid_multiple


@pytest.fixture
def graph(loaded, unit):
    """The inputs of MGT Sample for a small image."""
    model, text, _ = loaded
    return {
        "model": model,
        "positive": run("MGTTextEncode", text="a red heart", text_encoder=text)[0],
        "negative": run("MGTTextEncode", text="", text_encoder=text)[0],
        "tokens": run("MGTEmptyTokens", model=model, width=3 * unit, height=2 * unit, batch_size=2)[0],
        "schedule": run("MGTMaskSchedule")[0],
        "sampler": run("MGTSamplerMaskGIT", temperature_start=2.0)[0],
        "steps": 4,
    }


@pytest.fixture(scope="module")
def sound_pipe(tmp_path_factory):
    return mgt_core.load(magnet_bundle(tmp_path_factory.mktemp("magnet")), device=DEVICE)


@pytest.fixture(scope="module")
def sound_graph(sound_pipe):
    """The inputs of MGT Sample but for tokens."""
    return {
        "model": sound_pipe.model,
        "positive": run("MGTTextEncode", text="a bell", text_encoder=sound_pipe.text)[0],
        "negative": run("MGTTextEncode", text="", text_encoder=sound_pipe.text)[0],
        "steps": 8,
    }


@pytest.fixture(scope="module")
def made_sound(sound_pipe, sound_graph):
    return run(
        "MGTSample", **sound_graph, tokens=run("MGTEmptySound", model=sound_pipe.model, batch_size=2)[0], seed=3
    )[0]


@pytest.fixture
def shown(monkeypatch):
    """What is written under nodes."""
    texts = []
    monkeypatch.setattr(host, "show_text", lambda text, node_id: texts.append(text))
    return texts
