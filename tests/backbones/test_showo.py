"""Show-o's network: words once a run, and what techniques see of them."""

from functools import cache

import pytest
import torch

import mgt_core
from mgt_core import Condition
from mgt_core.backbones.hooks import NO_HOOKS, Hooks
from mgt_core.backbones.language.branch import TopicBranch
from mgt_core.patches.attention_maps import attention_to
from mgt_core.self_guidance.examples import Examples
from mgt_core.self_guidance.training import TrainingSettings, train
from mgt_core.types import NO_WORD
from support.bundles import showo_bundle
from support.device import HERE

GRID = (4, 4)
TEXTS = ["a red fox in the snow", "a cup"]


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    return mgt_core.load(showo_bundle(tmp_path_factory.mktemp("models") / "show-o"), **HERE)


def encoded(pipe, texts) -> Condition:
    return pipe.text.encode(texts).to(pipe.model.device)


@pytest.fixture(scope="module")
def prepared(pipe):
    """Of two prompts, the second shorter."""
    return cache(lambda *texts: pipe.model.network.prepare(encoded(pipe, texts or TEXTS), GRID))


def features(pipe, prepared, hooks=NO_HOOKS, known=0):
    network, device = pipe.model.network, pipe.model.device
    tokens = torch.full((len(prepared.words), *GRID), network.mask_id, device=device)
    tokens[:, 0, :known] = 3
    return network.features(tokens, torch.zeros(1, device=device), prepared, hooks)


def test_a_step_computes_marks_and_cells_alone(pipe):
    rows = []
    watch = pipe.model.network.layers[0].mlp.register_forward_hook(lambda module, given, out: rows.append(out.shape[1]))
    positive, negative = (pipe.text.encode(text) for text in (TEXTS[0], ""))
    mgt_core.sample(pipe.model, mgt_core.empty_tokens(pipe, 64, 64), positive, negative, steps=4, cfg=2.0)
    watch.remove()
    lengths = {positive.prompt.shape[1], negative.prompt.shape[1]}
    assert sorted(rows)[:2] == sorted(lengths) and sorted(rows)[2:] == [2 + 16] * 8


def test_words_see_those_before_them_alone(pipe):
    """What a word is to later rows does not change with the words behind it, nor with the cells."""
    network = pipe.model.network
    whole = encoded(pipe, TEXTS[0]).prompt
    long, short = (network.prepare(Condition(prompt=prompt), GRID).before for prompt in (whole, whole[:, :4]))
    for (keys, values), (own_keys, own_values) in zip(long, short, strict=True):
        torch.testing.assert_close(keys[:, :, :4], own_keys, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(values[:, :, :4], own_values, atol=1e-5, rtol=1e-5)


def test_each_prompt_of_a_batch_is_as_it_is_alone(pipe, prepared):
    together = features(pipe, prepared(), known=3)
    for row, text in enumerate(TEXTS):
        alone = features(pipe, prepared(text), known=3)
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=1e-5)


def test_attention_counts_words_marks_and_cells(pipe, prepared):
    """Rows as UNCAGE is told of them: the prompt first, and nothing goes to where no word is."""
    seen = []
    features(pipe, prepared(), Hooks(attention=lambda *given: seen.append(given)), known=3)
    prompt = pipe.text.encode(TEXTS).prompt
    assert len(seen) == len(pipe.model.network.layers)
    for lead, queries, keys, merge, visible in seen:
        assert (lead, merge, queries.shape[2], keys.shape[2]) == (2, None, 18, prompt.shape[1] + 18)
        every = torch.arange(keys.shape[2], device=keys.device).expand(2, -1)
        weights = attention_to(queries[:, :, lead:], keys, every, visible)
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
        gaps = (prompt == NO_WORD).to(weights.device)
        assert (weights[..., : prompt.shape[1]].sum(1)[gaps] == 0).all() and gaps.any()


def test_the_anchor_comes_from_the_words(pipe, prepared):
    """In the mean, gaps left out."""
    network = pipe.model.network
    branch = mgt_core.fresh_branch(network).to(pipe.model.device)
    own = prepared()
    for row, text in enumerate(TEXTS):
        words = network.embedded(encoded(pipe, text).prompt)[0]
        torch.testing.assert_close(own.topic[row], words.mean(0))
    assert torch.equal(branch.anchor(network, own), branch.cls_anchor_gen(own.topic))


def test_what_comes_down_reaches_the_values_of_cells(pipe, prepared):
    """A fresh branch brings nothing; one that brings something changes cells through their values alone."""
    network, own = pipe.model.network, prepared()
    plain = features(pipe, own)
    nothing = [torch.zeros(2, 16, network.row_width, device=plain.device)] * len(network.layers)
    torch.testing.assert_close(features(pipe, own, Hooks(top_down=nothing)), plain)
    down = [torch.randn(2, 16, network.row_width, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    keys = {name: [] for name in ("without", "with")}
    for name, hooks in (("without", None), ("with", [value.to(plain.device) for value in down])):
        watch = Hooks(top_down=hooks, attention=lambda lead, q, k, *rest, name=name: keys[name].append(k))
        changed = features(pipe, own, watch)
    assert torch.equal(keys["with"][0], keys["without"][0]) and not torch.allclose(changed, plain)


def test_a_hook_that_keeps_rows_keeps_none_of_the_prompt(pipe):
    """The token cache holds marks and cells; what it computes all of is as without it."""
    positive, negative = (pipe.text.encode(text) for text in (TEXTS[0], ""))
    state = mgt_core.empty_tokens(pipe, 64, 64)
    wanted = mgt_core.sample(pipe.model, state, positive, negative, steps=4, cfg=2.0).tokens
    found = mgt_core.sample(
        pipe.model.with_token_cache(0.99, every=2), state, positive, negative, steps=4, cfg=2.0
    ).tokens
    assert torch.equal(found, wanted)  # 0.99 of 16 rows are all of them


def test_its_branch_can_be_trained(pipe, tmp_path):
    """Nobody has published one. What is written is read back, and steers."""
    codes = torch.randint(pipe.model.codebook_size, (4, *GRID), generator=torch.Generator().manual_seed(0))
    examples = Examples(codes.int(), captions=("a fox", "a red cup", "snow", "a cup"))
    file = tmp_path / "branch.safetensors"
    train(pipe, examples, file, TrainingSettings(steps=3, batch=2, rate=0.01))
    branch = mgt_core.load_branch(file, pipe.model.network)
    moved = branch.decoders[0].linear2.weight
    assert isinstance(branch, TopicBranch) and moved.any() and moved.isfinite().all()
    state, cond = mgt_core.empty_tokens(pipe, 64, 64), pipe.text.encode("a fox")
    runs = [
        mgt_core.sample(model, state, cond, cfg=1.0, steps=3).tokens
        for model in (pipe.model, pipe.model.with_self_guidance(branch, 5.0))
    ]
    assert not torch.equal(*runs)
