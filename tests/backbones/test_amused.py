"""aMUSEd against diffusers' own network and pipeline, with random weights."""

import json
import shutil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import mgt_core
from mgt_core.backbones.amused.config import AmusedConfig
from mgt_core.backbones.amused.network import AmusedTransformer
from mgt_core.loading.building import defaults_of
from mgt_core.quantization.layers import packed_layers
from mgt_core.quantization.quantize import apply
from support.bundles import amused_bundle, weights_file
from support.device import HERE, agree
from support.loras import linear_layers
from support.runs import few

SIZES = {"downsampled": True, "plain": False}


@pytest.fixture(scope="module", params=SIZES.values(), ids=SIZES)
def folder(request, tmp_path_factory):
    return amused_bundle(tmp_path_factory.mktemp("amused") / "bundle", request.param)


@pytest.fixture(scope="module")
def pipe(folder):
    return mgt_core.load(folder, **HERE)


@pytest.fixture(scope="module")
def reference(folder):
    """diffusers' pipeline over the same files, on the CPU."""
    from diffusers import AmusedPipeline, AmusedScheduler, UVit2DModel, VQModel
    from transformers import CLIPTextModelWithProjection, CLIPTokenizer

    pipeline = AmusedPipeline(
        VQModel.from_pretrained(folder / "vqvae"),
        CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder"),
        UVit2DModel.from_pretrained(folder / "transformer"),
        AmusedScheduler.from_pretrained(folder / "scheduler"),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_what_the_bundle_says(pipe):
    side = 8 * pipe.codec.scale
    assert pipe.size == (side, side) and pipe.model.mask_id == 71
    assert pipe.model.grid_multiple == (2 if pipe.model.network.config.downsample else 1)


def test_a_saved_bundle_loads(pipe, tmp_path):
    saved = mgt_core.load(mgt_core.save_bundle(pipe, tmp_path / "saved"), **HERE)
    tokens, condition = torch.full((1, 8, 8), 71), pipe.text.encode("a cat")
    assert torch.equal(saved.model.logits(tokens, condition, 0.0), pipe.model.logits(tokens, condition, 0.0))


def test_logits_are_those_of_diffusers(pipe, reference):
    tokens = torch.randint(72, (2, 8, 6), generator=torch.Generator().manual_seed(0)).clamp(max=64)
    tokens[tokens == 64] = 71
    size = (8 * pipe.codec.scale, 6 * pipe.codec.scale)
    condition = pipe.text.encode(["a cat", "a red dog"], size)
    ours = pipe.model.logits(tokens, condition, 0.0)
    with torch.no_grad():
        wanted = reference.transformer(
            tokens,
            encoder_hidden_states=condition.hidden.cpu(),
            pooled_text_emb=condition.pooled.cpu(),
            micro_conds=condition.micro.cpu(),
        )
    assert ours.std() > 0.1
    assert (ours.cpu() - wanted.permute(0, 2, 3, 1)).abs().max() < 1e-4


class Recorder:
    """Makes the draws of diffusers' scheduler, and keeps them."""

    def __init__(self):
        self.generator = torch.Generator().manual_seed(7)
        self.races, self.noises = [], []

    def multinomial(self, probabilities, count, **_):
        self.races.append(torch.empty_like(probabilities).exponential_(generator=self.generator))
        return (probabilities / self.races[-1]).argmax(-1, keepdim=True)

    def gumbel_noise(self, like, generator=None):
        uniform = torch.rand(like.shape, generator=self.generator).clamp_min(1e-20)
        self.noises.append(-torch.log((-torch.log(uniform)).clamp_min(1e-20)))
        return self.noises[-1]

    # the same draws, for ours

    def source(self, generators, cells):
        return self

    def categorical(self, logits, step):
        race = self.races[step.index].unflatten(0, (logits.shape[0], -1)).to(logits.device)
        race = race.gather(1, step.positions[..., None].expand(-1, -1, race.shape[-1]))
        return (logits.softmax(-1) / race).argmax(-1)

    def gumbel(self, step):
        return self.noises[step.index].to(step.tokens.device)


@pytest.mark.parametrize("cfg", [1.0, 10.0])
@pytest.mark.parametrize("temperature", [(2, 0), 4.0], ids=["two", "one"])
def test_sampling_is_that_of_diffusers(pipe, reference, monkeypatch, cfg, temperature):
    from diffusers.schedulers import scheduling_amused

    recorder, steps = Recorder(), []
    side = pipe.size[0]
    prompts, negatives = ["a cat", "a red dog"], ["", "blurry"]
    with monkeypatch.context() as patch:
        patch.setattr(scheduling_amused.torch, "multinomial", recorder.multinomial)
        patch.setattr(scheduling_amused, "gumbel_noise", recorder.gumbel_noise)
        wanted = reference(
            prompts,
            side,
            side,
            num_inference_steps=6,
            guidance_scale=cfg,
            negative_prompt=negatives,
            temperature=temperature,
            output_type="latent",
            callback=lambda index, timestep, latents: steps.append(latents),
        ).images
    seen = []
    ours = mgt_core.sample(
        pipe.model,
        mgt_core.empty_tokens(pipe, side, side, batch=2),
        pipe.text.encode(prompts),
        pipe.text.encode(negatives),
        sampler=mgt_core.MaskGIT(temperature, draws=recorder.source),
        steps=6,
        cfg=cfg,
        callback=lambda step: seen.append(step.result.tokens),
    )
    assert all(agree(a, b) for a, b in zip(seen, steps, strict=True))
    assert agree(ours.tokens, wanted) and len(wanted.unique()) > 10


def test_pictures_are_those_of_diffusers(pipe, reference):
    tokens = torch.randint(64, (2, 8, 8), generator=torch.Generator().manual_seed(1))
    shape = (2, 8, 8, reference.vqvae.config.latent_channels)
    with torch.no_grad():
        wanted = reference.vqvae.decode(tokens, force_not_quantize=True, shape=shape).sample.clip(0, 1)
    assert (pipe.codec.decode(tokens).cpu() - wanted.permute(0, 2, 3, 1)).abs().max() < 1e-5


def test_a_bundle_of_ours_is_read_by_diffusers(pipe, tmp_path):
    from diffusers import UVit2DModel

    saved = mgt_core.save_bundle(pipe, tmp_path / "saved") / "transformer"
    theirs = UVit2DModel.from_pretrained(saved)
    own = pipe.model.network.state_dict()
    assert own.keys() == theirs.state_dict().keys()
    assert all(torch.equal(value, own[name].cpu()) for name, value in theirs.state_dict().items())


def test_names_of_earlier_versions_of_this_pack(folder, pipe, tmp_path):
    """Which saved the network as a part of another one, but for its head."""
    bundle = shutil.copytree(folder, tmp_path / "bundle")
    file = weights_file(bundle / "transformer")
    before = load_file(file)
    save_file({n if n.startswith("mlm_layer.") else f"uvit.{n}": value for n, value in before.items()}, file)
    loaded, own = mgt_core.load(bundle, **HERE).model.network.state_dict(), pipe.model.network.state_dict()
    assert loaded.keys() == own.keys() and all(torch.equal(value, own[name]) for name, value in loaded.items())


def test_every_linear_layer_is_quantized(pipe):
    """The token head is of convolutions."""
    network = pipe.model.network
    layers = linear_layers(network)
    assert len(layers) > 40 and not any(name.startswith(network.unquantized) for name in layers)
    assert packed_layers(apply(pipe.model, "w4a16").network).keys() == layers.keys()
    kept = layers.keys() - packed_layers(apply(pipe.model, mgt_core.W4A16(keep=("modulation",))).network).keys()
    assert {name.rpartition(".")[2] for name in kept} == {"linear", "cond_embeds_mapper"}


@few
@given(
    heads=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    widths=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    inner=st.integers(1, 20),
    depth=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    eps=st.sampled_from([1e-6, 1e-3]),
    downsample=st.booleans(),
    grid=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 9)),
    seed=st.integers(0, 99),
)
def test_networks_of_any_size(heads, widths, inner, depth, eps, downsample, grid, sizes, seed):
    """Names and logits, on grids of any shape; with as many hidden channels as convolved ones there is no kv_mapper."""
    from diffusers import UVit2DModel

    torch.manual_seed(seed)
    config = {
        "hidden_size": heads[0] * 4 * widths[0],
        "block_out_channels": heads[1] * 4 * widths[1],
        "num_attention_heads": heads[0],
        "block_num_heads": heads[1],
        "in_channels": inner,
        "intermediate_size": 2 * inner,
        "num_hidden_layers": depth[0],
        "num_res_blocks": depth[1],
        "layer_norm_eps": eps,
        "downsample": downsample,
        "upsample": downsample,
        **{"cond_embed_dim": 6, "micro_cond_encode_dim": 4, "micro_cond_embed_dim": 20, "encoder_hidden_size": 10},
        **{"vocab_size": 12, "codebook_size": 9, "sample_size": 8},
    }
    theirs = UVit2DModel(**config).eval()
    for value in theirs.parameters():
        torch.nn.init.normal_(value, std=0.3)
    ours = AmusedTransformer(AmusedConfig.from_dict(dict(theirs.config))).eval()
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    ours.load_state_dict(theirs.state_dict())
    side, (images, length) = 2 if downsample else 1, sizes
    tokens = torch.randint(12, (images, grid[0] * side, grid[1] * side))
    told = torch.randn(images, length, 10), torch.randn(images, 6), torch.rand(images, 5) * 512
    with torch.inference_mode():
        wanted = theirs(tokens, *told).permute(0, 2, 3, 1)
        prepared = ours.prepare(mgt_core.Condition(*told), tuple(tokens.shape[1:]))
        found = ours.head(ours.features(tokens, torch.zeros(1), prepared))
    assert found.shape == (images, *tokens.shape[1:], 9)
    assert (found - wanted).abs().max() <= 1e-4 * wanted.abs().max().clamp_min(1)


def test_what_a_config_leaves_out_is_as_in_diffusers():
    from diffusers import UVit2DModel

    theirs, own = defaults_of(UVit2DModel), vars(AmusedConfig.from_dict({}))
    assert own == {name: theirs[name] for name in own}
    assert theirs.keys() - own.keys() == {"use_bias", "ln_elementwise_affine", "hidden_dropout", "attention_dropout"}


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"vocab_size": 64}, "vocab_size 64, which must exceed codebook_size 64"),
        ({"codebook_size": "64"}, "codebook_size '64'; expected a whole number"),
        ({"hidden_size": None}, "hidden_size None; expected a whole number"),
        ({"hidden_size": 0}, "hidden_size of the transformer config is 0"),
        ({"num_attention_heads": 5}, "hidden_size 32, which must be a multiple of num_attention_heads 5"),
        ({"block_num_heads": 5}, "block_out_channels 24, which must be a multiple of block_num_heads 5"),
        ({"micro_cond_embed_dim": 41}, "micro_cond_embed_dim 41, which must be 5 times micro_cond_encode_dim 8"),
        ({"downsample": True, "upsample": False}, "only one of downsample and upsample"),
        ({"use_bias": True}, "use_bias True; only False is supported"),
        ({"ln_elementwise_affine": False}, "ln_elementwise_affine False; only True is supported"),
        ({"layer_norm_eps": 2.0}, "layer_norm_eps of the transformer config is 2"),
    ],
)
def test_a_bad_config_is_named(folder, tmp_path, changes, words):
    bundle = shutil.copytree(folder, tmp_path / "bundle")
    path = bundle / "transformer" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(mgt_core.MGTError, match=words) as caught:
        mgt_core.load(bundle, **HERE)
    assert "\n" not in str(caught.value)
