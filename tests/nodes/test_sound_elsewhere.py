"""What nodes of pictures say to sound, and those of sound to pictures; prompts with a place or a time."""

import pytest
import torch

import mgt_core
from mgt_core.types import SOUND
from support.golden import bundles, pipeline
from support.node_runs import NODES, run
from support.pack import load_pack
from support.tones import tone

NAMES = load_pack().NODE_DISPLAY_NAME_MAPPINGS
PICTURES = pipeline(bundles()[0])
PICTURES_TOKENS = mgt_core.empty_tokens(PICTURES, 64, 64)
OTHER = {
    "MGTEmptyTokens": "MGT Empty Sound Tokens",
    "MGTEncodeImage": "MGT Encode Audio",
    "MGTMaskTokens": "MGT Mask Sound",
    "MGTPadTokens": "MGT Extend Sound",
    "MGTDecode": "MGT Decode Audio",
    "MGTCaption": None,
    "MGTEditReference": None,
    "MGTEditPrompt": None,
}


def inputs_of(name, sound_pipe, tokens):
    """Some of every kind that a node takes, its parts those of a bundle."""
    own = {
        "MGT_MODEL": sound_pipe.model,
        "MGT_CODEC": sound_pipe.codec,
        "MGT_TEXT": sound_pipe.text,
        "MGT_TOKENS": tokens,
    }
    own |= {"IMAGE": torch.rand(1, 64, 64, 3), "MASK": torch.ones(1, 64, 64), "AUDIO": tone()}
    return {key: own[kind] for key, (kind, _) in NODES[name].INPUT_TYPES()["required"].items() if str(kind) in own}


@pytest.mark.parametrize("name", OTHER)
def test_nodes_of_pictures_name_what_to_take_for_sound(sound_pipe, made_sound, name):
    instead = f": take {OTHER[name]}$" if OTHER[name] else "$"
    with pytest.raises(mgt_core.MGTError, match=r"of sound, and MGT [\w ]+ is for pictures" + instead):
        run(name, **inputs_of(name, sound_pipe, made_sound))


@pytest.mark.parametrize("name", [name for name, cls in NODES.items() if getattr(cls, "FOR", None) == SOUND])
def test_nodes_of_sound_name_what_to_take_for_pictures(name):
    instead = next((other for other, own in OTHER.items() if own == NAMES[name]))
    with pytest.raises(mgt_core.MGTError, match=f"of pictures, and {NAMES[name]} is for sound: take {NAMES[instead]}$"):
        run(name, **inputs_of(name, PICTURES, PICTURES_TOKENS))


def conditioned(sound_graph, **extra):
    ((hidden, own),) = sound_graph["positive"]
    return sound_graph | {"positive": [[hidden, {**own, **extra}]]}


@pytest.mark.parametrize(
    "extra, words",
    [
        ({"area": (8, 8, 0, 0)}, "the positive conditioning has an area, which is a place in a picture"),
        ({"mask": torch.ones(1, 8, 8)}, "the positive conditioning has a mask, which is a place in a picture"),
    ],
)
def test_places_have_no_meaning_in_sound(sound_pipe, sound_graph, extra, words):
    with pytest.raises(mgt_core.MGTError, match=words):
        run("MGTSample", **conditioned(sound_graph, **extra), tokens=run("MGTEmptySound", model=sound_pipe.model)[0])


def test_micro_conditions_have_no_meaning_in_sound(sound_pipe, sound_graph):
    micro = run("MGTMicroConditions", conditioning=sound_graph["positive"])[0]
    with pytest.raises(mgt_core.MGTError, match="micro-conditions, which are of pictures; this model makes sound"):
        run("MGTSample", **sound_graph | {"positive": micro}, tokens=run("MGTEmptySound", model=sound_pipe.model)[0])


def test_time_ranges_and_strengths_of_prompts_act(sound_pipe, sound_graph):
    tokens = run("MGTEmptySound", model=sound_pipe.model)[0]
    ((hidden, own),) = sound_graph["positive"]
    other = run("MGTTextEncode", text="a flute and a drum", text_encoder=sound_pipe.text)[0][0]
    whole = run("MGTSample", **sound_graph, tokens=tokens)[0]
    early = [[hidden, {**own, "end_percent": 0.5}], [other[0], {**other[1], "start_percent": 0.5}]]
    mixed = [[hidden, own], [other[0], {**other[1], "strength": 0.5}]]
    runs = [run("MGTSample", **sound_graph | {"positive": each}, tokens=tokens)[0].tokens for each in (early, mixed)]
    assert not any(torch.equal(each, whole.tokens) for each in runs) and not torch.equal(*runs)


def test_a_reward_has_nothing_to_look_at(sound_pipe, sound_graph):
    sampler = run("MGTSamplerBestOf", reward=run("MGTRewardColour")[0])[0]
    with pytest.raises(mgt_core.MGTError, match="steered by a reward, which looks at pictures"):
        run("MGTSample", **sound_graph, tokens=run("MGTEmptySound", model=sound_pipe.model)[0], sampler=sampler)


def test_calibration_takes_no_pictures_for_sound(sound_pipe):
    with pytest.raises(mgt_core.MGTError, match="images are given, and this model makes sound"):
        run(
            "MGTSCQCalibrate",
            model=sound_pipe.model,
            text_encoder=sound_pipe.text,
            codec=sound_pipe.codec,
            images=torch.rand(1, 64, 64, 3),
        )
