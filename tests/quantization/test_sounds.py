"""Quantization of sound: states are of one code book each, and sounds to look at are short."""

import json
from dataclasses import replace

import pytest
import torch

import mgt_core
from mgt_core.__main__ import main
from mgt_core.quantization.calibration import CalibrationRun
from mgt_core.quantization.later import calibrate_packed
from mgt_core.quantization.layers import packed_layers
from mgt_core.quantization.pipeline import calibration_conditions
from mgt_core.quantization.quantize import apply
from mgt_core.quantization.session import Session
from mgt_core.types import SOUND
from support.bundles import magnet_bundle
from support.device import HERE, equal
from support.families import FRAMES, blank
from support.staged import BOOKS, CODES, given, staged_model, text
from support.trials import is_sentence

RUN = CalibrationRun(steps=8, states=8, cfg=2.0, grid=(4, FRAMES))
TOKENS = torch.randint(32, (3, 4, FRAMES), generator=torch.Generator().manual_seed(1))
LAYERS = 2 * 10  # q, k, v and out twice, two of the MLP


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    return mgt_core.load(magnet_bundle(tmp_path_factory.mktemp("magnet") / "bundle"), **HERE)


def conditions(pipe):
    return calibration_conditions(pipe.model, pipe.text, ["a dog barks", "rain"])


def session(model, run=RUN, pictures=None, positive=None, negative=None) -> Session:
    positive, negative = positive or text(), negative or text(seed=1)
    return Session.of(model, positive, negative, replace(run, grid=None), pictures=pictures)


def test_states_are_of_every_book_as_sampling_passes_through_them():
    of = session(staged_model())
    states = of.states()
    assert [state.stage for state in states] == [0, 0, 0, 0, 1, 1, 2, 2] and len(of.finished) == 1
    for state in states:
        masked = (state.tokens == CODES)[0]
        assert not masked[: state.stage].any() and masked[state.stage + 1 :].all()
        assert masked[state.stage].any() and equal(state.cells[0], masked[state.stage].nonzero()[:, 0])


@torch.inference_mode()
def test_predictions_compared_are_those_of_the_stage():
    model = staged_model()
    of = session(model)
    states = of.states()
    for state, logits in zip(states, of.logits(model.network, states), strict=True):
        view = model.at_stage(state.stage, state.tokens)
        row = state.tokens[:, state.stage : state.stage + 1]
        positive, negative = (view.logits(row, c, 0.0)[0, 0, state.cells[0]] for c in (text(), text(seed=1)))
        torch.testing.assert_close(logits[0], negative + 2.0 * (positive - negative))


def test_given_sounds_have_a_book_masked_in_part_and_those_after_it():
    tokens = given(4).tokens
    states = session(staged_model(), pictures=tokens).states()
    assert {state.stage for state in states} == set(range(BOOKS)) and len(states) == 4 * RUN.states
    for number, state in enumerate(states):
        own, masked = tokens[number // RUN.states], (state.tokens == CODES)[0]
        assert not masked[: state.stage].any() and masked[state.stage + 1 :].all() and masked[state.stage].any()
        assert equal(state.tokens[0][~masked], own[~masked])


def test_how_guidance_falls_came_with_the_weights_and_other_patches_take_no_part(pipe):
    model = pipe.model.with_step_skipping().with_modifier(mgt_core.TopKTopP(k=1))
    own = Session.of(model, *conditions(pipe), RUN).model
    assert own.patches == pipe.model.patches and len(own.patches) == 1 and not own.modifiers


@pytest.mark.parametrize(("frames", "taken"), [(30, 30), (500, 500), (1500, 500)])
def test_sounds_that_are_made_to_be_looked_at_are_short(frames, taken):
    model = staged_model()
    longer = type("Longer", (type(model.network),), {"trained_grid": property(lambda self: (BOOKS, frames))})
    model.network.__class__ = longer
    assert session(model).grid == (BOOKS, taken)


@pytest.mark.parametrize("scheme", ["w4a8", "w4a16", "w8a8", "w8a16", "fp8"])
def test_every_scheme_keeps_most_of_what_is_predicted(pipe, scheme):
    done = mgt_core.quantize(pipe.model, scheme, *conditions(pipe), RUN)
    assert len(done.report.layers) == LAYERS and done.report.after < done.report.before
    assert done.report.agreement > 0.8 and done.report.shift < 0.3
    assert not any(name.startswith(("linears", "condition_provider")) for name in packed_layers(done.model.network))
    out = mgt_core.sample(done.model, blank(pipe), *conditions(pipe), steps=8)
    assert not out.masked.any()


def test_packed_first_and_calibrated_later(pipe):
    scheme = mgt_core.W4A8()
    packed = apply(pipe.model, scheme.weights_alone)
    model, calibration = calibrate_packed(packed, scheme, *conditions(pipe), RUN)
    assert model.quantization == scheme and len(calibration.layers) == LAYERS
    assert any(how.kind == "static" for how in calibration.layers.values())


def test_a_calibration_packs_the_same_again(pipe):
    done = mgt_core.quantize(pipe.model, "w4a8", *conditions(pipe), RUN)
    again = apply(pipe.model, "w4a8", done.calibration)
    a, b = (mgt_core.sample(m, blank(pipe), *conditions(pipe), steps=8).tokens for m in (done.model, again))
    assert equal(a, b)


def test_fine_tuning_on_given_sounds_learns(pipe):
    run = replace(RUN, states=2, finetune=4, rate=1e-3, batch=4)
    positive, negative = pipe.text.encode(["rain"]), pipe.text.encode([""])
    done = mgt_core.quantize(pipe.model, "w4a8", positive, negative, run, pictures=TOKENS)
    assert done.calibration.finetuned == 4
    changed = [
        not equal(value, pipe.model.network.get_parameter(name))
        for name, value in done.model.network.named_parameters()
        if name.startswith("emb.") and name in dict(pipe.model.network.named_parameters())
    ]
    assert changed and all(changed)


def test_prompts_to_calibrate_on_are_of_sounds(pipe):
    positive, negative = calibration_conditions(pipe.model, pipe.text)
    assert positive.batch == negative.batch == 4 and pipe.model.makes == SOUND
    assert not equal(positive.hidden, pipe.text.encode(list(mgt_core.quantization.calibration.PROMPTS)).hidden)


def test_the_command_writes_a_bundle_that_loads(pipe, tmp_path):
    source = magnet_bundle(tmp_path / "bundle")
    main(["quantize", str(source), str(tmp_path / "packed"), "--states", "4", "--steps", "8", "--device", "cpu"])
    assert json.loads(next((tmp_path / "packed").rglob("calibration.w4a8.json")).read_text())["layers"]
    loaded = mgt_core.load(tmp_path / "packed", **HERE)
    assert loaded.model.quantization == mgt_core.W4A8() and loaded.size is None
    out = mgt_core.sample(loaded.model, blank(loaded), *conditions(loaded), steps=8)
    assert loaded.codec.decode(out).shape == (2, 1, FRAMES * loaded.codec.scale)


@pytest.mark.parametrize("options", [["--pictures", "."], ["--codec", "w8a16"], ["--steps", "3"]])
def test_what_the_command_refuses_is_told_in_a_sentence(options, tmp_path, capsys):
    source, given = magnet_bundle(tmp_path / "bundle"), ["--steps", "4", "--states", "1", "--device", "cpu", *options]
    assert main(["quantize", str(source), str(tmp_path / "packed"), *given]) == 1
    words = capsys.readouterr().err.splitlines()[-1]
    assert is_sentence(words) and any(word in words for word in ("sound", "code books", "packed"))
    assert not (tmp_path / "packed").exists()
