"""The branch for Halton-MaskGIT, which nobody has published: what it reads, where it acts, and its training."""

from functools import cache

import pytest
import torch
import torch.nn.functional as F

import mgt_core
from mgt_core import __main__ as command_line
from mgt_core.backbones.halton import ClassModulationBranch
from mgt_core.backbones.hooks import Hooks
from mgt_core.sampling.guided import GuidedNetwork
from mgt_core.self_guidance.examples import Examples
from mgt_core.self_guidance.training import TrainingSettings, train
from support.bundles import halton_bundle
from support.device import DEVICE, HERE, agree

LABELS = torch.tensor([1, 2])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return halton_bundle(tmp_path_factory.mktemp("halton"))


@pytest.fixture(scope="module")
def pipe(bundle):
    with torch.inference_mode(False):
        return mgt_core.load(bundle, **HERE)


@cache
def tokens_of(network, share=0.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    known = torch.rand(2, *network.trained_grid, generator=generator) < share
    drawn = torch.randint(network.codebook_size, known.shape, generator=generator)
    return torch.where(known, drawn, network.mask_id).to(DEVICE)


def given(network):
    """Tokens, time and what the network is prepared with, for two images."""
    condition = mgt_core.Condition(labels=LABELS.to(DEVICE))
    return tokens_of(network), torch.ones(2, device=DEVICE), network.prepare(condition, network.trained_grid)


@torch.inference_mode()
def test_states_are_those_of_the_image_before_every_block_and_after_the_last(pipe):
    network, taps = pipe.model.network, []
    tokens, time, prepared = given(network)
    features = network.features(tokens, time, prepared, Hooks(taps=taps))
    cells, width = tokens[0].numel(), network.config.hidden
    assert [tuple(state.shape) for state in taps] == [(2, cells, width)] * (network.config.depth + 1)
    assert agree(taps[0], network.tok_emb(tokens).flatten(1, 2) + network.pos_emb.weight)
    shift, scale = prepared.last
    normed = F.rms_norm(taps[-1], (width,), eps=1e-5) * network.last_norm.norm_final.weight
    ended = (normed + network.last_norm.norm_final.bias) * scale + shift
    torch.testing.assert_close(features.flatten(1, 2), ended, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_what_comes_from_above_is_added_to_the_values_of_the_image(pipe):
    """As if the value projection gave so much more for these rows; nothing at zero, and every block its own."""
    network = pipe.model.network
    tokens, time, prepared = given(network)
    blocks, lead = list(network.transformer["layers"]), network.config.registers
    assert lead
    plain = network.features(tokens, time, prepared)
    generator = torch.Generator().manual_seed(1)
    shape = 2, tokens[0].numel(), network.config.hidden
    above = [torch.randn(shape, generator=generator).to(DEVICE) for _ in blocks]
    zeros = [torch.zeros_like(each) for each in above]
    assert agree(network.features(tokens, time, prepared, Hooks(top_down=zeros)), plain)
    for index, block in enumerate(blocks):
        more = F.pad(above[index] @ block.attn.wv.weight.T, (0, 0, lead, 0))
        handle = block.attn.wv.register_forward_hook(lambda module, args, out, more=more: out + more)
        wanted = network.features(tokens, time, prepared)
        handle.remove()
        own = [*zeros[:index], above[index], *zeros[index + 1 :]]
        found = network.features(tokens, time, prepared, Hooks(top_down=own))
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
        assert not torch.allclose(found, plain, atol=1e-2)


@torch.inference_mode()
def test_the_anchor_comes_from_the_class(pipe):
    """The layer norm and a linear layer of its embedding, before the modulation's SiLU."""
    network = pipe.model.network
    branch = mgt_core.fresh_branch(network).to(DEVICE)
    assert isinstance(branch, ClassModulationBranch)
    own = branch.cls_anchor_gen
    embedded = network.cls_emb.weight[LABELS.to(DEVICE)]
    wanted = F.linear(F.layer_norm(embedded, embedded.shape[-1:]), own.mlp_t.weight, own.mlp_t.bias)
    torch.testing.assert_close(branch.anchor(network, given(network)[2]), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("scale", [0.5, 2.0])
@torch.inference_mode()
def test_a_fresh_branch_steers_away_from_a_blank_canvas_of_the_class(pipe, scale):
    model = pipe.model
    tokens, time, _ = given(model.network)
    condition = mgt_core.Condition(labels=LABELS.to(DEVICE))

    def logits(attached: mgt_core.MGTModel, tokens: torch.Tensor) -> torch.Tensor:
        network = attached.network
        return GuidedNetwork(network, condition, None, network.trained_grid, attached.run_patches()).logits(
            tokens, time, 1.0
        )

    plain, blank = (logits(model, each) for each in (tokens, torch.full_like(tokens, model.mask_id)))
    found = logits(model.with_self_guidance(mgt_core.fresh_branch(model.network), scale), tokens)
    torch.testing.assert_close(found, plain + scale * (plain - blank), atol=1e-3, rtol=0)


def examples(network, count=6):
    generator = torch.Generator().manual_seed(0)
    shape = count, *network.trained_grid
    tokens = torch.randint(network.codebook_size, shape, generator=generator, dtype=torch.int32)
    return Examples(tokens, labels=torch.arange(count) % network.num_classes)


def test_it_learns_and_its_file_loads(pipe, tmp_path):
    network, out = pipe.model.network, tmp_path / "branch.safetensors"
    one = examples(network, 1)
    trained = train(pipe, one, out, TrainingSettings(steps=40, batch=8, rate=1e-2))
    curve = torch.load(out.with_suffix(".state"), weights_only=True)["curve"]
    first, last = (sum(loss for loss, _ in part) / 5 for part in (curve[:5], curve[-5:]))
    assert last < 0.9 * first
    loaded = mgt_core.load_branch(out, network)
    torch.testing.assert_close(
        loaded.top_down_transform, trained.top_down_transform.to(loaded.top_down_transform), atol=1e-3, rtol=1e-3
    )
    model = pipe.model.with_self_guidance(loaded, 1.0)
    state = mgt_core.empty_state(2, network.trained_grid, network.mask_id, network.codebook_size)
    conditions = [mgt_core.Condition(labels=labels) for labels in (LABELS, torch.full((2,), mgt_core.UNCONDITIONAL))]
    seen = []
    found = mgt_core.sample(model, state, *conditions, steps=3, cfg=2.0, callback=seen.append)
    assert not bool(found.masked.any()) and (seen[-1].calls, seen[-1].passes) == (6, 9)


def test_the_command_trains(bundle, pipe, tmp_path):
    data, out = tmp_path / "examples.safetensors", tmp_path / "branch.safetensors"
    examples(pipe.model.network).save(data)
    told = ["train-guidance", str(bundle), "--out", str(out), "--data", str(data), "--steps", "2", "--batch", "2"]
    assert command_line.main([*told, "--dtype", "float32", "--device", str(DEVICE)]) == 0
    assert isinstance(mgt_core.load_branch(out, pipe.model.network), ClassModulationBranch)
