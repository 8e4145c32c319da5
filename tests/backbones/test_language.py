"""Language models as networks: prompts of different lengths in one call, and Self-Guidance by a blank canvas."""

import pytest
import torch

import mgt_core
from mgt_core import MGTError
from mgt_core.backbones.language.llada import LLaDAConfig
from mgt_core.sampling.guided import GuidedNetwork
from support.device import HERE, agree
from support.families import FAMILIES
from support.golden_dimoo import TINY
from support.runs import PIPE as MEISSONIC


@pytest.fixture(scope="module")
def pipe():
    return mgt_core.load(TINY, **HERE)


def tokens(pipe, count, seed=0):
    found = torch.randint(pipe.model.codebook_size, (count, 6, 8), generator=torch.Generator().manual_seed(seed))
    found[:, ::2] = pipe.model.mask_id
    return found.to(pipe.model.device)


@pytest.mark.parametrize("merging", [False, True])
def test_words_that_are_none_are_not_attended_to(pipe, merging):
    prompts = ["a fox", "two cups of tea on a wooden table", ""]
    model = pipe.model.with_token_merging(0.5) if merging else pipe.model
    state = mgt_core.TokenState(
        tokens(pipe, 3), torch.zeros(3, 6, 8, dtype=torch.bool), pipe.model.mask_id, pipe.model.codebook_size
    )
    given = {"steps": 2, "cfg": 1.0}
    both = mgt_core.sample(model, state, pipe.text.encode(prompts), **given).tokens
    for place, prompt in enumerate(prompts):
        one = mgt_core.TokenState(
            state.tokens[place : place + 1], state.fixed[:1], pipe.model.mask_id, pipe.model.codebook_size
        )
        alone = mgt_core.sample(model, one, pipe.text.encode(prompt), seed=place, **given).tokens
        assert agree(alone, both[place : place + 1])


@pytest.mark.parametrize("family", ["lumina_dimoo", "show-o", "mmada"])
def test_a_picture_of_a_batch_is_what_it_is_alone(family, tmp_path):
    """Prompts of different lengths, and what keeps or joins rows; two evaluations a step too."""
    pipe, prompts = mgt_core.load(FAMILIES[family](tmp_path / "model"), **HERE), ["a fox", "two red dogs in the sun"]
    assert pipe.text.encode(prompts).has_gaps

    def made(model, texts, seed, sampler):
        conditions = pipe.text.encode(texts), pipe.text.encode("")
        state = mgt_core.empty_tokens(pipe, 64, 64, len(texts))
        return mgt_core.sample(model, state, *conditions, steps=4, cfg=3.0, seed=seed, sampler=sampler).tokens

    for patch in (mgt_core.MLCache(0.6, 3, 0.0), mgt_core.TokenCache(0.5, 2), mgt_core.TokenMerging(0.5)):
        model = pipe.model.with_patch(patch)
        for sampler in ("maskgit", "zsampling"):
            both = made(model, prompts, 0, sampler)
            for place, prompt in enumerate(prompts):
                assert agree(made(model, [prompt], place, sampler), both[place : place + 1])


def test_self_guidance_compares_with_a_blank_canvas(pipe):
    """l + s (l - l_H), l_H being the logits of the same prompt where every cell is masked."""
    model, condition = pipe.model, pipe.text.encode("a fox")
    branch = mgt_core.fresh_branch(model.network)
    assert list(branch.parameters()) == []
    steered = model.with_self_guidance(branch, 1.5)
    state, plain = tokens(pipe, 1), model.logits(tokens(pipe, 1), condition, 0.0)
    blank = model.logits(torch.full_like(state, model.mask_id), condition, 0.0)
    network = GuidedNetwork(model.network, condition.to(model.device), None, (6, 8), steered.run_patches())
    with torch.inference_mode():
        ours = network.logits(state, torch.zeros(1, device=model.device), 1.0)
    torch.testing.assert_close(ours, (plain + 1.5 * (plain - blank)).flatten(1, 2), atol=1e-4, rtol=1e-4)
    assert network.passes == 2


def test_its_branch_is_not_trained_and_not_anothers(pipe):
    branch = mgt_core.fresh_branch(pipe.model.network)
    with pytest.raises(MGTError, match="has nothing to train"):
        branch.train()
    with pytest.raises(MGTError, match="trained for another model"):
        pipe.model.with_self_guidance(mgt_core.fresh_branch(MEISSONIC.model.network))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"activation_type": "gelu"}, "activation_type 'gelu'; only 'silu' is supported"),
        ({"n_kv_heads": 2}, "n_kv_heads 2 and n_heads 4"),
        ({"n_heads": 5}, "heads need an even width"),
        ({"d_model": 0}, "d_model 0; expected a number of 1 or more"),
        ({"rms_norm_eps": -1.0}, "rms_norm_eps -1.0; expected a number above 0"),
        ({"codebook_size": 100}, "100 codes from id 318 on do not fit into the 382 ids"),
        ({"mask_token_id": 400}, "mask_token_id 400, among the codes"),
    ],
)
def test_configs_of_other_networks_are_told(pipe, change, words):
    config = pipe.model.network.config
    with pytest.raises(MGTError, match=words):
        LLaDAConfig.from_dict({**vars(config), **change})


def test_a_config_that_lacks_something(pipe):
    held = {name: value for name, value in vars(pipe.model.network.config).items() if name not in ("marks", "n_layers")}
    with pytest.raises(MGTError, match="transformer config lacks n_layers, marks"):
        LLaDAConfig.from_dict(held)
