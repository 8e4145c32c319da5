"""Names of models that a workflow was saved with on another system: `folder\\model` on Windows."""

import sys

import pytest

from support.bundles import copy_bundle
from support.fake_comfy import FakeFolderPaths
from support.node_runs import NODES, run
from support.pack import ALIAS

choices = sys.modules[f"{ALIAS}.nodes.choices"]
host = sys.modules[f"{ALIAS}.nodes.host"]
LOADER = NODES["MGTLoadModel"]


@pytest.fixture
def models(tmp_path, monkeypatch):
    """ComfyUI's models folder, with a bundle in a folder, and a LoRA as Windows lists it."""
    copy_bundle(tmp_path / "mgt" / "sub" / "tiny")
    found = FakeFolderPaths(tmp_path, mgt=[tmp_path / "mgt"], loras=[tmp_path / "loras"])
    found.get_filename_list = lambda kind: [r"styles\old.safetensors"] if kind == "loras" else []
    found.get_full_path = lambda kind, name: str(tmp_path / kind / name)
    monkeypatch.setitem(sys.modules, "folder_paths", found)


def test_names_saved_on_another_system_are_found(models):
    (listed,) = [name for name in host.bundles() if "tiny" in name]
    for value in (r"sub\tiny", "sub/tiny", r"sub\tiny — was none once"):
        assert LOADER.VALIDATE_INPUTS(value) is True
        assert choices.names(model=value, base=host.NONE, codec=None) == [listed, host.NONE, None]
    assert run("MGTLoadModel", model=r"sub\tiny", text_encoder=r"sub\tiny", codec=r"sub\tiny")
    assert LOADER.IS_CHANGED(model=r"sub\tiny") == LOADER.IS_CHANGED(model=listed) != ""
    assert "is not there" in LOADER.VALIDATE_INPUTS(r"other\tiny")


def test_names_saved_elsewhere_are_found_on_windows(models):
    lora = NODES["MGTLoadLoRA"]
    assert lora.VALIDATE_INPUTS("styles/old.safetensors") is True
    assert choices.names(lora="styles/old.safetensors") == [r"styles\old.safetensors"]


def test_of_two_names_that_differ_in_separators_none_is_guessed():
    known = {r"a\b/c": 1, r"a/b\c": 2, "d": 3}
    assert choices.plain("a/b/c", known) == "a/b/c"
    assert choices.plain(r"a\b/c", known) == r"a\b/c"
