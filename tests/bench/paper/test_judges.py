"""Judges compute what is published of them, and say what they lack."""

import math

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import CLIPModel, CLIPTokenizer

from bench.paper.judges.base import JUDGES, lacking, weights_of
from bench.paper.judges.image_reward import MEAN, STD
from bench.paper.prompts import Prompt
from mgt_core import MGTError
from mgt_core.rewards.pixels import clip_pixels
from support.judges import LAYERS, PATCH, SIDE, WORDS, clip_judge, reward_judge

CPU = torch.device("cpu")
PROMPTS = [Prompt("a red heart"), Prompt("a dog"), Prompt("sun")]


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(0)
    pixels = (torch.rand(3, 40, 40, 3, generator=generator) * 255).to(torch.uint8)
    return [Image.fromarray(each.numpy()) for each in pixels]


def judged(name, root, images, prompts=PROMPTS):
    with torch.inference_mode():
        return JUDGES.get(name)(root, CPU).score(images, prompts)


def test_pixels_are_those_of_transformers(images):
    """Upright and lying pictures too."""
    try:
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil as Processor
    except ImportError:
        from transformers import CLIPImageProcessor as Processor
    processor = Processor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    for size in ((40, 40), (40, 60), (70, 40), (28, 28)):
        image = images[0].resize(size)
        expected = torch.as_tensor(processor(image, return_tensors="pt")["pixel_values"])
        torch.testing.assert_close(clip_pixels([image], 28), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name, folder", [("clip", "clip-vit-large-patch14"), ("pick", "PickScore_v1")])
def test_clip_judges_by_clips_own_logits(judges, images, name, folder):
    model, tokenizer = CLIPModel.from_pretrained(judges / folder), CLIPTokenizer.from_pretrained(judges / folder)
    words = tokenizer([prompt.text for prompt in PROMPTS], padding=True, return_tensors="pt")
    with torch.inference_mode():
        logits = model(**words, pixel_values=clip_pixels(images, 28)).logits_per_image.diagonal()
    expected = logits if name == "pick" else (100 * logits / model.logit_scale.exp()).clamp_min(0)
    scores = judged(name, judges, images)
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(judged(name, judges, images[1:2], PROMPTS[1:2]), scores[1:2], rtol=1e-4, atol=1e-4)


def attention(held, name, x, y, mask=None, heads=2):
    """x [N, L, D] looks at y [N, M, D]; weights under BERT's names."""
    q, k, v = (
        F.linear(z, held[f"{name}.self.{part}.weight"], held[f"{name}.self.{part}.bias"])
        .unflatten(-1, (heads, -1))
        .transpose(1, 2)
        for z, part in ((x, "query"), (y, "key"), (y, "value"))
    )
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None, None, :], -math.inf)
    mixed = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
    out = F.linear(mixed, held[f"{name}.output.dense.weight"], held[f"{name}.output.dense.bias"])
    return norm(held, f"{name}.output.LayerNorm", out + x, 1e-12)


def norm(held, name, x, eps):
    return F.layer_norm(x, x.shape[-1:], held[f"{name}.weight"], held[f"{name}.bias"], eps)


def linear(held, name, x):
    return F.linear(x, held[f"{name}.weight"], held[f"{name}.bias"])


def reward(held, pixels, ids, mask, heads=2):
    """BLIP and ImageReward's head (arXiv 2201.12086, section 3.1; 2304.05977, section 3.1) straight from the published
    names: a ViT of normalized inputs, a BERT that also looks at the picture, linear layers on the first word."""
    seen = "blip.visual_encoder."
    patches = F.conv2d(
        pixels, held[seen + "patch_embed.proj.weight"], held[seen + "patch_embed.proj.bias"], stride=PATCH
    )
    x = patches.flatten(2).transpose(1, 2)
    x = torch.cat([held[seen + "cls_token"].expand(len(x), -1, -1), x], 1) + held[seen + "pos_embed"]
    for place in range(LAYERS):
        block = f"{seen}blocks.{place}."
        q, k, v = linear(held, block + "attn.qkv", norm(held, block + "norm1", x, 1e-6)).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (q, k, v))
        mixed = ((q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = x + linear(held, block + "attn.proj", mixed)
        x = x + linear(
            held, block + "mlp.fc2", F.gelu(linear(held, block + "mlp.fc1", norm(held, block + "norm2", x, 1e-6)))
        )
    picture = norm(held, seen + "norm", x, 1e-6)
    read = "blip.text_encoder."
    y = (
        held[read + "embeddings.word_embeddings.weight"][ids]
        + held[read + "embeddings.position_embeddings.weight"][: ids.shape[1]]
    )
    y = norm(held, read + "embeddings.LayerNorm", y, 1e-12)
    for place in range(LAYERS):
        layer = f"{read}encoder.layer.{place}."
        y = attention(held, layer + "attention", y, y, mask)
        y = attention(held, layer + "crossattention", y, picture)
        out = linear(held, layer + "output.dense", F.gelu(linear(held, layer + "intermediate.dense", y)))
        y = norm(held, layer + "output.LayerNorm", out + y, 1e-12)
    out = y[:, 0]
    for place in (0, 2, 4, 6, 7):
        out = linear(held, f"mlp.layers.{place}", out)
    return (out[:, 0] - MEAN) / STD


def test_image_reward_is_the_published_network(tmp_path, images):
    held = reward_judge(tmp_path)
    rows = [[2, 5, 6, 7, 3], [2, 5, 8, 3], [2, 10, 3]]  # [CLS] the words [SEP]
    ids = torch.tensor([row + [0] * (35 - len(row)) for row in rows])
    assert [WORDS[place] for place in rows[0][1:-1]] == PROMPTS[0].text.split()
    with torch.inference_mode():
        expected = reward(held, clip_pixels(images, SIDE), ids, ids != 0)
    torch.testing.assert_close(judged("ir", tmp_path, images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["missing", "odd", "shape"])
def test_weights_that_do_not_fit_are_one_sentence(tmp_path, images, name):
    held = reward_judge(tmp_path)
    if name == "missing":
        del held["blip.text_encoder.encoder.layer.1.output.dense.bias"]
    elif name == "odd":
        held["blip.visual_encoder.blocks.0.ls1.gamma"] = torch.ones(1)
    else:
        held["mlp.layers.2.bias"] = torch.ones(3)
    torch.save(held, tmp_path / "ImageReward" / "ImageReward.pt")
    with pytest.raises(MGTError, match="ImageReward.pt") as error:
        judged("ir", tmp_path, images)
    assert "\n" not in str(error.value)


def test_what_a_judge_lacks(tmp_path, judges, monkeypatch):
    assert lacking("clip", judges) is None and lacking("ir", judges) is None
    told = lacking("clip", tmp_path)
    assert "openai/clip-vit-large-patch14 on Hugging Face" in told and f"{tmp_path}/clip-vit-large-patch14" in told
    assert "--judge-dir" in told and "\n" not in told
    (judges / "bert-base-uncased" / "vocab.txt").rename(judges / "vocab.txt")
    told = lacking("ir", judges)
    (judges / "vocab.txt").rename(judges / "bert-base-uncased" / "vocab.txt")
    assert "vocab.txt of google-bert/bert-base-uncased" in told and "ImageReward.pt" not in told
    monkeypatch.setattr(JUDGES.get("clip"), "packages", {"nowhere_to_be_found": "nowhere"})
    assert "needs the package nowhere (pip install nowhere)" in lacking("clip", judges)
    with pytest.raises(MGTError, match="judge is 'beauty', but the known ones are clip, .*hps"):
        lacking("beauty", judges)


def test_scores_belong_to_weights(tmp_path, judges):
    clip_judge(tmp_path, seed=7)
    own = weights_of("clip", tmp_path)
    assert own == weights_of("clip", judges)  # saved twice alike
    clip_judge(tmp_path, seed=1)
    assert own != weights_of("clip", tmp_path)


def test_scores_that_are_no_numbers_are_refused(tmp_path, images):
    held = reward_judge(tmp_path)
    held["mlp.layers.7.bias"] = torch.tensor([math.nan])
    torch.save(held, tmp_path / "ImageReward" / "ImageReward.pt")
    with pytest.raises(MGTError, match="the judge ir gave"):
        judged("ir", tmp_path, images)
