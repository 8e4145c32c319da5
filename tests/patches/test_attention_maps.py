"""Attention maps against the softmax of all scores, whatever else acts in the blocks."""

import pytest
import torch

import mgt_core
from mgt_core.backbones.meissonic import blocks
from mgt_core.patches.attention_maps import AttentionMaps, attention_to
from mgt_core.patches.base import Moment
from mgt_core.sampling.guided import GuidedNetwork
from support.device import agree
from support.runs import GRID, NEGATIVE, PIPE, POSITIVE, empty

COLUMNS = torch.tensor([[1, 3], [4, 0]])


def brute(queries, keys, mask=None):
    scores = torch.einsum("bhqd,bhkd->bhqk", queries.double(), keys.double()) / queries.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = scores.exp()
    return weights / weights.sum(-1, keepdim=True)


@pytest.mark.parametrize("at_once", [1, 2**24])
def test_attention_to_some_keys(at_once, monkeypatch):
    monkeypatch.setattr("mgt_core.patches.attention_maps.AT_ONCE", at_once)
    queries, keys = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 7, 8)
    mask = torch.rand(2, 1, 1, 7) > 0.3
    mask[..., :5] = True
    whole = brute(queries, keys, mask).mean(1)
    wanted = whole.gather(2, COLUMNS[:, None].expand(-1, 5, -1))
    assert torch.allclose(attention_to(queries, keys, COLUMNS, mask).double(), wanted, atol=1e-6)


class Watching:
    """Notes what the blocks attend with: all weights of every call, single blocks apart."""

    def __init__(self, monkeypatch):
        self.single = []
        attend, forward = blocks.attend, blocks.SingleBlock.forward

        def watched(q, k, v, rows):
            if self.inside:
                self.single.append(brute(q, k).mean(1))
            return attend(q, k, v, rows)

        def entered(*args, **kwargs):
            self.inside = True
            out = forward(*args, **kwargs)
            self.inside = False
            return out

        self.inside = False
        monkeypatch.setattr(blocks, "attend", watched)
        monkeypatch.setattr(blocks.SingleBlock, "forward", entered)


def conditions():
    return (PIPE.model.complete(given, 2, GRID, "positive") for given in (POSITIVE, NEGATIVE))


def network(maps, model=PIPE.model):
    return GuidedNetwork(model.network, *conditions(), GRID, [*model.run_patches(), maps])


def evaluated(guided, seed=0, images=2):
    tokens = empty(batch=images).tokens.clone()
    known = torch.rand(tokens.shape, generator=torch.Generator().manual_seed(seed)) < 0.4
    tokens[known] = 3
    with torch.inference_mode():
        guided.evaluate(tokens, torch.ones(images), 2.0, moment=Moment(0, 9, [False] * images))


def test_maps_are_the_mean_over_heads_and_single_blocks(monkeypatch):
    """Of the positive prompt's images, from image rows to the words' rows, without what text rows look at."""
    watching, maps = Watching(monkeypatch), AttentionMaps(COLUMNS[:1].expand(2, -1))
    guided = network(maps)
    evaluated(guided)
    assert len(watching.single) == PIPE.model.network.config.num_single_layers
    text = POSITIVE.hidden.shape[1]
    mean = torch.stack(watching.single).mean(0)[2:, text:]  # the negative condition's two images come first
    wanted = mean[:, :, COLUMNS[0]].transpose(1, 2)
    inner = tuple(side // PIPE.model.network.row_side for side in GRID)
    assert torch.allclose(maps.maps(inner).flatten(2).double(), wanted, atol=1e-6)


def test_they_are_spread_over_the_cells():
    """Bilinearly, as torch does it."""
    maps = AttentionMaps(COLUMNS[:1].expand(2, -1))
    evaluated(network(maps))
    inner = tuple(side // PIPE.model.network.row_side for side in GRID)
    wanted = torch.nn.functional.interpolate(maps.maps(inner), GRID, mode="bilinear", align_corners=False)
    assert torch.allclose(maps.maps(GRID), wanted, atol=1e-6)


def test_nothing_is_read_before_a_call_or_while_it_rests():
    maps = AttentionMaps(COLUMNS[:1].expand(2, -1), acting=False)
    assert maps.maps(GRID) is None
    evaluated(network(maps))
    assert maps.maps(GRID) is None


def test_merged_rows_attend_as_one(monkeypatch):
    """Tokens that share a row get its map: as many different columns of numbers as there are rows."""
    maps = AttentionMaps(COLUMNS[:1].expand(2, -1))
    model = PIPE.model.with_token_merging(0.5, blocks="all")
    evaluated(network(maps, model))
    read = maps.maps(tuple(side // PIPE.model.network.row_side for side in GRID)).flatten(2)
    assert read.shape[0] == 2 and bool((read > 0).all()) and bool((read.sum(1) < 1).all())
    plain = AttentionMaps(maps.columns)
    evaluated(network(plain))
    plain.gather()
    assert float((plain.last - maps.last).abs().max()) < 0.2  # near it all the same


def test_rows_that_a_token_cache_leaves_out_keep_what_was_read():
    maps = AttentionMaps(COLUMNS[:1].expand(2, -1))
    guided = network(maps, PIPE.model.with_token_cache(every=3, share=0.5))
    evaluated(guided, 0)
    maps.gather()
    first = maps.last.clone()
    evaluated(guided, 1)
    maps.gather()
    changed = (maps.last != first).any(-1).sum(1)
    rows = first.shape[1]
    assert all(0 < count <= -(-rows // 2) for count in changed.tolist())


def test_some_rows_alone_are_no_map():
    """Reading that begins while a token cache leaves rows out waits for all of them."""
    maps = AttentionMaps(COLUMNS[:1].expand(2, -1), acting=False)
    guided = network(maps, PIPE.model.with_token_cache(every=3, share=0.5))
    read = []
    for seed in range(4):
        evaluated(guided, seed)
        maps.acting = True
        read.append(maps.maps(GRID) is not None)
    assert read == [False, False, False, True]


def test_steps_that_skip_the_blocks_keep_what_was_read():
    maps = AttentionMaps(COLUMNS[:1].expand(2, -1))
    guided = network(maps, PIPE.model.with_step_skipping(every=3))
    evaluated(guided, 0)
    maps.gather()
    first = maps.last.clone()
    evaluated(guided, 1)
    maps.gather()
    assert torch.equal(maps.last, first)


def test_the_network_computes_the_same_while_it_is_read():
    tokens = empty(batch=2).tokens
    with torch.inference_mode():
        read, plain = (
            GuidedNetwork(PIPE.model.network, *conditions(), GRID, patches).logits(tokens, torch.ones(2), 2.0)
            for patches in ([AttentionMaps(COLUMNS[:1].expand(2, -1))], [])
        )
    assert agree(read, plain)


OFFERING = {"meissonic", "lumina_dimoo"}  # text and image in one sequence


@pytest.mark.parametrize("family", [name for name in mgt_core.BACKBONES if name not in OFFERING])
def test_others_say_that_they_offer_none(family):
    assert "attention" not in mgt_core.BACKBONES.get(family).supports
