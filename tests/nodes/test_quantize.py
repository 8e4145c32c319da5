"""The nodes of quantization, without a host, on a tiny model."""

import sys
from dataclasses import replace

import pytest
import torch

import mgt_core
from mgt_core.errors import MGTError
from mgt_core.quantization.calibration import CalibrationRun
from mgt_core.quantization.layers import packed_layers
from support.device import HERE
from support.golden import bundles, pipeline
from support.pack import ALIAS, load_pack

NODES = load_pack().NODE_CLASS_MAPPINGS
SETTINGS = {
    "scheme": "w4a8",
    "group_size": "16",
    "int8_share": 0.333,
    "activation_scales": "static",
    "keep": "",
    "reconstruct": 0,
    "prompts": "a cat",
    "steps": 2,
    "states": 1,
    "seed": 0,
}


@pytest.fixture
def host(monkeypatch, tmp_path):
    host = sys.modules[f"{ALIAS}.nodes.host"]
    monkeypatch.setattr(host, "PACK", tmp_path)
    monkeypatch.setattr(host, "BUILT_IN", "tiny")
    bundle = str(bundles()[0])
    found = host.bundles
    monkeypatch.setattr(host, "bundles", lambda: {**found(), "tiny": bundle})
    return host


def calibrate(model=None, **changes):
    pipe = pipeline(bundles()[0])
    given = SETTINGS | {"text_encoder": pipe.text} | changes
    return NODES["MGTSCQCalibrate"]().calibrate(model or pipe.model, **given)["result"]


def test_fine_tuning_works_in_the_inference_mode_of_hosts():
    with torch.inference_mode():
        pipe = mgt_core.load(bundles()[0], **HERE)
        keep = "single_*\n*norm*\ntransformer_blocks.1.*"
        settings = {"scheme": "w4a16", "keep": keep, "text_encoder": pipe.text}
        models = (calibrate(pipe.model, **settings, reconstruct=steps)[0] for steps in (0, 5))
        plain, tuned = (packed_layers(model.network) for model in models)
    assert any(not torch.equal(layer.weight, plain[name].weight) for name, layer in tuned.items())


def tokens(model):
    pipe = pipeline(bundles()[0])
    state = mgt_core.empty_state(1, (4, 4), model.mask_id, model.codebook_size)
    return mgt_core.sample(model, state, pipe.text.encode("a cat"), pipe.text.encode(""), steps=2, cfg=2.0).tokens


def test_calibrate_save_and_load(host, tmp_path):
    seen = []
    with host.progress_to(lambda done, total, node_id: seen.append((done, total))):
        model, report, plot = calibrate(keep="modulation\ncontext_embedder")
    assert model.quantization == mgt_core.W4A8(keep=("modulation", "context_embedder"))
    assert "MB before" in report and "| context_embedder" not in report and plot.shape[-1] == 3
    assert seen[-1][0] == seen[-1][1] and len(seen) > 10
    pipe = pipeline(bundles()[0])
    save = NODES["MGTSaveModel"]().save
    (folder,) = save(model, pipe.codec, "small/w4a8", False, pipe.text)["result"]
    assert folder == str(tmp_path / "models" / "mgt" / "small" / "w4a8")
    with pytest.raises(MGTError, match="exists already"):
        save(model, pipe.codec, "small/w4a8", False, pipe.text)
    assert "small/w4a8" in host.bundles()
    loaded, _, _ = NODES["MGTLoadModel"]().load("small/w4a8", "float32", "none")
    assert torch.equal(tokens(loaded), tokens(model))


def test_calibrating_on_images():
    pipe = pipeline(bundles()[0])
    small = replace(pipe.model, trained_size=(32, 32))
    images = torch.rand(2, 40, 50, 3)
    with torch.inference_mode():
        for prompts in ("", "a cat", "a cat\na dog"):
            model, report, _ = calibrate(small, images=images, codec=pipe.codec, prompts=prompts, scheme="w4a8")
            assert model.quantization == mgt_core.W4A8() and "MB before" in report
        tuned = calibrate(small, images=images, codec=pipe.codec, scheme="w4a16", finetune=1)[0]
    assert packed_layers(tuned.network) and tuned.quantization == mgt_core.W4A16()
    with pytest.raises(MGTError, match="codec is not connected"):
        calibrate(small, images=images)
    with pytest.raises(MGTError, match="2 pictures and 3 prompts"):
        calibrate(small, images=images, codec=pipe.codec, prompts="a\nb\nc")
    with pytest.raises(MGTError, match="images are"):
        calibrate(small, images=images[0], codec=pipe.codec)


def test_widgets_younger_than_saved_workflows():
    model = calibrate(condition_scales="together", outputs="int8")[0]
    assert model.quantization == mgt_core.W4A8(condition_scales="together", outputs="int8")
    declared = NODES["MGTSCQCalibrate"].INPUT_TYPES()
    assert list(declared["optional"]) == ["text_encoder", "images", "codec", "condition_scales", "outputs", "finetune"]
    assert calibrate()[0].quantization == mgt_core.W4A8()
    assert calibrate(scheme="w8a8", activation_scales="dynamic")[0].quantization == mgt_core.W8A8(int8_share=1 / 3)


def test_quantization_when_loading(host, monkeypatch):
    monkeypatch.setattr("mgt_core.quantization.pipeline.LOAD_RUN", CalibrationRun(steps=2, states=1))
    seen = []
    with host.progress_to(lambda done, total, node_id: seen.append(node_id)):
        model, _, _ = NODES["MGTLoadModel"]().load("tiny", "float32", "w4a8", unique_id="7")
    assert model.quantization == mgt_core.W4A8() and set(seen) == {"7"}
    assert NODES["MGTLoadModel"]().load("tiny", "float32")[0].quantization is None
    with pytest.raises(MGTError, match="w5a5"):
        NODES["MGTLoadModel"]().load("tiny", "float32", "w5a5")


def test_cancelling_a_calibration(host, monkeypatch):
    def stop():
        raise InterruptedError

    monkeypatch.setattr(host, "raise_if_interrupted", stop)
    with pytest.raises(InterruptedError):
        calibrate()
    assert pipeline(bundles()[0]).model.quantization is None


def test_widgets_that_a_scheme_has_no_use_for(host):
    model, _, _ = calibrate(scheme="w8a16", int8_share=1.0, prompts="")
    assert model.quantization == mgt_core.W8A16()
    assert all(layer.settings.activations == "float" for layer in packed_layers(model.network).values())


def test_text_encoder_and_codec(host):
    pipe = pipeline(bundles()[0])
    node = NODES["MGTQuantizeParts"]()
    text, codec = node.quantize(pipe.codec, "w8a16", "fp8", pipe.text)
    assert packed_layers(text.network) and packed_layers(codec.network)
    assert text.encode("a cat").shapes == pipe.text.encode("a cat").shapes
    assert node.quantize(pipe.codec, "none", "none", pipe.text) == (pipe.text, pipe.codec)


@pytest.mark.parametrize("name", ["", "../elsewhere", "/tmp/elsewhere", " spaced "])
def test_names_that_lead_elsewhere(host, name):
    pipe = pipeline(bundles()[0])
    with pytest.raises(MGTError, match="name is"):
        NODES["MGTSaveModel"]().save(pipe.model, pipe.codec, name, False, pipe.text)


def test_missing_text_encoder(host):
    pipe = pipeline(bundles()[0])
    with pytest.raises(MGTError, match="text_encoder is not connected"):
        NODES["MGTSaveModel"]().save(pipe.model, pipe.codec, "x", False)
    with pytest.raises(MGTError, match="text encoder"):
        calibrate(text_encoder=None)


def test_placed_parts_own_their_weights(host, monkeypatch):
    """With a host that moves modules: what is quantized shares nothing with what it was made from."""
    placed = []

    class Placement:
        def __init__(self, network, load_device, offload_device):
            placed.append(network)

        def acquire(self, memory=0):
            return torch.device("cpu")

    monkeypatch.setattr(host, "_comfy", lambda name: object())
    monkeypatch.setattr(host, "_devices", lambda kind: (torch.device("cpu"), torch.device("cpu")))
    monkeypatch.setattr(host, "ManagedPlacement", Placement)
    model = pipeline(bundles()[0]).model
    copied = host.place(replace(model), "model")
    assert placed == [copied.network]
    own = {id(p) for p in copied.network.parameters()}
    assert not own & {id(p) for p in model.network.parameters()}
