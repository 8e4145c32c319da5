"""What acts inside the blocks of MAGNeT, against its meaning worked out otherwise: at the first stage, whose frames see
all others, and at a later one."""

from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import mgt_core
from mgt_core.backbones.hooks import Hooks
from mgt_core.backbones.magnet.blocks import Reach, near_frames
from mgt_core.backbones.merge import BlockMerges, Merge
from mgt_core.patches.attention_maps import AttentionMaps, Reading
from mgt_core.patches.step_skipping import Added, Past
from mgt_core.patches.token_cache import ActiveCache, Computed
from mgt_core.patches.token_merging import match
from mgt_core.sampling.guided import GuidedNetwork
from mgt_core.self_guidance.objective import branch_loss
from support.device import DEVICE, equal
from support.magnet import NOW, blank, magnet, model_of, no_words, tokens_for, words

FRAMES = 12


@pytest.fixture
def network():
    return magnet()


@pytest.fixture(params=[0, 2], ids=["first stage", "later stage"])
def view(network, request):
    return network.at_stage(request.param, tokens_for(network, 2, FRAMES))


@pytest.fixture
def told(view):
    """Two sounds with a prompt each."""
    return view.prepare(words(view, 2), (1, FRAMES))


@pytest.fixture
def tokens(view):
    return view.context[:, view.stage : view.stage + 1]


@pytest.fixture(autouse=True)
def no_gradients(request):
    with torch.set_grad_enabled("gradient" in request.node.name):
        yield


def states(view, seed=0):
    return torch.randn(2, FRAMES, view.row_width, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def near(found, wanted):
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_the_text_is_read_before_the_run(view, told, tokens):
    """A step calls nothing that reads text alone, nor what embeds the other books."""
    called = set()
    handles = [
        module.register_forward_hook(lambda *_, name=path: called.add(name.rpartition(".")[2]))
        for path, module in view.named_modules()
        if not any(module.children())
    ]
    view.features(tokens, NOW, told)
    for handle in handles:
        handle.remove()
    assert called == {"norm1", "norm_cross", "norm2", "in_proj", "q_proj", "out_proj", "linear1", "linear2"}


def test_states_are_told_before_each_layer_and_after_the_last(view, told, tokens):
    taps = []
    view.features(tokens, NOW, told, Hooks(taps=taps))
    assert [tuple(state.shape) for state in taps] == 3 * [(2, FRAMES, view.row_width)]
    layer = view.transformer["layers"][1]
    near(layer(taps[1], told.words[1], told.visible, told.reach), taps[2])


def test_what_comes_from_above_joins_the_values(view, told, tokens):
    above = [states(view, seed) for seed in (1, 2)]
    found = view.features(tokens, NOW, told, Hooks(top_down=above))
    plain, width = view.features(tokens, NOW, told), view.row_width
    handles = []
    for layer, own in zip(view.transformer["layers"], above, strict=True):
        projection = layer.self_attn.in_proj
        more = F.pad(F.linear(own, projection.weight[-width:]), (2 * width, 0))
        handles.append(projection.register_forward_hook(lambda m, x, out, more=more: out + more))
    near(found, view.features(tokens, NOW, told))
    for handle in handles:
        handle.remove()
    assert not torch.allclose(found, plain, atol=1e-2)
    near(view.features(tokens, NOW, told, Hooks(top_down=[own * 0 for own in above])), plain)


def test_embeddings_are_perturbed_before_the_first_block(view, told, tokens):
    seen = []

    def other(x):
        seen.append(x)
        return x + view.emb[view.stage].weight[tokens.flip(2)] - view.emb[view.stage].weight[tokens]

    found = view.features(tokens, NOW, told, Hooks(perturb=other))
    near(found, view.features(tokens.flip(2), NOW, told))
    assert seen[0].shape == (2, 1, FRAMES, view.row_width)


def test_cached_rows_of_the_same_tokens_are_what_they_were(view, told, tokens):
    """And half of the rows of others are not those of all."""
    kept, half = Computed(), FRAMES // 2
    rows = torch.stack([torch.randperm(FRAMES)[:half] for _ in range(2)]).to(DEVICE)
    plain = view.features(tokens, NOW, told)
    near(view.features(tokens, NOW, told, Hooks(cache=ActiveCache(kept))), plain)
    found = view.features(tokens, NOW, told, Hooks(cache=ActiveCache(kept, rows)))
    near(found, plain)
    assert sum(value.numel() for value in kept.tensors()) == 2 * FRAMES * view.kept_width
    before = found.clone()
    other = view.features(tokens.flip(2), NOW, told, Hooks(cache=ActiveCache(kept, rows)))
    assert not torch.allclose(other, view.features(tokens.flip(2), NOW, told), atol=1e-2)
    assert equal(found, before)  # what is kept was written to, and is not what was given


@pytest.mark.parametrize("first", [0, 1, 9])
def test_layers_that_are_skipped_add_what_they_added(view, told, tokens, first):
    added = Added(states(view))
    plain = view.features(tokens, NOW, told)
    near(view.features(tokens, NOW, told, Hooks(skip=Past(first, False, True, added))), plain)
    near(view.features(tokens, NOW, told, Hooks(skip=Past(first, True, False, added))), plain)
    none = Past(first, True, False, Added(added.values * 0))
    assert torch.allclose(view.features(tokens, NOW, told, Hooks(skip=none)), plain) == (first > 1)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(0, 5), st.data())
def test_rows_that_share_see_what_one_of_them_sees(frames, reach, data):
    """Of samples that merge different numbers too, where rows without a frame are seen by none."""
    counts = data.draw(st.lists(st.integers(0, frames // 2), min_size=2, max_size=2))
    metric = torch.randn(2, frames, 3, generator=torch.Generator().manual_seed(frames))
    merge = match(metric.to(DEVICE), (torch.arange(frames) % 2 == 0)[None], counts)
    if merge is None:
        return
    mask, near = Reach.of(near_frames(frames, reach).to(DEVICE)).mask(merge)[:, 0], near_frames(frames, reach)
    for sample, slot in enumerate(merge.slot.tolist()):
        held = [[frame for frame in range(frames) if slot[frame] == row] for row in range(merge.size)]
        for row, own in enumerate(held):
            wanted = [any(near[a, b] for a in own for b in other) for other in held]
            if own:
                assert mask[sample, row].tolist() == wanted
            else:
                assert not mask[sample, :, row].any()
    assert mask.any(-1).all()  # every row has something to attend to


def twins(view):
    """Rows of which each stands beside one like it, and what merges these."""
    count = FRAMES // 2
    slot = torch.arange(count, device=DEVICE).repeat_interleave(2).expand(2, -1)
    return states(view)[:, :count].repeat_interleave(2, dim=1), Merge(slot, count)


@pytest.mark.parametrize("parts", [(True, True), (True, False), (False, True)])
def test_merged_twins_attend_as_they_do_apart(network, parts):
    """Of keys that are all there twice the softmax is that of the keys once; where frames see as far as pairs reach."""
    layer, (x, merge) = network.transformer["layers"][0], twins(network)
    told = network.at_stage(0, tokens_for(network, 2, FRAMES)).prepare(words(network, 2), (1, FRAMES))
    pairs = torch.arange(FRAMES, device=DEVICE) // 2
    for near_pairs in (None, (pairs[:, None] - pairs).abs() <= 1):
        reach = None if near_pairs is None else Reach.of(near_pairs)
        merges = BlockMerges(*(merge if part else None for part in parts))
        inner = []
        handles = [
            module.register_forward_hook(lambda m, x, y, inner=inner: inner.append(len(x[0][0])))
            for module in (layer.self_attn.out_proj, layer.cross_attention.q_proj, layer.linear2)
        ]
        near(layer(x, told.words[0], None, reach, merges), layer(x, told.words[0], None, reach))
        for handle in handles:
            handle.remove()
        assert inner[:3] == [FRAMES // (2 if part else 1) for part in (parts[0], *parts)]


def test_attention_to_the_text_is_read_whatever_is_merged(network):
    layer, (x, merge) = network.transformer["layers"][0], twins(network)
    visible = torch.tensor([[True, True, True, False], [True, False, True, True]]).to(DEVICE)
    view = network.at_stage(0, tokens_for(network, 2, FRAMES))
    told = view.prepare(words(network, 2, visible=visible), (1, FRAMES))
    columns = torch.arange(4, device=DEVICE).expand(2, -1)
    read = [Reading(slice(None), columns, None) for _ in range(2)]
    for reading, merges in zip(read, (BlockMerges(), BlockMerges(merge, merge)), strict=True):
        layer(x, told.words[0], told.visible, None, merges, seen=partial(reading.see, None))
    near(read[1].total, read[0].total)
    near(read[0].total.sum(-1), torch.ones(2, FRAMES, device=DEVICE))
    assert not read[0].total.mean(1)[~visible].any()  # a word that may not be attended to is not


def test_maps_are_the_mean_over_heads_and_layers(view, tokens):
    """Of the positive prompt's images."""
    seen = []

    def weights(attention, inputs, output):
        x, told = inputs[:2]
        q = attention.q_proj(x).unflatten(-1, (2, -1)).transpose(1, 2).double()
        seen.append((q @ told.keys.double().transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1).mean(1))

    handles = [layer.cross_attention.register_forward_hook(weights) for layer in view.transformer["layers"]]
    columns = torch.tensor([[1, 3], [2, 0]], device=DEVICE)
    maps = AttentionMaps(columns)
    given = words(view, 2), no_words(view, 2)
    GuidedNetwork(view, *given, (1, FRAMES), [maps]).evaluate(tokens, torch.ones(2, device=DEVICE), 2.0)
    for handle in handles:
        handle.remove()
    assert len(seen) == 2
    mean = torch.stack(seen).mean(0)[2:]  # the negative condition's two images come first
    wanted = mean.gather(2, columns[:, None].expand(-1, FRAMES, -1)).transpose(1, 2)
    near(maps.maps((1, FRAMES)).flatten(2).double(), wanted)


def test_a_fresh_branch_sees_a_blank_book(view, told, tokens):
    branch = mgt_core.fresh_branch(view).to(DEVICE)
    found = branch.second_pass(view, states(view), tokens, NOW, told)
    near(found, view.features(torch.full_like(tokens, view.mask_id), NOW, told))


def test_the_anchor_is_of_the_words_alone(view):
    branch = mgt_core.fresh_branch(view).to(DEVICE)
    short = words(view, 2)
    padded = mgt_core.Condition(hidden=F.pad(short.hidden, (0, 0, 0, 3)))
    anchors = [branch.anchor(view, view.prepare(condition, (1, FRAMES))) for condition in (short, padded)]
    near(*anchors)
    assert not torch.allclose(anchors[0][0], anchors[0][1])


def test_a_branch_is_trained_by_its_gradient(view, told, tokens):
    """Through the values of every layer."""
    branch = mgt_core.fresh_branch(view).to(DEVICE).requires_grad_(True)
    labels = torch.where(torch.arange(FRAMES, device=DEVICE) % 3 == 0, 5, -100).expand(2, -1)
    branch_loss(branch, view, tokens, labels, NOW.to(DEVICE), told).total.backward()
    for decoder in branch.decoders:
        assert decoder.linear2.weight.grad.isfinite().all() and decoder.linear2.weight.grad.abs().max() > 0


def run(model, **settings):
    network = model.network
    given = words(network, 2, visible=torch.tensor([4 * [True], [True, True, False, False]]))
    none = replace(no_words(network, 2), visible=torch.zeros(2, 4, dtype=torch.bool).to(DEVICE))
    chosen = {"sampler": "maskgit", "schedule": "cosine", "steps": 16, "cfg": 3.0, "seed": 5} | settings
    return mgt_core.sample(model, blank(network, 2, FRAMES), given, none, **chosen).tokens


NEUTRAL = {
    "merging": lambda model: model.with_token_merging(0.0),
    "cache": lambda model: model.with_token_cache(every=1),
    "ML-Cache": lambda model: model.with_patch(mgt_core.MLCache(refresh_interval=1)),
    "skipping": lambda model: model.with_step_skipping(every=1),
    "Self-Guidance": lambda model: model.with_self_guidance(mgt_core.fresh_branch(model.network), 0.0),
}
ACTING = {
    "merging": lambda model: model.with_token_merging(0.4),
    "cache": lambda model: model.with_token_cache(0.25, every=3),
    "ML-Cache": lambda model: model.with_patch(mgt_core.MLCache(0.8, 3, 0.0)),
    "skipping": lambda model: model.with_step_skipping(every=3),
    "Self-Guidance": lambda model: model.with_self_guidance(mgt_core.fresh_branch(model.network), 2.0),
}


@pytest.mark.parametrize("name", NEUTRAL)
def test_patches_change_nothing_or_something(network, name):
    model = model_of(network)
    plain = run(model)
    assert equal(run(NEUTRAL[name](model)), plain)
    assert not torch.equal(run(ACTING[name](model)), plain)


@pytest.mark.parametrize("name", ACTING)
def test_a_patch_acts_at_every_stage(network, name):
    """Whatever it keeps of one stage is gone at the next."""
    model = model_of(network)
    acting, given = ACTING[name](model), words(network, 2)
    settings = {"sampler": "maskgit", "schedule": "cosine", "steps": 20, "cfg": 3.0, "seed": 5}
    begun = mgt_core.sample(model, blank(network, 2, FRAMES), given, no_words(network, 2), **settings)
    for stage in range(4):
        tokens = begun.tokens.clone()
        tokens[:, stage:] = network.mask_id
        fixed = torch.zeros_like(tokens, dtype=torch.bool)
        fixed[:, :stage] = True
        start = mgt_core.TokenState(tokens, fixed, network.mask_id, network.codebook_size)
        plain, other = (mgt_core.sample(m, start, given, no_words(network, 2), **settings) for m in (model, acting))
        assert equal(plain.tokens, begun.tokens)  # what is known is left, and the rest as it was
        assert not torch.equal(plain.confidence[:, stage], other.confidence[:, stage])


def test_frames_are_merged_whatever_the_rows_of_a_window(network):
    model = model_of(network)
    wide = run(model.with_token_merging(0.4, stride=(2, 3)))
    assert equal(wide, run(model.with_token_merging(0.4, stride=(1, 3))))
    assert not torch.equal(wide, run(model.with_token_merging(0.4, stride=(2, 2))))


def test_refusals_speak_of_sound(network):
    for hook, told in (("words", "makes sound of words"), ("reference", "makes sound, and looks at no picture")):
        with pytest.raises(mgt_core.MGTError, match=f"this does not work with the magnet architecture: it {told}"):
            network.check_supports(hook, "this")
