"""From a model to a picture, node by node: what the library computes, and nothing more."""

import pytest
import torch

import mgt_core
from support.device import agree
from support.node_runs import NODES, run


def test_text_to_image(loaded, graph, unit):
    tokens = run("MGTSample", **graph)[0]
    assert not tokens.masked.any()
    image = run("MGTDecode", tokens=tokens, codec=loaded[2])[0]
    assert image.shape == (2, 2 * unit, 3 * unit, 3)
    assert image.dtype == torch.float32
    assert image.is_contiguous()
    assert 0 <= image.min() < image.max() <= 1


def test_nodes_add_nothing_to_what_the_library_computes(loaded, graph):
    model, text, _ = loaded
    direct = mgt_core.sample(
        model,
        graph["tokens"],
        text.encode(["a red heart"]),
        text.encode([""]),
        steps=4,
        cfg=3.0,
        temperature=(2.0, 0.0),
        seed=5,
    )
    assert torch.equal(run("MGTSample", **{**graph, "seed": 5, "cfg": 3.0})[0].tokens, direct.tokens)


def test_seed_decides_the_tokens(graph):
    first, again, other = (run("MGTSample", **graph, seed=seed)[0].tokens for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert agree(first[1], other[0])  # image 1 of seed 1 is image 0 of seed 2


def test_every_schedule_can_be_picked(graph):
    choices = NODES["MGTMaskSchedule"].INPUT_TYPES()["required"]["schedule"][0]
    assert set(choices) == {name for name in mgt_core.SCHEDULES if mgt_core.SCHEDULES.get(name).listed}
    assert set(mgt_core.SCHEDULES) - set(choices) == {"custom"}  # which has a node of its own
    for name in choices:
        schedule = run("MGTMaskSchedule", schedule=name)[0]
        assert not run("MGTSample", **{**graph, "schedule": schedule})[0].masked.any()


def test_largest_seed_and_a_batch(graph):
    assert not run("MGTSample", **graph, seed=2**64 - 1)[0].masked.any()


@pytest.mark.parametrize("size", [{"width": 17}, {"height": 0}, {"batch_size": 0}])
def test_bad_sizes_are_named(loaded, unit, size):
    (name, value), *_ = size.items()
    with pytest.raises(mgt_core.MGTError, match=rf"{name} is {value}\b"):
        run("MGTEmptyTokens", **{"model": loaded[0], "width": unit, "height": unit, **size})


def test_masked_tokens_are_not_decoded(loaded, graph):
    with pytest.raises(mgt_core.MGTError, match="still masked"):
        run("MGTDecode", tokens=graph["tokens"], codec=loaded[2])
