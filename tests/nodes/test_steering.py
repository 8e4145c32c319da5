"""Nodes of best of n and particles, and what MGT Sample shows of them."""

import sys

import pytest

import mgt_core
from mgt_core import BestOf, MaskGIT, Particles
from support.golden import bundles, pipeline
from support.node_runs import NODES, graph_of, run
from support.pack import ALIAS, load_pack
from support.steering import Redness

load_pack()
samplers = sys.modules[f"{ALIAS}.nodes.samplers"]
PIPE = pipeline(bundles()[0])
RED = Redness()
SETTINGS = {
    "MGTSamplerBestOf": (BestOf, {"n": 3, "at_once": 2}),
    "MGTSamplerParticles": (
        Particles,
        {"n": 3, "weight": 50.0, "every": 1, "threshold": 0.5, "potential": "max", "pick": "drawn"}
        | {"start": 0.1, "end": 0.9},
    ),
}


@pytest.fixture(scope="module")
def graph():
    return graph_of(PIPE)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_node_makes_the_sampler(name):
    kind, settings = SETTINGS[name]
    assert run(name) == (kind(),)
    inner = run("MGTSamplerMaskGIT", temperature_start=3.0)[0]
    assert run(name, reward=RED, sampler=inner, **settings) == (kind(sampler=inner, reward=RED, **settings),)


@pytest.mark.parametrize("name", SETTINGS)
def test_widgets_come_first_and_sockets_may_be_unwired(name):
    declared = NODES[name].INPUT_TYPES()
    assert list(declared["required"]) == list(SETTINGS[name][1])
    assert {key: kind for key, (kind, _) in declared["optional"].items()} == {
        "reward": "MGT_REWARD",
        "sampler": "MGT_SAMPLER",
    }


@pytest.mark.parametrize("name", SETTINGS)
def test_sample_counts_every_candidate_and_tells_the_reward(graph, name, monkeypatch):
    shown, extra = [], {}
    monkeypatch.setattr(samplers.host, "show_text", lambda text, node_id: shown.append((text, node_id)))
    chosen = {"sampler": run(name, n=3, reward=RED)[0], "unique_id": "7", "extra_pnginfo": extra}
    tokens, calls, passes = run("MGTSample", **{**graph, **chosen})
    assert (calls, passes) == (9, 18)
    reached = ", ".join(f"{value:.4g}" for value in RED.score(PIPE.codec.decode(tokens), [0, 1]).tolist())
    assert shown[-1][0].startswith(f"reward {reached}: the best of 3") and shown[-1][1] == "7"
    noted = extra["mgt_settings"]["7"]
    assert noted["told"] == shown[-1][0] and "reward=Redness()" in noted["sampler"] and noted["steps"] == 3


def test_samplers_without_anything_to_say_show_nothing(graph, monkeypatch):
    monkeypatch.setattr(samplers.host, "show_text", lambda text, node_id: pytest.fail(text))
    extra = {}
    run("MGTSample", **{**graph, "sampler": MaskGIT(), "unique_id": "7", "extra_pnginfo": extra})
    assert "told" not in extra["mgt_settings"]["7"]


def test_what_is_no_reward_is_refused():
    with pytest.raises(mgt_core.MGTError, match="reward"):
        run("MGTSamplerBestOf", reward=MaskGIT())
