"""What the config of a MAGNeT may say."""

import copy
from dataclasses import replace

import pytest

import mgt_core
from mgt_core.backbones.magnet.config import IMPLEMENTED, SETTINGS, SIZES, TEXT, MagnetConfig
from support.magnet import TINY

XP = {
    "lm_model": "transformer_lm_magnet",
    "size": 24,
    "transformer_lm": {
        "dim": "${size}",
        "num_heads": 4,
        "num_layers": 2,
        "hidden_scale": 4,
        "n_q": 4,
        "card": 16,
        "span_len": 99,
        "segment_duration": 0,
    },
    "dataset": {"segment_duration": 10},
    "masking": {"span_len": 3},
    "logging": {"name": "${oc.env:USER}"},
}
TOLD = {TEXT: (24, 6)}


def changed(name: str, value) -> dict:
    config = copy.deepcopy(XP)
    *above, last = name.split(".")
    place = config
    for key in above:
        place = place.setdefault(key, {})
    place[last] = value
    return config


def test_a_config_is_read():
    """References too, and not the stale copies of span and duration."""
    config = MagnetConfig.from_xp(XP, TOLD)
    assert (config.dim, config.heads, config.layers, config.books, config.codes) == (24, 4, 2, 4, 16)
    assert (config.span, config.seconds, config.reach, config.text_width) == (3, 10, 5, 6)
    assert MagnetConfig.from_xp(changed("fuser.cross_attention_pos_emb_scale", 2.0), TOLD).text_positions == 0
    both = changed("fuser", {"cross_attention_pos_emb": True, "cross_attention_pos_emb_scale": 2.0})
    assert MagnetConfig.from_xp(both, TOLD).text_positions == 2
    assert MagnetConfig.from_xp(config.as_xp(), TOLD) == config


OTHERS = {"lm_model": "transformer_lm", "transformer_lm.positional_embedding": "rope", "fuser.cross": []}


@pytest.mark.parametrize("name", IMPLEMENTED)
def test_variants_that_are_not_there(name):
    other = OTHERS.get(name, not IMPLEMENTED[name] if isinstance(IMPLEMENTED[name], bool) else "another")
    with pytest.raises(mgt_core.MGTError, match=rf"^xp.cfg has {name} .*; only .* is supported$"):
        MagnetConfig.from_xp(changed(name, other), TOLD)


BAD = {
    **{name: 0 for own, name in SIZES.items()},
    **{name: "no" for name, default in SETTINGS.values() if isinstance(default, bool)},
    "masking.span_len": 0,
    "transformer_lm.subcodes_context": -2,
    "transformer_lm.num_heads": 5,
    "transformer_lm.n_q": 65,
    "dataset.segment_duration": "long",
}


@pytest.mark.parametrize("name", BAD)
def test_values_that_cannot_be(name):
    with pytest.raises(mgt_core.MGTError, match=name):
        MagnetConfig.from_xp(changed(name, BAD[name]), TOLD)


def test_what_a_config_lacks():
    for name in SIZES.values():
        section, entry = name.split(".")
        config = copy.deepcopy(XP)
        del config[section][entry]
        with pytest.raises(mgt_core.MGTError, match=name):
            MagnetConfig.from_xp(config, TOLD)
    with pytest.raises(mgt_core.MGTError, match="output_proj.weight, which tells the width of the text"):
        MagnetConfig.from_xp(XP, {})


def test_an_odd_width():
    with pytest.raises(mgt_core.MGTError, match="must be an even number"):
        replace(TINY, dim=9, heads=3)
