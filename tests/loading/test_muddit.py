"""Muddit as it is published: two transformers in a repository, the rest of it from Meissonic."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mgt_core
from mgt_core.backbones.meissonic.muddit import MudditTransformer
from support.bundles import edit_config, edit_weights
from support.device import HERE, equal
from support.muddit import OWN_MUDDIT

BASE = OWN_MUDDIT / "base"


@pytest.fixture
def repository(tmp_path) -> Path:
    """MeissonFlow/Muddit: of the two folders only one has the mask's embedding."""
    folder = tmp_path / "muddit"
    shutil.copytree(OWN_MUDDIT / "1024", folder / "1024")
    shutil.copytree(OWN_MUDDIT / "1024" / "transformer", folder / "512" / "transformer")
    return folder


def cut_off(file: Path) -> None:
    held = file.read_bytes()
    file.write_bytes(held[: len(held) // 2])


def load(source, **chosen) -> mgt_core.Pipeline:
    return mgt_core.load(source, **HERE, **{"base": BASE, **chosen})


@pytest.mark.parametrize("side", [512, 1024])
def test_each_size_with_its_base(repository, side):
    """Both networks halve the grid; only the folder tells what they were trained at."""
    for pipe in (load(repository / str(side)), load(repository / str(side) / "transformer")):
        assert isinstance(pipe.model.network, MudditTransformer)
        assert pipe.size == (side, side) and pipe.model.timestep_rule == "index_share"
        assert (pipe.model.network.mask_word is None) == (side == 512)
        assert (pipe.model.defaults["steps"], pipe.model.defaults["cfg"]) == (64, 9.0)
    pipe = mgt_core.load(BASE, transformer=repository / str(side), **HERE)
    assert pipe.size == (side, side) and (pipe.model.network.mask_word is None) == (side == 512)


def test_the_repository_itself_says_what_it_holds(repository):
    with pytest.raises(mgt_core.MGTError, match="it holds 1024, 512, which may be given"):
        load(repository)


def test_the_scheduler_of_a_bundle_overrides_the_rule(repository, tmp_path):
    base = Path(shutil.copytree(BASE, tmp_path / "base"))
    edit_config(base / "scheduler", timestep_rule="index")
    assert load(repository / "1024", base=base).model.timestep_rule == "index"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"t5_dim": 2304}, r"t5_dim 2304; only networks that read CLIP's states \(t5_dim null\)"),
        ({"downsample": False, "upsample": False}, "downsample false; Muddit's networks halve the grid"),
        ({"tokenizer_vocab_size": 0}, "tokenizer_vocab_size 0"),
        ({"tokenizer_vocab_size": "many"}, "tokenizer_vocab_size 'many'"),
    ],
)
def test_configs_that_no_network_has(repository, changes, words):
    edit_config(repository / "1024" / "transformer", **changes)
    with pytest.raises(mgt_core.MGTError, match=words) as caught:
        load(repository / "1024")
    assert "\n" not in str(caught.value)


def test_without_its_text_head_it_is_meissonic(repository):
    edit_weights(
        repository / "1024" / "transformer",
        lambda held: {name: value for name, value in held.items() if not name.startswith("text_decoder")},
    )
    assert load(repository / "1024").model.timestep_rule == "index"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda file: torch.save({"row": torch.ones(3)}, file), "holds dict; expected the one vector"),
        (lambda file: torch.save(torch.ones(2, 3), file), r"shape \[2, 3\]; expected the one vector"),
        (lambda file: torch.save(torch.full((3,), float("nan")), file), "not finite numbers"),
        (lambda file: file.write_bytes(b"no file of torch"), "mask_token_embedding.pth"),
        (lambda file: torch.save(Path("/"), file), "only plain tensors, numbers, texts and collections of them are"),
        (cut_off, "mask_token_embedding.pth"),
    ],
)
def test_a_mask_that_is_none(repository, content, words):
    content(repository / "1024" / "mask_token_embedding.pth")
    with pytest.raises(mgt_core.MGTError, match=words):
        load(repository / "1024")


def test_saved_and_read_back_with_its_mask(repository, tmp_path):
    pipe = load(repository / "512")
    whole = load(repository / "1024")
    for kept, name in ((pipe, "512"), (whole, "1024")):
        folder = mgt_core.save_bundle(kept, tmp_path / f"saved-{name}", overwrite=False)
        back = mgt_core.load(folder, **HERE)
        assert back.size == kept.size and back.model.timestep_rule == "index_share"
        assert isinstance(back.model.network, MudditTransformer)
        held = (kept.model.network.mask_word, back.model.network.mask_word)
        assert held == (None, None) if name == "512" else equal(*held)
        mgt_core.save_bundle(replace(back, model=kept.model), folder, overwrite=True)


def test_maskfocus_at_the_root_with_its_encoder(bundle, clip, tmp_path):
    """zghhui/Meissonic_MaskFocus_HPS: config and weights in the repository's folder; the encoder is a whole CLIP."""
    root = Path(shutil.copytree(bundle / "transformer", tmp_path / "Meissonic_MaskFocus_HPS"))
    pipe = mgt_core.load(root, base=bundle, text_encoder=clip, **HERE)
    assert not [name for name, _ in pipe.text.network.named_modules() if "vision" in name]
    own = mgt_core.load_text_encoder(clip, **HERE)
    assert equal(pipe.text.encode("a cat").hidden, own.encode("a cat").hidden)
    whole = mgt_core.load(bundle, **HERE)
    assert not equal(pipe.text.encode("a cat").hidden, whole.text.encode("a cat").hidden)
    assert all(
        equal(value, other)
        for value, other in zip(pipe.model.network.parameters(), whole.model.network.parameters(), strict=True)
    )
    assert pipe.advice == "" and pipe.name == "Meissonic_MaskFocus_HPS"
