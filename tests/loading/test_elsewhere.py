"""Parts of a bundle that come from elsewhere, as people download them."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import mgt_core
from mgt_core.backbones.meissonic import network as meissonic
from mgt_core.conditioning.clip import LAION, CLIPText
from mgt_core.loading import official, weights
from mgt_core.loading.part import Part
from mgt_core.loading.weights import Stored
from support.bundles import copy_bundle, edit_config, edit_weights, halton_bundle, weights_file
from support.encoders import clip_model, edit_text_config, pickled
from support.golden import bundles, pipeline
from support.refusals import check

WHOLE = bundles()[0]
PROMPTS = ["a cat", "a red dog in a house", ""]


def load(source, **chosen) -> mgt_core.Pipeline:
    return mgt_core.load(source, device="cpu", **chosen)


@pytest.fixture
def bundle(tmp_path) -> Path:
    return copy_bundle(tmp_path / "bundle")


@pytest.fixture
def clip(tmp_path) -> Path:
    return clip_model(tmp_path / "CLIP-tiny")


def same(ours: mgt_core.Pipeline, whole: mgt_core.Pipeline) -> bool:
    """Whether two pipelines make the same picture."""

    def picture(pipe):
        state = mgt_core.empty_state(1, (4, 4), pipe.model.mask_id, pipe.model.codebook_size)
        positive, negative = pipe.text.encode("a cat"), pipe.text.encode("")
        out = mgt_core.sample(pipe.model, state, positive, negative, steps=2, cfg=2.0, seed=3)
        return pipe.codec.decode(out)

    return torch.equal(picture(ours), picture(whole))


# Text encoders


def by_transformers(folder: Path, ids: torch.Tensor):
    """Penultimate states and projected ones, of the class that Meissonic's scripts load."""
    from transformers import CLIPTextModelWithProjection

    network = CLIPTextModelWithProjection.from_pretrained(folder).eval()
    with torch.inference_mode():
        out = network(ids, output_hidden_states=True)
    return out.hidden_states[-2], out.text_embeds


@pytest.mark.parametrize("as_saved", [lambda folder: folder, pickled], ids=["safetensors", "pickles"])
@pytest.mark.parametrize("end", [2, 533], ids=["end at the highest id", "end named"])
def test_a_whole_clip_model_gives_what_transformers_gives(bundle, clip, end, as_saved):
    edit_text_config(clip, eos_token_id=end)
    as_saved(clip)
    pipe = load(bundle, text_encoder=clip)
    ours = pipe.text.encode(PROMPTS)
    words = pipe.text.tokenizer
    ids = words(PROMPTS, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    hidden, pooled = by_transformers(clip, ids)
    assert (ours.hidden - hidden).abs().max() < 1e-5 and (ours.pooled - pooled).abs().max() < 1e-5
    assert not torch.allclose(ours.hidden, load(bundle).text.encode(PROMPTS).hidden)


def test_a_projection_that_the_config_leaves_out_is_that_of_the_tensor(bundle, clip):
    before = load(bundle, text_encoder=clip).text.encode(PROMPTS).pooled
    edit_text_config(clip, projection_dim=512)
    assert torch.equal(load(bundle, text_encoder=clip).text.encode(PROMPTS).pooled, before)


def test_the_side_for_pictures_is_not_read(bundle, clip, monkeypatch):
    read, before = [], weights.open_weights

    def recorded(file):
        take = before(file)
        return lambda name: (read.append((file, name)), take(name))[1]

    monkeypatch.setattr(weights, "open_weights", recorded)
    load(bundle, text_encoder=clip)
    names = {name for file, name in read if file.parent == clip}
    assert names and all(name.startswith("text_") for name in names)
    assert any(name.startswith("vision_model") for name in load_file(weights_file(clip)))


def test_a_file_alone_is_read_by_its_tensors(tmp_path):
    """Sizes come from the tensors, heads are 64 wide, and the config beside a file of the same name wins."""
    folder = clip_model(tmp_path / "wide", width=128, heads=2)
    edit_text_config(folder, hidden_act="quick_gelu")
    file = tmp_path / "encoder.safetensors"
    shutil.copy(weights_file(folder), file)
    expected = mgt_core.load_text_encoder(folder, device="cpu").encode(PROMPTS)
    ours = mgt_core.load_text_encoder(file, device="cpu", tokenizer=folder).encode(PROMPTS)
    assert torch.equal(ours.hidden, expected.hidden) and torch.equal(ours.pooled, expected.pooled)
    shutil.copy(folder / "config.json", file.with_suffix(".json"))
    edit = json.loads(file.with_suffix(".json").read_text())
    edit["text_config"]["num_attention_heads"] = 4
    file.with_suffix(".json").write_text(json.dumps(edit))
    other = mgt_core.load_text_encoder(file, device="cpu", tokenizer=folder)
    assert other.network.config.num_attention_heads == 4


def test_small_widths_compute_with_quick_gelu():
    large = CLIPText.configure({}, {official.TOKENS: (49408, 768)})
    assert (large.hidden_act, large.num_attention_heads) == ("quick_gelu", 12)
    assert CLIPText.configure({}, {official.TOKENS: (49408, 1024)}).hidden_act == "gelu"


def test_a_file_of_laions_sizes_is_laions_network():
    """The text side in open_clip's model_configs/ViT-H-14.json: 24 layers, 16 heads."""
    shapes = official.TEXT | {official.INSIDE.format(layer): (4096, 1024) for layer in range(24)}
    config = CLIPText.configure({}, shapes)
    assert (config.num_hidden_layers, config.num_attention_heads, config.hidden_act) == (24, 16, "gelu")
    assert (config.hidden_size, config.intermediate_size, config.projection_dim) == (1024, 4096, 1024)
    assert (config.vocab_size, config.max_position_embeddings) == (49408, 77)


def test_the_encoder_of_another_bundle_and_that_of_the_built_in_model(bundle, tmp_path):
    other = copy_bundle(tmp_path / "other")
    edit_weights(other / "text_encoder", lambda held: {name: value * 1.1 for name, value in held.items()})
    changed = load(other).text.encode(PROMPTS).hidden
    for place in (other, other / "text_encoder"):
        assert torch.equal(load(bundle, text_encoder=place).text.encode(PROMPTS).hidden, changed)
    assert mgt_core.load_text_encoder("demo", device="cpu").network.config.projection_dim == 192


def test_the_tokenizer_stays_the_bundles(bundle, clip, tmp_path):
    place = lambda **chosen: Path(load(bundle, **chosen).text.tokenizer.name_or_path)  # noqa: E731
    assert place() == place(text_encoder=clip) == bundle / "tokenizer"
    assert place(text_encoder=clip, tokenizer=clip) == clip
    assert place(tokenizer=WHOLE) == place(tokenizer=WHOLE / "tokenizer") == WHOLE / "tokenizer"
    shutil.rmtree(bundle / "tokenizer")
    assert place(text_encoder=clip) == clip
    assert place(base=WHOLE) == WHOLE / "tokenizer"
    assert place(text_encoder=WHOLE) == WHOLE / "tokenizer"


def test_no_text_encoder_is_loaded_where_none_is_wanted(bundle):
    shutil.rmtree(bundle / "text_encoder")
    assert load(bundle, text=False).text is None


# Transformers alone


def alone(folder: Path) -> Path:
    """config.json and weights in the folder itself, as fine-tunes with save_pretrained are published (MaskFocus)."""
    return Path(shutil.copytree(WHOLE / "transformer", folder))


def file_alone(folder: Path) -> Path:
    folder.mkdir()
    return Path(shutil.copy(weights_file(WHOLE / "transformer"), folder / "merged.safetensors"))


def below(folder: Path) -> Path:
    """As Yuanzhi/DiMO has it: meissonic/transformer, and something else beside it."""
    alone(folder / "meissonic" / "transformer")
    (folder / "maskgit").mkdir()
    return folder / "meissonic"


ALONE = {
    "folder": alone,
    "file": file_alone,
    "subfolder": below,
    "folder without config": lambda folder: file_alone(folder).parent,
}


@pytest.mark.parametrize("form", ALONE)
def test_a_transformer_alone_borrows_the_rest(form, tmp_path):
    source = ALONE[form](tmp_path / "tuned")
    whole = pipeline(WHOLE)
    pipe = load(source, base=WHOLE)
    assert same(pipe, whole) and pipe.name == source.name
    assert pipe.model.timestep_rule == whole.model.timestep_rule and pipe.size == whole.size
    assert same(load(source, codec=WHOLE, text_encoder=WHOLE, transformer=WHOLE), whole)
    assert same(load(WHOLE, transformer=source), whole)


def test_weights_are_those_of_the_transformer_that_was_given(bundle, tmp_path):
    source = alone(tmp_path / "tuned")
    edit_weights(source, lambda held: {name: value * 1.5 for name, value in held.items()})
    held = load_file(weights_file(source))
    for pipe in (load(source, base=bundle), load(bundle, transformer=source)):
        assert all(torch.equal(value, held[name]) for name, value in pipe.model.network.state_dict().items())
        assert pipe.source == source


def test_a_file_among_other_models_takes_the_codec_of_its_base(tmp_path):
    """Codecs of other families lie in the same folder."""
    halton_bundle(tmp_path / "mgt")
    file = tmp_path / "mgt" / "merged.safetensors"
    shutil.copy(weights_file(WHOLE / "transformer"), file)
    assert same(load(file, base=WHOLE), pipeline(WHOLE))


def test_the_size_of_the_base_is_not_that_of_the_transformer(bundle, tmp_path):
    (bundle / "model_index.json").write_text(json.dumps({"sample_size": 96}))
    edit_config(bundle / "scheduler", timestep_rule="mask_ratio", defaults={"steps": 5})
    pipe = load(alone(tmp_path / "tuned"), base=bundle)
    assert pipe.size == pipeline(WHOLE).size and pipe.model.defaults == {"steps": 5}
    assert pipe.model.timestep_rule == "mask_ratio"


def test_a_codec_from_elsewhere(bundle, tmp_path):
    codec = Path(shutil.copytree(bundle / "vqvae", tmp_path / "codec"))
    edit_weights(codec, lambda held: {name: value * 0.9 for name, value in held.items()})
    held = load_file(weights_file(codec))
    pipe = load(bundle, codec=codec)
    assert all(torch.equal(value, held[name]) for name, value in pipe.codec.network.state_dict().items())
    assert pipe.model.codec is pipe.codec
    shutil.rmtree(bundle / "vqvae")
    assert same(load(bundle, codec=WHOLE), pipeline(WHOLE))
    assert same(load(bundle, codec=WHOLE / "vqvae"), pipeline(WHOLE))


def test_a_bundle_of_parts_is_saved_whole(tmp_path, clip):
    pipe = load(alone(tmp_path / "tuned"), base=WHOLE, text_encoder=clip)
    saved = mgt_core.save_bundle(pipe, tmp_path / "saved")
    shutil.rmtree(clip)
    shutil.rmtree(tmp_path / "tuned")
    assert same(load(saved), pipe)


# What does not fit


def narrow_encoder(folder: Path) -> dict:
    return {"source": WHOLE, "text_encoder": clip_model(folder / "narrow", width=32)}


def narrow_projection(folder: Path) -> dict:
    return {"source": WHOLE, "text_encoder": clip_model(folder / "narrow", projection=24)}


def fewer_codes(folder: Path) -> dict:
    return {"source": WHOLE, "codec": halton_bundle(folder).parent / "vq_ds16_c2i.pt"}


def openclip_file(folder: Path) -> dict:
    file = folder / "open_clip_model.safetensors"
    save_file({"transformer.resblocks.0.ln_1.weight": torch.ones(4), "ln_final.bias": torch.ones(4)}, file)
    return {"source": WHOLE, "text_encoder": file}


def file_without_tokenizer(folder: Path) -> dict:
    file = folder / "encoder.safetensors"
    shutil.copy(weights_file(clip_model(folder / "clip")), file)
    bundle = copy_bundle(folder / "bundle")
    shutil.rmtree(bundle / "tokenizer")
    return {"source": bundle, "text_encoder": file}


REFUSED = {
    "a transformer without a codec": (
        lambda folder: {"source": alone(folder / "tuned")},
        ["tuned has no subfolder vqvae", "give one as codec, or a base bundle"],
    ),
    "a transformer without a text encoder": (
        lambda folder: {"source": alone(folder / "tuned"), "codec": WHOLE},
        ["tuned has no subfolder text_encoder", "give a text encoder, or a base bundle"],
    ),
    "a file without its config": (
        lambda folder: {"source": file_alone(folder / "tuned"), "codec": WHOLE},
        [r"merged\.json is missing", "base bundle"],
    ),
    "a folder of folders": (
        lambda folder: {"source": below(folder / "DiMO").parent, "base": WHOLE},
        ["DiMO has no subfolder transformer", "it holds meissonic"],
    ),
    "an encoder of another width": (narrow_encoder, ["narrow gives hidden states of width 32", "takes 40"]),
    "a projection of another width": (narrow_projection, ["narrow gives pooled states of width 24", "takes 48"]),
    "a codec with other codes": (fewer_codes, ["codes and its transformer 64", "different models"]),
    "a codec that is none": (
        lambda folder: {"source": WHOLE, "codec": weights_file(WHOLE / "transformer")},
        ["holds no codec this pack knows"],
    ),
    "an encoder in OpenCLIP's form": (openclip_file, ["no text encoder this pack knows", "ln_final.bias"]),
    "an encoder that is a transformer": (
        lambda folder: {"source": WHOLE, "text_encoder": WHOLE / "transformer"},
        ["transformer holds no text encoder this pack knows"],
    ),
    "an encoder that is nowhere": (
        lambda folder: {"source": WHOLE, "text_encoder": folder / "none"},
        ["text_encoder is", "none"],
    ),
    "a base that is nowhere": (lambda folder: {"source": WHOLE, "base": "Meissonic"}, ["base is 'Meissonic'"]),
    "a tokenizer that is none": (
        lambda folder: {"source": WHOLE, "tokenizer": WHOLE / "vqvae"},
        [r"vqvae/vocab\.json is missing"],
    ),
    "a file without a tokenizer": (file_without_tokenizer, ["bundle has no subfolder tokenizer", "give a tokenizer"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case, tmp_path):
    make, pieces = REFUSED[case]
    given = make(tmp_path)
    check(lambda: load(**given), pieces)


def test_more_codes_than_the_transformer_knows_are_refused(bundle):
    name = "quantize.embedding.weight"
    edit_config(bundle / "vqvae", num_vq_embeddings=128)
    edit_weights(bundle / "vqvae", lambda held: held | {name: torch.cat([held[name]] * 2)})
    check(lambda: load(bundle), ("has 128 codes and its transformer 64",))


# The encoder that the authors load


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


def test_monetico_uses_its_own(as_published):
    assert load(bundles()[1]).advice == ""


def test_other_numbers_of_codes_are_no_published_weights(bundle):
    assert load(bundle).advice == "" and load("demo").advice == ""


def test_what_an_encoder_was_told_to_be_is_saved(as_published, bundle, clip, tmp_path):
    saved = mgt_core.save_bundle(load(bundle, text_encoder=clip, text_quantization="w8a16"), tmp_path / "saved")
    pipe = load(saved)
    assert pipe.text.checkpoint == LAION and pipe.advice == ""
