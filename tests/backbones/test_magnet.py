"""MAGNeT's network, and its views at the stages."""

import copy
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import mgt_core
from mgt_core.backbones.magnet.network import MAGNeT
from support.device import DEVICE, agree, equal
from support.magnet import NOW, blank, logits_at, magnet, model_of, no_words, tokens_for, words

NEAR = {"atol": 1e-5, "rtol": 1e-5}


def by_formula(network: MAGNeT, stage: int, tokens: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    """Logits [B, T, codes] written down from the paper, slowly. text: [B, L, width], all of it words."""
    config, held = network.config, network.state_dict()
    frames, half, size = tokens.shape[2], config.dim // 2, config.dim // config.heads

    def linear(x, name):
        return F.linear(x, held[f"{name}.weight"], held.get(f"{name}.bias"))

    def norm(x, name):
        return F.layer_norm(x, (config.dim,), held[f"{name}.weight"], held[f"{name}.bias"])

    def places(count):
        angles = [[t * 10000 ** (-j / (half - 1)) for j in range(half)] for t in range(count)]
        rows = [[math.cos(a) for a in row] + [math.sin(a) for a in row] for row in angles]
        return torch.tensor(rows).to(DEVICE)

    def attention(x, read, name, reach):
        q, k, v = linear(x, f"{name}.q_proj"), linear(read, f"{name}.k_proj"), linear(read, f"{name}.v_proj")
        heads = []
        for own in (slice(h * size, (h + 1) * size) for h in range(config.heads)):
            scores = q[..., own] @ k[..., own].mT / math.sqrt(size)
            for i in range(frames if reach >= 0 else 0):
                for j in (j for j in range(frames) if abs(i - j) > reach):
                    scores[:, i, j] = -math.inf
            heads.append(scores.softmax(-1) @ v[..., own])
        return linear(torch.cat(heads, -1), f"{name}.out_proj")

    text = linear(text, "condition_provider.conditioners.description.output_proj")
    text = text + config.text_positions * places(text.shape[1])
    x = sum(held[f"emb.{book}.weight"][tokens[:, book]] for book in range(config.books)) + places(frames)
    for layer in (f"transformer.layers.{i}" for i in range(config.layers)):
        normed = norm(x, f"{layer}.norm1")
        x = x + attention(normed, normed, f"{layer}.self_attn", config.reach if stage else -1)
        x = x + attention(norm(x, f"{layer}.norm_cross"), text, f"{layer}.cross_attention", -1)
        inner = linear(norm(x, f"{layer}.norm2"), f"{layer}.linear1")
        x = x + linear(0.5 * inner * (1 + (inner / math.sqrt(2)).erf()), f"{layer}.linear2")
    return linear(norm(x, "out_norm"), f"linears.{stage}")


SHAPES = st.fixed_dictionaries(
    {
        "books": st.integers(2, 5),
        "layers": st.integers(1, 3),
        "heads": st.sampled_from([1, 2, 3]),
        "reach": st.integers(-1, 4),
        "text_positions": st.sampled_from([0.0, 0.5]),
        "bias_attention": st.booleans(),
        "bias_mlp": st.booleans(),
        "bias_head": st.booleans(),
    }
)


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.integers(1, 12), st.integers(1, 3), st.integers(1, 5), st.data())
def test_the_formula(sizes, frames, batch, length, data):
    """Whatever the sizes: books, layers, frames, reach, images, words, and biases that no published one has."""
    network = magnet(seed=1, **sizes)
    stage = data.draw(st.integers(0, network.config.books - 1))
    tokens, condition = tokens_for(network, batch, frames), words(network, batch, length)
    found = logits_at(network, stage, tokens, condition)
    wanted = by_formula(network, stage, tokens, condition.hidden)  # a norm of a row of nearly one value rounds more
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(0, 3), st.integers(0, 29), st.integers(0, 3))
def test_how_far_a_frame_looks(layers, stage, place, book):
    """After the first stage no farther than the layers together, and that far it does; in the first everywhere."""
    network = magnet(layers=layers)
    before, condition = tokens_for(network, 1, 30), words(network)
    after = before.clone()
    after[0, book, place] = (after[0, book, place] + 1) % network.codebook_size
    logits = (logits_at(network, stage, tokens, condition) for tokens in (before, after))
    moved = (next(logits) - next(logits)).abs().amax(-1)[0] > 1e-6
    away = (torch.arange(30) - place).abs().to(moved.device)
    reach = network.config.reach * layers if stage else 30
    assert not moved[away > reach].any()
    assert moved[away == min(reach, max(place, 29 - place))].any()


def test_an_image_is_evaluated_as_it_is_alone():
    """And those of several conditions, one below the other, each with its own other books."""
    network = magnet()
    tokens, condition = tokens_for(network, 3), words(network, 3)
    both = mgt_core.Condition.cat([condition, no_words(network, 3)])
    for stage in range(4):
        view = network.at_stage(stage, tokens)
        row = tokens[:, stage : stage + 1]
        together = view.features(torch.cat([row, row]), NOW, view.prepare(both, (1, 10)))
        for image in range(3):
            of = slice(image, image + 1)
            for place, own in ((image, condition.hidden[of]), (3 + image, both.hidden[3:][of])):
                alone = network.at_stage(stage, tokens[of])
                prepared = alone.prepare(mgt_core.Condition(hidden=own), (1, 10))
                torch.testing.assert_close(together[place : place + 1], alone.features(row[of], NOW, prepared), **NEAR)


def test_candidates_of_an_image_see_its_books():
    network = magnet()
    tokens, condition = tokens_for(network, 2), words(network, 2)
    view = network.at_stage(1, tokens)
    wide = view.each_repeated(3)
    assert wide.stage == 1 and wide.shared is network and network.each_repeated(3) is network
    many = mgt_core.Condition(hidden=condition.hidden.repeat_interleave(3, 0))
    row = tokens[:, 1:2]
    found = wide.features(row.repeat_interleave(3, 0), NOW, wide.prepare(many, (1, 10)))
    wanted = view.features(row, NOW, view.prepare(condition, (1, 10)))
    torch.testing.assert_close(found, wanted.repeat_interleave(3, 0), **NEAR)


def test_rows_without_a_word_keep_their_share():
    """As published: zero keys, which take of the attention, so that padding moves a result."""
    network, tokens = magnet(), tokens_for(magnet())
    short = words(network, length=3)
    padded = mgt_core.Condition(hidden=F.pad(short.hidden, (0, 0, 0, 4)))
    assert (logits_at(network, 0, tokens, short) - logits_at(network, 0, tokens, padded)).abs().max() > 1e-3
    layer, text = network.transformer["layers"][0].cross_attention, network.text_of(padded)[0]
    assert text[:, :3].any() and not text[:, 3:].any()
    x = torch.randn(1, 5, network.config.dim).to(DEVICE)
    told = layer.given(text)
    q = layer.q_proj(x).unflatten(-1, (network.config.heads, -1)).transpose(1, 2)
    scores = q @ told.keys.mT * q.shape[-1] ** -0.5
    assert not scores[..., 3:].any()  # exp(0) each
    shares = scores.exp() / (scores[..., :3].exp().sum(-1, keepdim=True) + 4)
    wanted = layer.out_proj((shares @ told.values).transpose(1, 2).flatten(2))
    torch.testing.assert_close(layer(x, told), wanted, **NEAR)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(0, 6), st.integers(0, 3))
def test_with_visible_rows_alone_a_prompt_does_not_depend_on_its_batch(length, more, stage):
    network = magnet()
    tokens, short = tokens_for(network), words(network, length=length)
    hidden = F.pad(short.hidden, (0, 0, 0, more))
    visible = (torch.arange(length + more) < length)[None].to(DEVICE)
    found = logits_at(network, stage, tokens, mgt_core.Condition(hidden=hidden, visible=visible))
    torch.testing.assert_close(found, logits_at(network, stage, tokens, short), **NEAR)


def test_rows_that_are_not_visible_are_not_read():
    network, tokens = magnet(), tokens_for(magnet())
    condition = words(network)
    visible = torch.tensor([[True, True, False, False]]).to(DEVICE)
    seen = replace(condition, visible=visible)
    other = replace(seen, hidden=condition.hidden.masked_fill(~visible[..., None], 7.0))
    assert equal(logits_at(network, 1, tokens, seen), logits_at(network, 1, tokens, other))


@pytest.mark.parametrize("visible", [torch.ones(1, 4), torch.ones(1, 3).bool(), torch.ones(2, 4).bool()])
def test_what_tells_no_visible_rows(visible):
    with pytest.raises(mgt_core.MGTError, match="expected truth values, one for each row of hidden$"):
        replace(words(magnet()), visible=visible.to(DEVICE))


def test_conditions_of_other_sounds_than_the_books_beside():
    network = magnet()
    view = network.at_stage(1, tokens_for(network).repeat(3, 1, 1))
    with pytest.raises(mgt_core.MGTError, match="code books are of 3 sounds and the conditions of 1$"):
        view.prepare(words(network), (1, 5))


@pytest.mark.parametrize("biased", [False, True])
def test_a_prompt_without_any_visible_word_is_the_null_condition(biased):
    network = magnet(bias_attention=biased)
    tokens, condition = tokens_for(network), words(network)
    found = logits_at(network, 0, tokens, replace(condition, visible=torch.zeros(1, 4, dtype=torch.bool).to(DEVICE)))
    wanted = logits_at(network, 0, tokens, no_words(network))
    torch.testing.assert_close(found, wanted, **NEAR)
    assert found.isfinite().all()
    layer = network.transformer["layers"][0].cross_attention
    added = layer(torch.ones(1, 3, network.config.dim).to(DEVICE), layer.given(network.text_of(no_words(network))[0]))
    assert bool(added.any()) == biased  # without biases nothing at all is added


def test_a_view_shares_all_but_its_stage():
    network, tokens = magnet(), tokens_for(magnet())
    view = network.at_stage(2, tokens)
    assert all(own is held for own, held in zip(view.parameters(), network.parameters(), strict=True))
    assert [*view.state_dict()] == [*network.state_dict()] and view.watchers is network.watchers
    assert view.shared is network and network.shared is network and view.at_stage(1, tokens).shared is network
    assert (view.trained_grid, network.trained_grid) == ((1, 25), (4, 25))
    assert network.stage is None and "of" not in vars(network)
    moved = copy.deepcopy(network).at_stage(2, tokens)
    condition = words(network)
    assert equal(logits_at(network, 2, tokens, condition), logits_at(moved.shared, 2, tokens, condition))


def test_what_is_at_no_stage_is_not_evaluated():
    network = magnet()
    model, condition = model_of(network), words(network)
    with pytest.raises(mgt_core.MGTError, match="fills its code books one after the other"):
        model.logits(tokens_for(network), condition, 0.0)
    with pytest.raises(mgt_core.MGTError, match=r"model.at_stage\(stage, tokens\)"):
        network.head(torch.zeros(1, 1, 5, network.config.dim))
    at = model.at_stage(1, tokens_for(network))
    found = at.logits(tokens_for(network)[:, 1:2], condition, 0.0)
    assert found.shape == (1, 1, 10, network.codebook_size) and found.dtype == torch.float32
    assert equal(found[:, 0], logits_at(network, 1, tokens_for(network), condition))


def test_grids_and_stages_that_it_does_not_have():
    network = magnet()
    with pytest.raises(mgt_core.MGTError, match="3 code books of 10 frames; this model has 4$"):
        network.check_grid((3, 10))
    with pytest.raises(mgt_core.MGTError, match="4 code books of 0 frames"):
        network.check_grid((4, 0))
    view = network.at_stage(0, tokens_for(network))
    with pytest.raises(mgt_core.MGTError, match="11 frames, and those of the other code books 10"):
        view.check_grid((1, 11))
    for stage, tokens in ((4, tokens_for(network)), (-1, tokens_for(network)), (0, tokens_for(network)[:, :3])):
        with pytest.raises(mgt_core.MGTError, match=f"stage {stage} is asked for of tokens of shape"):
            network.at_stage(stage, tokens)
    state = blank(magnet(books=3))
    with pytest.raises(mgt_core.MGTError, match="3 code books"):
        mgt_core.sample(model_of(network), state, words(network), no_words(network))


@pytest.mark.parametrize(("books", "shares"), [(4, (20, 10, 10, 10)), (2, (2, 1)), (6, (2, 1, 1, 1, 1, 1))])
def test_shares_of_the_steps(books, shares):
    assert magnet(books=books).stage_shares == shares


def test_the_codec_says_how_many_frames_there_are():
    network = magnet(seconds=2.5)
    assert network.trained_grid == (4, 125)
    network.fit_codec(SimpleNamespace(books=4, codebook_size=9, sample_rate=1000, scale=32))
    assert network.trained_grid == (4, 78) and network.at_stage(1, tokens_for(network)).trained_grid == (1, 78)
    for books, codes in ((3, 9), (4, 8)):
        with pytest.raises(mgt_core.MGTError, match=f"{books} code books of {codes} codes and its transformer 4 of 9"):
            network.fit_codec(SimpleNamespace(books=books, codebook_size=codes, sample_rate=1000, scale=32))


def test_weights_in_half_precision():
    """The head and the norm before it are applied in float32 all the same."""
    network = magnet(dim=32, heads=4, layers=1)
    half = copy.deepcopy(network).to(torch.bfloat16)
    tokens, condition = tokens_for(network), words(network)
    view = half.at_stage(1, tokens)
    features = view.features(tokens[:, 1:2], NOW, view.prepare(condition, (1, 10)))
    assert features.dtype == torch.bfloat16
    found = view.head(features.float())
    x = F.layer_norm(features.float(), (32,), *(value.float() for value in half.out_norm.parameters()))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, F.linear(x, half.linears[1].weight.float()), **NEAR)
    wanted = logits_at(network, 1, tokens, condition)
    assert (found[:, 0] - wanted).abs().max() < 0.05 * wanted.abs().max()


def test_runs_of_two_sounds_are_those_of_each_alone():
    network = magnet()
    model, given, none = model_of(network), words(network, 2), no_words(network, 2)
    settings = {"sampler": "maskgit", "schedule": "cosine", "steps": 12, "cfg": 3.0}
    both = mgt_core.sample(model, blank(network, 2), given, none, seed=3, **settings)
    assert not both.masked.any()
    for image in range(2):
        own = mgt_core.Condition(hidden=given.hidden[image : image + 1])
        alone = mgt_core.sample(model, blank(network), own, no_words(network), seed=3 + image, **settings)
        assert agree(alone.tokens[0], both.tokens[image])


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.booleans(), st.booleans())
def test_a_null_condition_shares_the_call_of_a_prompt(length, other, parts, told):
    """Whatever their lengths, and with the same result; another prompt keeps its own."""
    network = magnet()
    model, given, none = model_of(network), words(network, 2, length), no_words(network, 2, min(length, other))
    if told:
        given = replace(given, visible=torch.ones(2, length, dtype=torch.bool).to(DEVICE))
        none = replace(none, visible=torch.zeros(none.hidden.shape[:2], dtype=torch.bool).to(DEVICE))
    settings, calls = {"sampler": "maskgit", "schedule": "cosine", "steps": 8, "cfg": 3.0, "seed": 3}, []
    negative = mgt_core.Conditions((mgt_core.ConditionPart(none),)) if parts else none
    counting = settings | {"callback": lambda step: calls.append(step.calls)}
    found = mgt_core.sample(model, blank(network, 2), given, negative, **counting)
    assert calls == [*range(1, 9)]
    apart = copy.copy(network)
    apart.alike = list
    wanted = mgt_core.sample(model_of(apart), blank(network, 2), given, none, **settings)
    assert agree(found.tokens, wanted.tokens)
    torch.testing.assert_close(found.confidence, wanted.confidence, **NEAR)
    if length != other:
        mgt_core.sample(model, blank(network, 2), given, words(network, 2, other), **counting)
        assert calls[-1] == 16
