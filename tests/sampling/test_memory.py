"""What a run is said to take, of networks whose pictures stand among words."""

import copy

import pytest
import torch

import mgt_core
from bench.large.sizes import LUMINA, MODELS
from mgt_core.quantization.layers import packed_layers, stored_bytes
from mgt_core.quantization.schemes import planned
from mgt_core.sampling.memory import step_bytes
from support.llada import llada, model_of, prompts
from support.pretended import PretendedCUDA

GB = 1e9
CARD = 8 * 2**30


def state_of(model, side: int = 4) -> mgt_core.TokenState:
    return mgt_core.empty_state(2, (side, side), model.mask_id, model.codebook_size)


def test_words_and_what_stands_around_a_picture_are_counted():
    """As many rows as the blocks see, and what a cache keeps of them."""
    network = llada()
    seen = []
    network.blocks[0].register_forward_pre_hook(lambda block, inputs: seen.append(inputs[0].shape[1]))
    model, (positive, negative) = model_of(network), prompts()
    mgt_core.sample(model, state_of(model), positive, negative, steps=1, cfg=0.0, seed=0)
    mgt_core.sample(model, state_of(model), positive, negative, steps=1, cfg=1.0, seed=0)
    grid = (4, 4)
    assert seen == [16 + network.rows_beside(each, grid) for each in (negative, positive)]
    cached = model.with_token_cache(share=0.5)
    more = step_bytes(cached, state_of(model), positive, negative, [2.0])
    kept = more - step_bytes(model, state_of(model), positive, negative, [2.0])
    assert kept == 2 * 2 * seen[1] * network.kept_width * 4


@pytest.mark.cpu_only("the device is pretended")
@pytest.mark.parametrize("cached", [False, True])
def test_the_estimate_is_no_less_than_what_is_used(cached):
    model = model_of(llada(d_model=64, mlp_hidden_size=192))
    model = model.with_token_cache(share=0.5) if cached else model
    state, (positive, negative) = state_of(model, 16), prompts()
    asked = step_bytes(model, state, positive, negative, [2.0])
    with PretendedCUDA() as watch:
        network = watch.put(copy.deepcopy(model.network))
        held = watch.live
        watch.reset()
        mgt_core.sample(
            mgt_core.MGTModel(network, 16, patches=model.patches), state, positive, negative, steps=4, cfg=2.0
        )
        used = watch.whole.peak - held
    assert 0.4 * asked <= used <= 1.1 * asked


def test_a_card_of_8_gb_has_room_for_lumina_dimoo_in_4_bits():
    """At its own size of 1024 x 1024 pixels with guidance, prompts of 100 words; in bfloat16 it has not."""
    with torch.device("meta"):
        network = MODELS["Lumina-DiMOO"][0]().to(torch.bfloat16)
    model = model_of(network)
    state = mgt_core.empty_state(1, (64, 64), model.mask_id, model.codebook_size)
    words = mgt_core.Condition(prompt=torch.ones(1, 100, dtype=torch.long))
    step = step_bytes(model, state, words, words, [5.0])
    small = planned(network, mgt_core.W4A8(), network.unquantized)
    assert stored_bytes(network) > CARD
    assert 4.4 * GB < stored_bytes(small) < 4.7 * GB
    assert stored_bytes(small) + step_bytes(model_of(small), state, words, words, [5.0]) < 0.85 * CARD
    # Streamed: two of its layers at a time, and what is no layer.
    layers = [sum(value.nbytes for value in layer.parameters()) for layer in packed_layers(small).values()]
    rest = stored_bytes(small) - sum(layers)
    assert rest + 2 * max(layers) + step < 0.35 * CARD
    assert network.config.d_model == LUMINA["d_model"] and len(layers) == 7 * 32
