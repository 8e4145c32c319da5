"""The first tiny bundle, as nodes hand it on."""

import sys

import pytest

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
        names = [name for name in host.bundles() if name != "demo"]
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
