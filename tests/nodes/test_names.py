"""Names that models are saved under: every one that is taken is listed afterwards."""

import json
import shutil
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mgt_core.errors import MGTError
from support.bundles import openmuse_bundle
from support.node_runs import NODES
from support.pack import ALIAS
from support.trials import is_sentence

host = sys.modules[f"{ALIAS}.nodes.host"]


@pytest.fixture
def models(monkeypatch, tmp_path):
    """models/mgt of a pack that holds a bundle and what is none."""
    monkeypatch.setattr(host, "PACK", tmp_path)
    root = tmp_path / "models" / "mgt"
    for name in ("tiny", "small/w4a8"):
        minimal_bundle(root / name)
    openmuse_bundle(root / "muse")
    (root / "kept").mkdir()
    (root / "a file").write_text("")
    return root


def minimal_bundle(folder):
    (folder / "transformer").mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "Pipeline"}))


REFUSED = {
    "": "names no folder",
    ".": "names no folder",
    "../elsewhere": "leads elsewhere",
    "/tmp/elsewhere": "leads elsewhere",
    "a//b": "names no folder",
    "a/": "names no folder",
    "... ": "names no folder",
    ".hidden": "begins with a dot",
    "a/.hidden/b": "begins with a dot",
    "a/b/c/d": "4 levels deep, and only 3",
    "a/b/c/d/e": "5 levels deep",
    "x" * 201: "longer than 200 bytes",
    "é" * 101: "longer than 200 bytes",
    "a\0b": "characters that not every system takes",
    "a\x1b[2J": "characters that not every system takes",
    "a\ud800": "characters that not every system takes",
    "a\\b": "characters that not every system takes",
    "C:x": "characters that not every system takes",
    "what?": "characters that not every system takes",
    " spaced ": "ends as no name does on Windows",
    "dotted.": "ends as no name does on Windows",
    "a /b": "ends as no name does on Windows",
    "nul": "reserved there",
    "a/COM1.safetensors": "reserved there",
    "demo": "comes with the pack",
    "Demo": "comes with the pack",
    "presets/mine": "comes with the pack",
    "self_guidance": "comes with the pack",
    "tiny/inner": "inside the model",
    "small/w4a8/inner": "inside the model",
    "muse/inner": "inside the model",
    "small": "no model",
    "kept": "no model",
    "a file": "no model",
    "a file/x": "no folder that can be read",
    "round": "no model",
    "round/x": "no folder that can be read",
}


@pytest.mark.parametrize("name, sentence", REFUSED.items())
def test_names_that_would_not_be_listed(models, name, sentence):
    (models / "round").symlink_to(models / "round")
    told = NODES["MGTSaveModel"].VALIDATE_INPUTS(name)
    assert told.startswith("name is ") and sentence in told and is_sentence(told)
    with pytest.raises(MGTError, match="name is"):
        host.bundle_target(name)


LISTED = ["new", "tiny", "small/w4a8", "small/new", "kept/x", "a/b/c", "é\u200dé", "夜\u3000明け", "v1.5 (2)"]


@pytest.mark.parametrize("name", LISTED)
def test_names_that_are_listed(models, name):
    assert NODES["MGTSaveModel"].VALIDATE_INPUTS(name) is True
    shutil.rmtree(host.bundle_target(name), ignore_errors=True)
    minimal_bundle(host.bundle_target(name))
    assert name in host.bundles()


def test_a_model_that_lies_among_all_others_takes_no_name(models):
    """Unpacked right into the folder, it is listed beside what lies in its subfolders."""
    minimal_bundle(models)
    assert NODES["MGTSaveModel"].VALIDATE_INPUTS("new") is True
    minimal_bundle(host.bundle_target("new"))
    assert "new" in host.bundles()


PIECES = st.sampled_from(
    ["tiny", "small", "kept", "muse", "new", "..", ".", "", ".x", "nul", "a.", " b", "demo", "w4a8"]
)
WORDS = st.text(st.characters(), min_size=1, max_size=12)


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.lists(st.one_of(PIECES, WORDS), min_size=1, max_size=5).map("/".join), st.text(max_size=300)))
@example("a/b/c")
def test_every_name_that_is_taken_is_listed(tmp_path_factory, name):
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp("pack")
        patch.setattr(host, "PACK", place)
        root = place / "models" / "mgt"
        for known in ("tiny", "small/w4a8"):
            minimal_bundle(root / known)
        (root / "kept").mkdir()
        before = host.bundles()
        try:
            folder = host.bundle_target(name)
        except MGTError as error:
            assert is_sentence(str(error))
            return
        if not folder.exists():
            minimal_bundle(folder)
        listed = host.bundles()
        assert listed[name] == str(folder) and before.items() <= listed.items()


def test_a_name_from_another_node_is_judged_when_it_comes():
    assert NODES["MGTSaveModel"].VALIDATE_INPUTS(None) is True
