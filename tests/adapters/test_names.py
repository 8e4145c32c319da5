"""Layers are found by whatever trainers and wrappers make of their names, and files by all endings of their tensors."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import mgt_core
from mgt_core.adapters.names import READINGS, Places, readings_of
from mgt_core.registry import BACKBONES
from support.bundles import (
    amused_bundle,
    dimoo_bundle,
    halton_bundle,
    magnet_bundle,
    mmada_bundle,
    muddit_bundle,
    openmuse_bundle,
    showo_bundle,
)
from support.device import HERE
from support.editmgt import editmgt_bundle
from support.golden import bundles, pipeline
from support.loras import linear_layers, logits, low_rank_pairs, save_kohya

FAMILIES = ("meissonic", "muddit", "openmuse", "amused", "halton", "editmgt", "lumina_dimoo", "show-o", "mmada")
FAMILIES += ("magnet",)


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    folder = tmp_path_factory.mktemp("families")
    made = {"openmuse": openmuse_bundle, "amused": amused_bundle, "halton": halton_bundle, "lumina_dimoo": dimoo_bundle}
    made |= {"show-o": showo_bundle, "mmada": mmada_bundle, "editmgt": editmgt_bundle, "muddit": muddit_bundle}
    made |= {"magnet": magnet_bundle}
    loaded = {name: mgt_core.load(build(folder / name), **HERE) for name, build in made.items()}
    return loaded | {"meissonic": pipeline(bundles()[0])}


def test_every_family_is_here():
    assert set(FAMILIES) == set(BACKBONES)


# How files write the name of a layer.
WRITTEN = {
    "as it is": "{dotted}",
    "kohya": "lora_unet_{flat}",
    "OneTrainer": "lora_transformer_{flat}",
    "OneTrainer, with dots": "lora_transformer.{dotted}",
    "LyCORIS": "lycoris_{flat}",
    "no prefix": "{flat}",
    "a prefix for all": "lora_{flat}",
    "with a dot at its end, as an underscore": "lora_unet_{flat}_",
    "diffusers": "transformer.{dotted}",
    "diffusers, of a U-Net": "unet.{dotted}",
    "PEFT": "base_model.model.{dotted}",
    "ComfyUI": "diffusion_model.{dotted}",
    "a checkpoint's": "model.diffusion_model.{dotted}",
    "ComfyUI, of one network": "lora_unet_dit_{flat}",
    "a training's own": "base_model.model.net.{dotted}",
    "a pipeline's": "pipe.transformer.{dotted}",
    "compiled": "_orig_mod.{dotted}",
    "compiled and flat": "lora_unet__orig_mod_{flat}",
    "parallel": "module.{dotted}",
    "of this pack's aMUSEd before": "uvit.{dotted}",
    "several at once": "base_model.model.module._orig_mod.model.{dotted}",
    "several, flat": "lycoris_model_diffusion_model_{flat}",
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("way", WRITTEN)
def test_every_layer_of_every_family(families, family, way):
    network = families[family].model.network
    places = Places(network)
    assert len(linear_layers(network)) > 10
    for name, (_, height) in linear_layers(network).items():
        place = places.find(WRITTEN[way].format(dotted=name, flat=name.replace(".", "_")))
        assert place == places.exact[name]
        assert place.path in dict(network.named_modules())
        assert place.rows is None or place.rows.stop - place.rows.start == height


@pytest.mark.parametrize("family", FAMILIES)
def test_all_other_modules_with_weights(families, family):
    """Norms, convolutions and embeddings, too, but nothing twice."""
    network = families[family].model.network
    places = Places(network)
    for path, module in network.named_modules():
        if isinstance(getattr(module, "weight", None), nn.Parameter):
            assert places.find(f"lora_unet_{path.replace('.', '_')}").path == path


@pytest.mark.parametrize("where", ["transformer_blocks.1.", "transformer_blocks.1.attn."])
@pytest.mark.parametrize("wrapper", ["_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"])
def test_wrappers_within(families, where, wrapper):
    places = Places(families["meissonic"].model.network)
    plain = "transformer_blocks.1.attn.to_k"
    wrapped = plain.replace(where, f"{where}{wrapper}.")
    assert places.find(wrapped) == places.find(plain) == places.find(f"lycoris_{wrapped.replace('.', '_')}")


@pytest.mark.parametrize("prefix", ["lora_unet_", "lora_transformer_", "lycoris_"])
@pytest.mark.parametrize("family", FAMILIES)
def test_files_of_kohya_and_lycoris_do_what_dotted_ones_do(families, tmp_path, family, prefix):
    pipe = families[family]
    inner = [name for name in linear_layers(pipe.model.network) if not name.startswith("mlm_layer.")]
    pairs = low_rank_pairs(pipe.model.network, targets=tuple(inner[1:6]))
    flat = {f"{prefix}{name.replace('.', '_')}": pair for name, pair in pairs.items()}
    expected = logits(pipe, pipe.model.with_lora(save_kohya(tmp_path / "dotted.safetensors", pairs, 2.0)))
    got = logits(pipe, pipe.model.with_lora(save_kohya(tmp_path / "flat.safetensors", flat, 2.0)))
    assert torch.equal(got, expected) and not torch.equal(got, logits(pipe))


def test_the_network_of_a_lora_has_the_same_names(families, tmp_path):
    pipe = families["meissonic"]
    pairs = low_rank_pairs(pipe.model.network)
    adapted = pipe.model.with_lora(save_kohya(tmp_path / "a.safetensors", pairs, 2.0))
    assert Places(adapted.network).exact == Places(pipe.model.network).exact


class Alike(nn.Module):
    """Two layers whose names differ by a dot."""

    uncalled = ()

    def __init__(self):
        super().__init__()
        self.attn_to = nn.ModuleDict({"q": nn.Linear(2, 2)})
        self.attn = nn.ModuleDict({"to_q": nn.Linear(2, 2), "to_k": nn.Linear(2, 2)})

    @staticmethod
    def renamed(name):
        return name


def test_two_layers_of_one_flat_name():
    places = Places(Alike())
    assert places.find("lora_unet_attn_to_k").path == "attn.to_k"
    assert places.find("transformer.attn_to.q").path == "attn_to.q"
    with pytest.raises(mgt_core.MGTError, match="lora_unet_attn_to_q may stand for attn_to.q, attn.to_q of this model"):
        places.find("lora_unet_attn_to_q")


@settings(deadline=None, max_examples=200)
@given(
    words=st.lists(st.sampled_from(["lora", "module", "model", "_orig_mod", "unet", "a", "attn_to"]), max_size=40),
    separators=st.randoms(use_true_random=False),
)
def test_readings_are_ends_of_a_name_and_few(words, separators):
    name = "".join(word + separators.choice("._") for word in words) + "q"
    bare = ".".join(part for part in name.split(".") if part not in ("_orig_mod", "module"))
    found = readings_of(name)
    assert found[0] == name and len(found) <= READINGS + 8
    assert all(name.endswith(reading) or bare.endswith(reading) for reading in found)
