"""aMUSEd against diffusers' own network and pipeline, with random weights."""

import pytest
import torch

import mgt_core
from support.bundles import amused_bundle
from support.device import HERE, agree

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


def test_token_merging_is_refused(pipe):
    with pytest.raises(mgt_core.MGTError, match="amused"):
        pipe.model.with_token_merging(ratio=0.5)


@pytest.mark.parametrize("field, value", [("vocab_size", 64), ("codebook_size", "64"), ("hidden_size", None)])
def test_a_bad_config_is_named(folder, tmp_path, field, value):
    import json
    import shutil

    bundle = shutil.copytree(folder, tmp_path / "bundle")
    path = bundle / "transformer" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(mgt_core.MGTError, match="config"):
        mgt_core.load(bundle, **HERE)
