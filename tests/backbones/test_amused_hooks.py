"""What acts inside the blocks of aMUSEd, against its meaning worked out otherwise."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

import mgt_core
from mgt_core.backbones.hooks import Hooks
from mgt_core.backbones.merge import BlockMerges, Merge
from mgt_core.kernels.fused_linear import FusedLinear
from mgt_core.patches.attention_maps import AttentionMaps, Reading
from mgt_core.patches.step_skipping import Added, Past
from mgt_core.patches.token_cache import ActiveCache, Computed
from mgt_core.sampling.guided import GuidedNetwork
from mgt_core.self_guidance.objective import branch_loss
from support.bundles import amused_bundle
from support.device import DEVICE, HERE
from support.golden import bundles, pipeline
from support.runs import condition

GRID = (6, 8)
NOW = torch.zeros(1)


@pytest.fixture(scope="module", params=[True, False], ids=["downsampled", "plain"])
def pipe(request, tmp_path_factory):
    return mgt_core.load(amused_bundle(tmp_path_factory.mktemp("amused") / "bundle", request.param), **HERE)


@pytest.fixture
def network(pipe):
    return pipe.model.network


@pytest.fixture
def told(pipe):
    """Two images with a prompt each."""
    given = pipe.model.complete(condition(pipe, seed=1, batch=2), 2, GRID, "positive").to(DEVICE)
    return pipe.model.network.prepare(given, GRID)


@pytest.fixture
def tokens(pipe):
    ids = torch.randint(64, (2, *GRID), generator=torch.Generator().manual_seed(2))
    ids[:, ::2] = pipe.model.mask_id
    return ids.to(DEVICE)


def rows_of(network) -> int:
    return GRID[0] * GRID[1] // network.row_side**2


def states(network, seed=0, images=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images, rows_of(network), network.row_width, generator=generator).to(DEVICE)


def near(found, wanted):
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


@pytest.fixture(autouse=True)
def no_gradients(request):
    with torch.set_grad_enabled("gradient" in request.node.name):
        yield


def test_the_text_is_read_before_the_run(network, told, tokens):
    """A step calls nothing that reads text alone; what reads the image is called."""
    called, names = set(), ("to_kv", "linear", "cond_embeds_mapper", "kv_mapper", "encoder_proj", "linear_1", "to_qkv")
    handles = [
        module.register_forward_hook(lambda *_, name=name: called.add(name))
        for path, module in network.named_modules()
        if (name := path.rpartition(".")[2]) in names
    ]
    network.features(tokens, NOW, told)
    for handle in handles:
        handle.remove()
    assert called == {"to_qkv"}


def test_states_are_told_before_each_layer_and_after_the_last(network, told, tokens):
    taps = []
    network.features(tokens, NOW, told, Hooks(taps=taps))
    assert [tuple(state.shape) for state in taps] == 3 * [(2, rows_of(network), 32)]
    near(network.transformer_layers[1](taps[1], told.layers[1]), taps[2])


def test_what_comes_from_above_joins_the_values(network, told, tokens):
    above = [states(network, seed) for seed in (1, 2)]
    found = network.features(tokens, NOW, told, Hooks(top_down=above))
    plain = network.features(tokens, NOW, told)
    handles = []
    for layer, own in zip(network.transformer_layers, above, strict=True):
        more = F.pad(F.linear(own, layer.attn1.to_qkv.weight[-32:]), (64, 0))
        handles.append(layer.attn1.to_qkv.register_forward_hook(lambda m, x, out, more=more: out + more))
    near(found, network.features(tokens, NOW, told))
    for handle in handles:
        handle.remove()
    assert not torch.allclose(found, plain, atol=1e-2)
    near(network.features(tokens, NOW, told, Hooks(top_down=[own * 0 for own in above])), plain)


def test_embeddings_are_perturbed_before_the_first_block(network, told, tokens):
    found = network.features(tokens, NOW, told, Hooks(perturb=lambda x: network.embed(tokens.flip(1))))
    near(found, network.features(tokens.flip(1), NOW, told))


def test_cached_rows_of_the_same_tokens_are_what_they_were(network, told, tokens):
    """And half of the rows of others are not those of all."""
    kept, half = Computed(), rows_of(network) // 2
    rows = torch.stack([torch.randperm(rows_of(network))[:half] for _ in range(2)]).to(DEVICE)
    plain = network.features(tokens, NOW, told)
    near(network.features(tokens, NOW, told, Hooks(cache=ActiveCache(kept))), plain)
    near(network.features(tokens, NOW, told, Hooks(cache=ActiveCache(kept, rows))), plain)
    assert sum(value.numel() for value in kept.tensors()) == 2 * rows_of(network) * network.kept_width
    other = network.features(tokens.flip(2), NOW, told, Hooks(cache=ActiveCache(kept, rows)))
    assert not torch.allclose(other, network.features(tokens.flip(2), NOW, told), atol=1e-2)


@pytest.mark.parametrize("first", [0, 1, 9])
def test_layers_that_are_skipped_add_what_they_added(network, told, tokens, first):
    added = Added(states(network))
    plain = network.features(tokens, NOW, told)
    near(network.features(tokens, NOW, told, Hooks(skip=Past(first, False, True, added))), plain)
    near(network.features(tokens, NOW, told, Hooks(skip=Past(first, True, False, added))), plain)
    none = Past(first, True, False, Added(added.values * 0))
    assert torch.allclose(network.features(tokens, NOW, told, Hooks(skip=none)), plain) == (first > 1)


def twins(network):
    """Rows of which each stands beside one like it, and what merges these."""
    count = rows_of(network) // 2
    slot = torch.arange(count, device=DEVICE).repeat_interleave(2).expand(2, -1)
    return states(network)[:, :count].repeat_interleave(2, dim=1), Merge(slot, count)


@pytest.mark.parametrize("parts", [(True, True), (True, False), (False, True)])
def test_merged_twins_attend_as_they_do_apart(network, told, parts):
    """Of keys that are all there twice the softmax is that of the keys once."""
    layer, (x, merge) = network.transformer_layers[0], twins(network)
    merges = BlockMerges(*(merge if part else None for part in parts))
    inner = []
    handles = [m.register_forward_hook(lambda m, x, y: inner.append(len(x[0][0]))) for m in (layer.attn1, layer.ff)]
    near(layer(x, told.layers[0], merges), layer(x, told.layers[0]))
    for handle in handles:
        handle.remove()
    assert inner[:2] == [len(x[0]) // (2 if part else 1) for part in parts]


def test_attention_to_the_text_is_read_whatever_is_merged(network, told):
    """Rows of the text are not merged, and none of them is missing where the image's are."""
    layer, (x, merge) = network.transformer_layers[0], twins(network)
    words = told.layers[0].words.keys.shape[2]
    merge = Merge(merge.slot, merge.size, torch.ones(2, merge.size, dtype=torch.bool, device=DEVICE))
    columns = torch.arange(words, device=DEVICE).expand(2, -1)
    read = [Reading(slice(None), columns, None) for _ in range(2)]
    for reading, merges in zip(read, (BlockMerges(), BlockMerges(merge, merge)), strict=True):
        layer(x, told.layers[0], merges, seen=partial(reading.see, None))
    near(read[1].total, read[0].total)
    near(read[0].total.sum(-1), torch.ones(2, len(x[0]), device=DEVICE))


def test_maps_are_the_mean_over_heads_and_layers(pipe, network, tokens):
    """Of the positive prompt's images."""
    seen = []

    def weights(attention, inputs, output):
        x, words = inputs[:2]
        q = attention.to_q(x).unflatten(-1, (2, -1)).transpose(1, 2).double()
        seen.append((q @ words.keys.double().transpose(2, 3) / 16**0.5).softmax(-1).mean(1))

    handles = [layer.attn2.register_forward_hook(weights) for layer in network.transformer_layers]
    columns = torch.tensor([[1, 3], [4, 0]], device=DEVICE)
    maps = AttentionMaps(columns)
    given = [
        pipe.model.complete(condition(pipe, seed, 2), 2, GRID, role).to(DEVICE)
        for seed, role in enumerate(("positive", "negative"))
    ]
    GuidedNetwork(network, *given, GRID, [maps]).evaluate(tokens, torch.ones(2, device=DEVICE), 2.0)
    for handle in handles:
        handle.remove()
    assert len(seen) == 2
    mean = torch.stack(seen).mean(0)[2:]  # the negative condition's two images come first
    wanted = mean.gather(2, columns[:, None].expand(-1, mean.shape[1], -1)).transpose(1, 2)
    near(maps.maps(tuple(side // network.row_side for side in GRID)).flatten(2).double(), wanted)


def test_a_fresh_branch_sees_a_blank_canvas(network, told, tokens):
    branch = mgt_core.fresh_branch(network).to(DEVICE)
    found = branch.second_pass(network, states(network), tokens, NOW, told)
    near(found, network.features(torch.full_like(tokens, network.mask_id), NOW, told))


def test_a_branch_of_another_network_is_named(pipe):
    own = mgt_core.fresh_branch(pipe.model.network)
    with pytest.raises(mgt_core.MGTError, match="trained for another model"):
        pipe.model.with_self_guidance(mgt_core.fresh_branch(pipeline(bundles()[0]).model.network))
    assert len(own.decoders) == 2 and own.top_down_transform.shape == (32, 32)


def test_a_branch_is_trained_by_its_gradient(network, told, tokens):
    """Through the values of every layer."""
    branch = mgt_core.fresh_branch(network).to(DEVICE).requires_grad_(True)
    labels = torch.where(torch.arange(tokens[0].numel(), device=DEVICE) % 3 == 0, 5, -100).expand(2, -1)
    branch_loss(branch, network, tokens, labels, NOW.to(DEVICE), told).total.backward()
    for decoder in branch.decoders:
        assert decoder.linear2.weight.grad.isfinite().all() and decoder.linear2.weight.grad.abs().max() > 0


def test_projections_of_one_input_are_one_product(network):
    fused = [module for module in network.modules() if isinstance(module, FusedLinear)]
    assert len(fused) == 2 * 2 + 2 * 2  # of two layers, and of a step of each stage
