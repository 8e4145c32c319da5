"""Fine-tuning of the whole network between the calibrations."""

from dataclasses import replace
from functools import cache

import pytest
import torch

import mgt_core
from mgt_core.errors import MGTError
from mgt_core.quantization.finetune import Student, normal
from mgt_core.quantization.layers import Treatment, packed_layers
from mgt_core.quantization.quantize import apply, layers_of
from mgt_core.quantization.schemes import SCHEMES
from mgt_core.quantization.session import Session
from support.device import DEVICE, HERE
from support.quantized import RUN, conditions, pipe, quantized, tokens, with_model

STATIC_FP8 = mgt_core.W8A8FP8(activation_scales="static")
TUNED = replace(RUN, finetune=3, batch=2, rate=1e-3)


@cache
def tuned():
    return mgt_core.quantize(pipe().model, "w4a8", *conditions(), TUNED)


def test_no_steps_change_nothing():
    done = mgt_core.quantize(pipe().model, "w4a8", *conditions(), replace(RUN, rate=1e-2, batch=7))
    assert done.report == quantized().report and done.calibration == quantized().calibration
    assert torch.equal(tokens(with_model(done.model)), tokens(with_model(quantized().model)))


def test_the_given_model_stays_and_nothing_is_shared():
    before = {name: value.clone() for name, value in pipe().model.network.state_dict().items()}
    done = tuned()
    assert all(torch.equal(value, before[name]) for name, value in pipe().model.network.state_dict().items())
    assert not any(parameter.requires_grad for parameter in pipe().model.network.parameters())
    own = {parameter.data_ptr() for parameter in done.model.network.parameters()}
    assert not own & {parameter.data_ptr() for parameter in pipe().model.network.parameters()}
    assert not any(parameter.requires_grad for parameter in done.model.network.parameters())


def test_what_is_not_packed_learns_too():
    assert not torch.equal(tuned().model.network.embed.embeddings.weight, pipe().model.network.embed.embeddings.weight)
    packed = packed_layers(quantized().model.network)
    assert any(
        not torch.equal(layer.weight, packed[n].weight) for n, layer in packed_layers(tuned().model.network).items()
    )
    assert tuned().calibration.finetuned == 3 and tuned().model.dtype == torch.float32


@pytest.mark.cpu_only("a GPU adds up gradients in any order")
def test_it_repeats_exactly():
    again = mgt_core.quantize(pipe().model, "w4a8", *conditions(), TUNED)
    assert again.report == tuned().report and torch.equal(
        tokens(with_model(again.model)), tokens(with_model(tuned().model))
    )


def test_the_bundle_comes_back_and_the_calibration_alone_is_refused(tmp_path):
    loaded = mgt_core.load(mgt_core.save_bundle(with_model(tuned().model), tmp_path / "saved"), **HERE)
    assert torch.equal(tokens(loaded), tokens(with_model(tuned().model)))
    tuned().calibration.save(tmp_path / "calibration.json")
    with pytest.raises(MGTError, match="fine-tuned by 3 steps"):
        apply(pipe().model, "w4a8", mgt_core.Calibration.load(tmp_path / "calibration.json"))


@pytest.mark.parametrize("scheme", [*(SCHEMES.get(name)() for name in SCHEMES.names()), STATIC_FP8], ids=str)
@torch.no_grad()
def test_a_student_computes_what_will_be_packed(scheme):
    """The loss of the rounded float network is that of the packed one on the same masked tokens."""
    session = Session.of(pipe().model, *conditions(1), RUN)
    session.states()
    how = {name: Treatment() for name in layers_of(pipe().model, scheme)}
    if scheme.static:
        how |= dict.fromkeys(list(how)[::2], Treatment("static", (0.03, 0.02), (0.04,)))
    student = Student(pipe().model.network, scheme, how, DEVICE)
    student.round()
    place, picture = session.finished[0]
    condition, picture = session.conditions[0][0].to(DEVICE), picture.to(DEVICE)
    state = session.some_masked(place, picture, torch.Generator().manual_seed(0))
    found = student.loss(state, picture.clone(), condition)
    packed = {name: layer.treated(how[name]) for name, layer in scheme.packed(pipe().model.network, how)}
    student.rounding = mgt_core.replaced(pipe().model.network, packed)
    assert float(found) == pytest.approx(float(student.loss(state, picture, condition)), rel=5e-3)
    assert not session.model.network.embed.embeddings.weight.requires_grad


def test_the_loss_falls():
    session = Session.of(pipe().model, *conditions(1), RUN)
    session.states()
    scheme = mgt_core.W4A8()
    with torch.inference_mode(False), torch.enable_grad():
        student = Student(
            pipe().model.network, scheme, dict.fromkeys(layers_of(pipe().model, scheme), Treatment()), DEVICE
        )
        optimizer = torch.optim.AdamW(student.network.parameters(), lr=2e-3)
        place, picture = session.finished[0]
        condition, picture = normal(session.conditions[place][0].to(DEVICE)), picture.to(DEVICE, copy=True)
        state = session.some_masked(place, picture, torch.Generator().manual_seed(0))
        losses = []
        for _ in range(8):
            student.round()
            loss = student.loss(state, picture, condition)
            losses.append(loss.item())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    assert losses[-1] < 0.7 * losses[0]


def test_in_the_inference_mode_of_hosts_and_half_precision():
    with torch.inference_mode():
        of = mgt_core.load(pipe().source.parent if pipe().source else None, dtype=torch.bfloat16, device=DEVICE)
        positive, negative = of.text.encode(["a cat"]), of.text.encode([""])
        done = mgt_core.quantize(of.model, "w4a16", positive, negative, replace(TUNED, finetune=1))
    assert done.model.dtype == torch.bfloat16


def test_progress_and_stopping():
    seen = []

    def progress(done, total):
        seen.append((done, total))

    mgt_core.quantize(pipe().model, "w4a8", *conditions(1), TUNED, progress)
    assert seen[-1][0] == seen[-1][1] and len(seen) == 3 + 3 * 2 + len(layers_of(pipe().model, mgt_core.W4A8())) + 3 * 2

    def stop(done, total):
        if done == 3 + 2 + 3:  # sampled, shown once, and a step and a half
            raise KeyboardInterrupt

    before = [parameter.clone() for parameter in pipe().model.network.parameters()]
    with pytest.raises(KeyboardInterrupt):
        mgt_core.quantize(pipe().model, "w4a8", *conditions(1), TUNED, stop)
    assert all(torch.equal(a, b) for a, b in zip(before, pipe().model.network.parameters(), strict=True))


BAD = [
    ({"finetune": -1}, "finetune is -1"),
    ({"finetune": 1.5}, "finetune is 1.5"),
    ({"rate": 0.0}, "the rate of fine-tuning is 0"),
    ({"rate": float("nan")}, "the rate of fine-tuning is nan"),
    ({"batch": 0}, "the batch of fine-tuning is 0"),
    ({"states": 0}, "states is 0"),
]


@pytest.mark.parametrize("settings, said", BAD)
def test_bad_settings(settings, said):
    with pytest.raises(MGTError, match=said) as caught:
        mgt_core.CalibrationRun(**settings)
    assert "\n" not in str(caught.value)
