"""What is said of the scale beside the weights and in headers, by PEFT and others."""

import json

import pytest
import torch

import mgt_core
from support.golden import bundles, pipeline
from support.loras import low_rank_pairs, random, save_parts, save_peft


@pytest.fixture(scope="module")
def pipe():
    return pipeline(bundles()[0])


@pytest.mark.parametrize(
    "notes",
    [
        {"ss_network_alpha": "64.0", "ss_network_dim": "32", "ss_network_module": "lycoris.kohya"},
        {"ss_network_args": '{"algo": "lokr", "dora_wd": "True"}', "ss_network_alpha": "None"},
        {"use_dora": "False", "use_rslora": "false", "modelspec.architecture": "meissonic/lora"},
        {"alpha": "3", "lora_adapter_metadata": '{"transformer.r": 2, "text_encoder.lora_alpha": 7}'},
    ],
)
def test_notes_in_headers_change_nothing(tmp_path, notes):
    parts = {"x.y": {"lora_down.weight": random(2, 3), "lora_up.weight": random(4, 2), "alpha": torch.tensor(3.0)}}
    assert mgt_core.LoRA.load(save_parts(tmp_path / "a.safetensors", parts, **notes)).updates["x.y"].scale == 1.5
    del parts["x.y"]["alpha"]
    assert mgt_core.LoRA.load(save_parts(tmp_path / "b.safetensors", parts, **notes)).updates["x.y"].scale == 1.0


@pytest.mark.parametrize("before", ["transformer.", "unet.", ""])
def test_diffusers_notes_say_the_scale(tmp_path, before):
    parts = {"x.y": {"lora_down.weight": random(2, 3), "lora_up.weight": random(4, 2)}}
    notes = {f"{before}lora_alpha": 4, f"{before}alpha_pattern": {"y": 6}, f"{before}use_rslora": True}
    file = save_parts(tmp_path / "a.safetensors", parts, lora_adapter_metadata=json.dumps(notes))
    assert mgt_core.LoRA.load(file).updates["x.y"].scale == pytest.approx(6 / 2**0.5)


@pytest.mark.parametrize("start", ["pissa", "PiSSA_niter_16", "olora", "corda", "loftq"])
def test_a_lora_of_other_weights_is_refused(pipe, tmp_path, start):
    """Its pair of matrices presumes weights that its beginning has changed."""
    pairs = low_rank_pairs(pipe.model.network)
    file = save_peft(tmp_path, pairs, 8.0, init_lora_weights=start)
    with pytest.raises(mgt_core.MGTError, match=f"adapter_model.safetensors was begun by {start.lower()}, which"):
        mgt_core.LoRA.load(file)
    for plain in (True, False, "gaussian", "eva", None):
        assert mgt_core.LoRA.load(save_peft(tmp_path, pairs, 8.0, init_lora_weights=plain)).updates


def test_settings_of_a_dora_without_magnitudes(pipe, tmp_path):
    file = save_peft(tmp_path, low_rank_pairs(pipe.model.network), 8.0, use_dora=True)
    with pytest.raises(mgt_core.MGTError, match="is a DoRA by its settings, and holds no magnitudes"):
        mgt_core.LoRA.load(file)
