"""Which models can be picked."""

import sys

import pytest

import mgt_core
from mgt_core.loading.layouts import BUILT_IN
from support.fake_comfy import FakeFolderPaths
from support.node_runs import NODES, run
from support.pack import ALIAS

host = sys.modules[f"{ALIAS}.nodes.host"]


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
        *BUILT_IN,
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
    assert host.bundles() == {name: name for name in BUILT_IN}
    bundle(tmp_path / "models" / "mgt" / "mine")
    assert list(host.bundles()) == [*BUILT_IN, "mine"]


def test_links_in_a_circle_end(monkeypatch, tmp_path):
    root = tmp_path / "models" / "mgt"
    bundle(root / "mine")
    (root / "loop").symlink_to(root, target_is_directory=True)
    monkeypatch.setattr(host, "PACK", tmp_path)
    assert "mine" in host.bundles()


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"model": "none such"}, "model 'none such' is not there: the choices are demo"),
        ({"model": "demo", "dtype": "int3"}, "dtype is 'int3', but the known ones are auto"),
        ({"model": "mine"}, "has no subfolder transformer"),
    ],
)
def test_bad_choices_get_one_sentence(monkeypatch, tmp_path, inputs, words):
    monkeypatch.setattr(host, "PACK", tmp_path)
    bundle(tmp_path / "models" / "mgt" / "mine")
    with pytest.raises(mgt_core.MGTError, match=words):
        run("MGTLoadModel", **inputs)
