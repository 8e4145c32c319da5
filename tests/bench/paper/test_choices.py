"""What is compared: the paper's choices as released, or a file's; and vanilla at as many passes."""

import json

import pytest

import mgt_core
from bench.paper.choices import NEGATIVE, SETS, VANILLA, read_choices, twins
from bench.sweep.settings import arguments, patches, scheme_of
from bench.sweep.spec import Spec
from mgt_core import MGTError
from mgt_core.presets import Preset
from support.pack import ROOT


@pytest.mark.parametrize("name", SETS)
def test_sets_are_settings_of_a_sweep(name):
    found = read_choices(name)
    assert next(iter(found)) == VANILLA and found[VANILLA] == {}
    Spec(["a dog"], found)


def test_the_papers_choices_are_those_of_the_presets():
    found = read_choices("paper")
    preset = Preset.read(ROOT / "presets" / "meissonic-choices.json")
    assert arguments("x", found["masked Z-Sampling"]) == {"sampler": preset.sampler}
    assert patches("x", found["noise regularization"]) == preset.patches and preset.negative == NEGATIVE
    preset = Preset.read(ROOT / "presets" / "meissonic-choices-differential.json")
    assert patches("x", found["differential sampling"]) == preset.patches
    assert scheme_of("x", found["SCQ (w4a8)"]) == mgt_core.W4A8()


def test_vanilla_at_as_many_passes():
    costs = {
        VANILLA: {"steps": 64, "passes": 128},
        "the same": {"steps": 64, "passes": 128},
        "masked Z-Sampling": {"steps": 64, "passes": 317},
        "fewer": {"steps": 32, "passes": 64},
    }
    assert twins(costs) == {"masked Z-Sampling": 158, "fewer": 32}


def test_choices_of_a_file(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"hot": {"temperature": 4.0}, VANILLA: {"steps": 8}}))
    assert read_choices(str(file)) == {VANILLA: {"steps": 8}, "hot": {"temperature": 4.0}}
    for content, words in (
        ("{", "not valid JSON"),
        ("[]", "no JSON object"),
        ('{"vanilla": {}}', "other than vanilla"),
    ):
        file.write_text(content)
        with pytest.raises(MGTError, match=words):
            read_choices(str(file))
    with pytest.raises(MGTError, match="accepted are paper, paper-pairs, decoders or a JSON file"):
        read_choices("bag")
