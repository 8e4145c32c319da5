"""The laboratory as its nodes offer it: truths and errors by name, and a report that tells right from wrong."""

import re

import pytest
import torch

import mgt_core
from mgt_core import FixedOrder, MGTError
from mgt_core.lab.backbone import labelled
from mgt_core.lab.choices import ERRORS, TRUTHS, lab_choice
from mgt_core.lab.sheet import sheet, truth_of
from support.runs import PIPE


def run(model, batch=64, **settings):
    height, width = model.network.trained_grid
    state = mgt_core.empty_tokens(model, height=height, width=width, batch=batch)
    return mgt_core.sample(model, state, labelled(0), labelled(-1), seed=3, **settings)


def figures(text, words):
    """The numbers of the line that begins with `words`: value, and the ends of its interval or what chance gives."""
    (line,) = [line for line in text.splitlines() if line.startswith(words)]
    return [float(number) for number in re.findall(r"[-+]?\d+\.\d+", line)]


@pytest.mark.parametrize("truth", TRUTHS)
@pytest.mark.parametrize("error", ERRORS)
def test_errors_act_and_none_of_size_0_does(truth, error):
    exact, spoiled = lab_choice(truth), lab_choice(truth, error, 1.0)
    tokens = run(exact, batch=20, steps=2, sampler="halton").tokens
    half = tokens.clone()
    half[..., ::2] = exact.mask_id
    logits = [
        model.logits(half, labelled(0), 0.0).log_softmax(-1)
        for model in (exact, spoiled, lab_choice(truth, error, 0.0))
    ]
    assert torch.equal(logits[0], logits[2])
    assert torch.equal(logits[0], logits[1]) == (error == "none")
    assert truth_of(spoiled) is truth_of(exact)


def test_the_report_finds_exact_decoding_right_and_confidence_too_sure():
    model = lab_choice("Potts field, 3 x 3")
    right = sheet(model, run(model, 2000, steps=9, sampler=FixedOrder()))
    variation, _, high = figures(right.text, "total variation")
    assert variation < high * 1.1
    value, low, high = figures(right.text, "nats a token")[:3]
    assert low - 0.01 < 0 < high + 0.01
    wrong = sheet(model, run(model, 2000, steps=9, temperature=0.0))
    variation, _, high = figures(wrong.text, "total variation")
    assert variation > 2 * high
    assert figures(wrong.text, "nats a token")[2] < 0 < figures(wrong.text, "neighbours")[1]
    differ, _, upper, truth = figures(wrong.text, "cells in which")
    assert differ < upper < truth
    assert right.image.shape == wrong.image.shape and right.image.shape[0] == 1
    assert 0 <= float(right.image.min()) < float(right.image.max()) <= 1
    assert not torch.equal(right.image, wrong.image)


@pytest.mark.parametrize("truth", list(TRUTHS)[1:])
def test_of_large_truths(truth):
    model = lab_choice(truth)
    found = sheet(model, run(model, batch=20, steps=2))
    assert "total variation" not in found.text, "a histogram of so many pictures says nothing"
    assert len(found.text.splitlines()) == 4


def test_bad_input_gets_a_sentence(tmp_path):
    model = lab_choice("Potts field, 3 x 3")
    with pytest.raises(MGTError, match="truth is 'Ising', but the known ones are Potts"):
        lab_choice("Ising")
    with pytest.raises(MGTError, match="error is 'bias', but"):
        lab_choice("Potts field, 3 x 3", "bias")
    with pytest.raises(MGTError, match="error_size is 2"):
        lab_choice("Potts field, 3 x 3", "none", 2)
    with pytest.raises(MGTError, match="there are 19 pictures; at least 20"):
        sheet(model, run(model, 19))
    with pytest.raises(MGTError, match="still masked"):
        sheet(model, mgt_core.empty_tokens(model, height=3, width=3, batch=20))
    with pytest.raises(MGTError, match="belong to another model"):
        sheet(lab_choice("code words, 8 x 8"), run(model, 20))
    with pytest.raises(MGTError, match="none of the laboratory's"):
        sheet(PIPE.model, run(model, 20))
