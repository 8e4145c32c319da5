"""The demo codec's recipe: a computed encoder inside a VQModel, and the training of its decoder."""

import json

import numpy as np
import pytest
import torch

from recipe.codec import training as recipe
from recipe.codec.principal_components import PATCH, k_means, nearest, patches, read_encoder
from recipe.data.scenes import NORMAL, Renderer, plain_scene
from recipe.data.subjects import load_sprites, load_subjects
from support.device import DEVICE

pytest.importorskip("diffusers")


@pytest.fixture(scope="module")
def images():
    return recipe.CodecImages(list(load_subjects()), load_sprites(), seed=0)


@pytest.fixture(scope="module")
def codec(images):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "FITTED_SCENES", 40)
        patch.setattr(recipe, "ROUNDS", 2)
        return recipe.computed_codec(images)


def on(subject: int, colours: list[str]) -> torch.Tensor:
    renderer = Renderer(load_sprites())
    pictures = [renderer.render(plain_scene(load_subjects(), subject, colour)) for colour in colours]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


@torch.no_grad()
def test_the_convolutions_compute_the_projection(codec, images):
    """What the bundle's VQModel computes layer by layer is the product of patches and axes."""
    pictures = images.batch(4)
    axes, shift = read_encoder(codec)
    assert axes.shape == (3 * PATCH**2, recipe.CONFIG["vq_embed_dim"])
    direct = patches(pictures) @ axes + shift
    latents = codec.encode(pictures).latents.permute(0, 2, 3, 1)
    assert direct.std() > 0.3 and (latents - direct).abs().max() < 0.02
    found = nearest(latents.flatten(0, 2), codec.quantize.embedding.weight).view(4, 16, 16)
    assert (found == recipe.encode_tokens(codec, pictures)).float().mean() > 0.97


def test_patches_are_laid_out_by_row_column_and_colour():
    picture = torch.arange(3 * 16 * 24.0).view(1, 3, 16, 24)
    assert torch.equal(patches(picture)[0, 1, 2].view(PATCH, PATCH, 3), picture[0, :, 8:, 16:].permute(1, 2, 0))


def test_codes_inside_an_object_are_the_same_on_every_background(codec):
    for subject in (3, 77, 200):
        tokens = recipe.encode_tokens(codec, on(subject, ["white", "blue", "brown"]))
        alpha = np.zeros((128, 128), np.float32)
        margin = (128 - NORMAL) // 2
        alpha[margin:-margin, margin:-margin] = Renderer(load_sprites())._sized(subject, NORMAL)[1][..., 0]
        inner = torch.from_numpy(alpha.reshape(16, PATCH, 16, PATCH).min((1, 3)) == 1)
        assert inner.sum() >= 5
        assert (tokens[:, inner] == tokens[:1, inner]).all()
        assert (tokens[0, 0] == tokens[0, 0, 0]).all() and len(set(tokens[:, 0, 0].tolist())) == 3


def test_k_means_finds_separate_clouds():
    generator = torch.Generator().manual_seed(0)
    middles = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    samples = (middles[:, None] + 0.1 * torch.randn(3, 200, 2, generator=generator)).flatten(0, 1)
    centres = k_means(samples, 3, 30, torch.Generator().manual_seed(3))
    assert torch.cdist(middles, centres).min(1).values.max() < 0.1


def test_disturbed_tokens():
    torch.manual_seed(0)
    tokens = torch.randint(50, (40, 16, 16))
    neighbours = torch.randint(50, (50, 4))
    wrong = recipe.disturb(tokens, neighbours) != tokens
    disturbed = torch.arange(40) % recipe.DISTURBED_EVERY == 0
    assert not wrong[~disturbed].any(), "the others are left as they are"
    shares = wrong[disturbed].float().mean((1, 2))
    assert shares.max() < recipe.NOISE + 0.1 and 0.08 < shares.mean() < 0.25


def test_training_goes_on_where_it_stopped(codec, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "BATCH", 2)
    whole = recipe.measure_codec
    monkeypatch.setattr(recipe, "measure_codec", lambda *args: whole(*args, count=2))
    recipe.save_whole(tmp_path / "codec_start.pt", **codec.state_dict())
    train = lambda steps: recipe.train_codec(  # noqa: E731
        tmp_path, list(load_subjects()), load_sprites(), minutes=None, steps=steps, device=str(DEVICE)
    )
    first = torch.load(train(1), weights_only=True)
    (tmp_path / "codec.pt").unlink()
    second = torch.load(train(2), weights_only=True)
    assert torch.load(tmp_path / "codec_state.pt", weights_only=True)["step"] == 2
    changed = {name.split(".")[0] for name in first if not torch.equal(first[name], second[name])}
    assert changed == {"decoder", "post_quant_conv"}, "tokens made from the start stay valid"
    assert json.loads((tmp_path / "codec.json").read_text())["psnr_db"] > 3
