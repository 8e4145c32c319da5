"""Text encoders from elsewhere: whole CLIP models, files alone, those of other bundles, and their tokenizers."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import mgt_core
from mgt_core.conditioning.clip import CLIPText
from mgt_core.loading import official, weights
from support.bundles import REMOVED, copy_bundle, edit_config, edit_weights, weights_file
from support.device import DEVICE, HERE
from support.encoders import clip_model, edit_text_config, pickled
from support.golden import bundles

WHOLE = bundles()[0]
PROMPTS = ["a cat", "a red dog in a house", ""]


def load(source, **chosen) -> mgt_core.Pipeline:
    return mgt_core.load(source, **HERE, **chosen)


def by_transformers(folder: Path, ids: torch.Tensor):
    """Penultimate states and projected ones, of the class that Meissonic's scripts load."""
    from transformers import CLIPTextModelWithProjection

    network = CLIPTextModelWithProjection.from_pretrained(folder).eval()
    with torch.inference_mode():
        out = network(ids, output_hidden_states=True)
    return out.hidden_states[-2].to(DEVICE), out.text_embeds.to(DEVICE)


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
    expected = mgt_core.load_text_encoder(folder, **HERE).encode(PROMPTS)
    ours = mgt_core.load_text_encoder(file, **HERE, tokenizer=folder).encode(PROMPTS)
    assert torch.equal(ours.hidden, expected.hidden) and torch.equal(ours.pooled, expected.pooled)
    shutil.copy(folder / "config.json", file.with_suffix(".json"))
    edit = json.loads(file.with_suffix(".json").read_text())
    edit["text_config"]["num_attention_heads"] = 4
    file.with_suffix(".json").write_text(json.dumps(edit))
    other = mgt_core.load_text_encoder(file, **HERE, tokenizer=folder)
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
    assert mgt_core.load_text_encoder("demo", **HERE).network.config.projection_dim == 192


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


@pytest.mark.parametrize("prefix", ["text_model.", ""], ids=["with the prefix", "without"])
def test_names_as_each_generation_of_transformers_has_them(bundle, prefix):
    """transformers 5 gives a CLIPTextModel's without "text_model."; whichever saved it, the network is the same."""
    before = load(bundle).text.encode(PROMPTS)
    edit_weights(
        bundle / "text_encoder",
        lambda held: {name.replace("text_model.", prefix): value for name, value in held.items()},
    )
    edit_config(bundle / "text_encoder", torch_dtype=REMOVED, dtype="float32", transformers_version="5.24.0")
    ours = load(bundle).text.encode(PROMPTS)
    assert torch.equal(ours.hidden, before.hidden) and torch.equal(ours.pooled, before.pooled)


def test_an_encoder_without_its_projection_says_how_it_is_saved_with_it(bundle):
    """Both as CLIPTextModel saves it."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig.from_pretrained(bundle / "text_encoder")
    shutil.rmtree(bundle / "text_encoder")
    CLIPTextModel(config).save_pretrained(bundle / "text_encoder")
    with pytest.raises(mgt_core.MGTError, match="text_projection.weight, as a CLIPTextModel .*WithProjection"):
        load(bundle)
