"""Agreement with a prompt on tiny networks in the published layouts, and what is said where they are not there."""

import pytest
import torch
from transformers import CLIPModel, CLIPTokenizer

from mgt_core import MGTError
from mgt_core.rewards import scorers
from mgt_core.rewards.pixels import clip_pixels
from mgt_core.rewards.prompt import PromptAgreement
from mgt_core.rewards.scorers import SCORERS, load_scorer
from mgt_core.views.pictures import to_pil
from support.judges import clip_judge, pick_judge

TEXTS = ["a red heart", "a dog", "sun"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("scorers")
    clip_judge(root), pick_judge(root)
    return root


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(3, 40, 52, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name, folder", [("CLIP ViT-L/14", "clip-vit-large-patch14"), ("PickScore", "PickScore_v1")])
def test_it_is_clips_own_logit(root, pictures, name, folder):
    """Of the pictures as files of 8 bits hold them, so that a saved picture scores as it did."""
    model, tokenizer = CLIPModel.from_pretrained(root / folder), CLIPTokenizer.from_pretrained(root / folder)
    words = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        shown = clip_pixels([to_pil(picture) for picture in pictures], 28)
        logits = model(**words, pixel_values=shown).logits_per_image.diagonal()
    pair = load_scorer(name, root)
    found = PromptAgreement(pair, TEXTS, "logit").score(pictures, [0, 1, 2])
    torch.testing.assert_close(found, logits, rtol=1e-4, atol=1e-4)
    cosine = PromptAgreement(pair, tuple(TEXTS)).score(pictures, [0, 1, 2])
    torch.testing.assert_close(cosine, 100 * logits / model.logit_scale.exp(), rtol=1e-4, atol=1e-4)


def test_prompts_belong_to_images(root, pictures):
    pair = load_scorer("PickScore", root)
    each = PromptAgreement(pair, TEXTS).score(pictures, [2, 0, 2])
    ones = [PromptAgreement(pair, TEXTS[place]).score(pictures[i : i + 1], [9]) for i, place in enumerate([2, 0, 2])]
    torch.testing.assert_close(each, torch.cat(ones), rtol=1e-4, atol=1e-4)
    with pytest.raises(MGTError, match="prompts are 3, and the batch has an image 4"):
        PromptAgreement(pair, TEXTS).score(pictures, [0, 1, 3])


def test_a_text_is_read_once_for_all_its_candidates(root, pictures, monkeypatch):
    pair, read = load_scorer("PickScore", root), []
    own = pair.texts
    monkeypatch.setattr(pair, "texts", lambda texts: read.append(list(texts)) or own(texts))
    PromptAgreement(pair, TEXTS).score(pictures, [1, 1, 0])
    assert read == [["a dog", "a red heart"]]


@pytest.mark.parametrize("name", list(SCORERS))
def test_what_is_not_there_is_told_in_a_sentence(tmp_path, name, monkeypatch):
    monkeypatch.setattr(scorers, "find_spec", lambda module: True)
    with pytest.raises(MGTError, match="is not there: put .* on Hugging Face in") as error:
        load_scorer(name, tmp_path)
    assert SCORERS[name].repository.name in str(error.value) and "\n" not in str(error.value)
    monkeypatch.setattr(scorers, "find_spec", lambda module: None)
    with pytest.raises(MGTError, match="needs the package .*: pip install"):
        load_scorer(name, tmp_path)


def test_damaged_files_and_odd_settings_are_one_sentence(tmp_path, root):
    folder = clip_judge(tmp_path)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(MGTError, match="does not hold a readable CLIPModel") as error:
        load_scorer("CLIP ViT-L/14", tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(MGTError, match="scorer is 'BLIP', but the known ones are"):
        load_scorer("BLIP", root)
    pair = load_scorer("PickScore", root)
    for prompts in ((), None, [3]):
        with pytest.raises(MGTError, match="prompts are .*; expected one or more texts"):
            PromptAgreement(pair, prompts)
    with pytest.raises(MGTError, match="pair is None"):
        PromptAgreement(prompts="a dog")
    with pytest.raises(MGTError, match="unit is 'percent'"):
        PromptAgreement(pair, "a dog", "percent")


def test_weights_that_make_no_numbers_are_refused(root, pictures):
    pair = load_scorer("PickScore", root)
    with torch.no_grad():
        pair.network.visual_projection.weight.fill_(float("nan"))
    with pytest.raises(MGTError, match="the scorer of prompts gave .*not usable"):
        PromptAgreement(pair, "a dog").score(pictures, [0, 0, 0])
