"""Which widgets a node shows, which it folds away, and what finds it in the search."""

import json
from dataclasses import fields

import pytest
import torch

from runner.local import describe
from runner.specs import is_widget, options, widget_slots
from support.editmgt import own_pipeline
from support.golden import bundles, pipeline
from support.node_runs import NODES, inputs, run
from support.pack import load_pack
from support.workflow_files import WORKFLOWS

MOST_SHOWN = 6
WIDGETS = {name: {key: spec for key, spec in inputs(cls).items() if is_widget(spec)} for name, cls in NODES.items()}
FOLDED = {
    (name, key) for name, specs in WIDGETS.items() for key, spec in specs.items() if options(spec).get("advanced")
}
# That tries every choice, rare ones too.
SHOWING_ALL = "all_choices"


def shown(name: str) -> list[str]:
    return [key for key in WIDGETS[name] if (name, key) not in FOLDED]


@pytest.mark.parametrize("name", sorted(NODES))
def test_a_node_shows_the_few_widgets_that_matter(name):
    assert len(shown(name)) <= MOST_SHOWN
    assert shown(name) or not WIDGETS[name], "all are folded away"


def test_rare_widgets_are_folded_away():
    assert len(FOLDED) > 40
    assert len(WIDGETS["MGTTokenMerging"]) == 13 and shown("MGTTokenMerging") == ["ratio", "blocks", "known_only"]
    assert shown("MGTGuidanceSchedule")[:2] == ["start", "end"]  # what the node is for


def test_names_of_rare_widgets_are_those_of_widgets():
    """One that is misspelt would fold nothing; the interval is said for all nodes, with one and without."""
    for name, cls in NODES.items():
        assert set(getattr(cls, "rare", ())) - {"start", "end"} <= WIDGETS[name].keys(), name


@pytest.mark.parametrize("name", sorted({name for name, _ in FOLDED}))
def test_folded_widgets_start_as_the_library_has_it(name):
    """Who never opens them runs what the part itself recommends."""
    cls = NODES[name]
    if not hasattr(cls, "part"):
        return
    model = pipeline(bundles()[0]).model
    more = {"model": model} if "MGT_MODEL" in cls.RETURN_TYPES else {}
    if name == "MGTSelfGuidance":
        more["branch"] = run("MGTLoadSelfGuidance", model=model)[0]
    if name == "MGTEditReference":
        edits = own_pipeline()
        more = {"model": edits.model, "codec": edits.codec, "image": torch.rand(1, 64, 64, 3)}
    made = run(name, **more)[0]
    part = made.parts()[-1] if more else made
    kept = [f for f in fields(part) if f.init and f.name in cls.rare]
    assert {f.name: getattr(part, f.name) for f in kept} == {f.name: f.default for f in kept}
    if name == "MGTTokenMerging":
        assert part == cls.part()


@pytest.mark.parametrize("path", [path for path in WORKFLOWS if path.stem != SHOWING_ALL], ids=lambda path: path.stem)
def test_no_workflow_hides_what_it_sets(path):
    for node in json.loads(path.read_text())["nodes"]:
        if node["type"] not in NODES:
            continue
        info = describe(node["type"], NODES[node["type"]], "")
        values = zip(widget_slots(info), node.get("widgets_values") or [], strict=False)
        for key, value in values:
            if (node["type"], key) in FOLDED:
                assert value == options(WIDGETS[node["type"]][key])["default"], (node["type"], key)


def test_an_experiment_says_so_in_its_schema():
    assert [name for name, cls in NODES.items() if getattr(cls, "EXPERIMENTAL", False)] == ["MGTSamplerMomentum"]
    assert not [name for name in load_pack().NODE_DISPLAY_NAME_MAPPINGS.values() if "experimental" in name]


def test_words_that_find_one_node_alone():
    """The search lists all that have a word; newcomers type these."""
    for word, wanted in (("meissonic", "MGTLoadModel"), ("ksampler", "MGTSample"), ("checkpoint", "MGTLoadModel")):
        found = [name for name, cls in NODES.items() if word in cls.SEARCH_ALIASES]
        assert wanted in found, word
        assert word != "meissonic" or found == [wanted]


def test_aliases_are_words_for_a_search():
    for name, cls in NODES.items():
        assert cls.SEARCH_ALIASES and len(set(cls.SEARCH_ALIASES)) == len(cls.SEARCH_ALIASES), name
        assert all(word == word.lower() for word in cls.SEARCH_ALIASES), name
