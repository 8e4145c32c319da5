"""The text encoder that a model's authors load in place of their bundle's: how it is told, what is said of others."""

import logging
import shutil
from pathlib import Path

import pytest

import mgt_core
from mgt_core.backbones.meissonic import network as meissonic
from mgt_core.conditioning.clip import LAION, CLIPText
from mgt_core.loading import official, weights
from mgt_core.loading.part import Part
from mgt_core.loading.weights import Stored
from support.device import HERE
from support.golden import bundles


def load(source, **chosen) -> mgt_core.Pipeline:
    return mgt_core.load(source, **HERE, **chosen)


def published(changes: dict | None = None, pictures: bool = True, config: dict | None = None, path="clip") -> Part:
    """What the files of laion's repository say, or of one that differs."""
    shapes = {**official.TEXT, **(official.PICTURES if pictures else {}), **(changes or {})}
    stored = {name: Stored(Path("model.safetensors"), name, shape, 0, 0) for name, shape in shapes.items()}
    return Part(Path("models") / path, CLIPText, config or {}, stored)


@pytest.mark.parametrize(
    "part, told",
    [
        (published(), True),
        (published(config={"text_config": {"hidden_act": "gelu"}}), True),
        (published(pictures=False, path="CLIP-ViT-H-14-laion2B-s32B-b79K"), True),
        (published(pictures=False, path="models--laion--CLIP-ViT-H-14-laion2B-s32B-b79K/snapshots/1c2b"), True),
        (published(pictures=False, config={official.MARK: LAION}, path="saved/text_encoder"), True),
        (published(pictures=False, path="Meissonic/text_encoder"), False),
        (published(config={"text_config": {"hidden_act": "quick_gelu"}}), False),
        (published({"text_model.encoder.layers.24.mlp.fc1.weight": (4096, 1024)}), False),
        (published({"text_projection.weight": (512, 1024)}), False),
        (published({"visual_projection.weight": (768, 1280)}), False),
    ],
)
def test_what_tells_the_official_encoder(part, told):
    assert official.checkpoint_of(part) == (LAION if told else "")


@pytest.fixture
def as_published(monkeypatch, clip):
    """The tiny bundle counts as Meissonic's of 1024 px, and the tiny CLIP model as laion's."""
    shapes = {name: entry.shape for name, entry in weights.index_weights(clip).items()}
    inner = "text_model.encoder.layers.2.mlp.fc1.weight"
    monkeypatch.setattr(meissonic, "PUBLISHED_CODES", 64)
    monkeypatch.setattr(official, "LAYERS", 3)
    monkeypatch.setattr(official, "TEXT", {name: shapes[name] for name in (official.TOKENS, inner)})
    monkeypatch.setattr(official, "PICTURES", {"visual_projection.weight": shapes["visual_projection.weight"]})


def test_another_encoder_than_the_authors_is_told_of(as_published, bundle, clip, caplog):
    with caplog.at_level(logging.WARNING):
        pipe = load(bundle)
    (record,) = [r for r in caplog.records if LAION in r.getMessage()]
    assert pipe.advice in record.getMessage() and "models/text_encoders/CLIP-ViT-H-14" in pipe.advice
    assert "\n" not in pipe.advice and ". " not in pipe.advice
    caplog.clear()
    official_one = load(bundle, text_encoder=clip)
    assert official_one.advice == "" and not caplog.records and official_one.text.checkpoint == LAION
    assert load(bundle, text=False).advice == ""


def test_fine_tunes_alone_were_made_with_either(as_published, bundle, tmp_path):
    alone = shutil.copytree(bundle / "transformer", tmp_path / "alone")
    assert load(alone, base=bundle).advice == load(bundle, transformer=alone).advice == ""


def test_monetico_uses_its_own(as_published):
    assert load(bundles()[1]).advice == ""


def test_other_numbers_of_codes_are_no_published_weights(bundle):
    assert load(bundle).advice == "" and load("demo").advice == ""


def test_what_an_encoder_was_told_to_be_is_saved(as_published, bundle, clip, tmp_path):
    saved = mgt_core.save_bundle(load(bundle, text_encoder=clip, text_quantization="w8a16"), tmp_path / "saved")
    pipe = load(saved)
    assert pipe.text.checkpoint == LAION and pipe.advice == ""
