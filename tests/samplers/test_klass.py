"""KLASS: cells whose prediction is sure and has stopped moving."""

import math

import pytest
import torch

import mgt_core
from mgt_core import KLASS, MGTError
from mgt_core.samplers.klass import Stability, divergence
from mgt_core.types import Step
from support.device import agree
from support.lab import LARGE, sampled
from support.runs import empty, run

COLD = (0.0, 0.0)


def test_the_divergence_by_hand():
    """Of (1/2, 1/2, 0) from (1/4, 3/4, 0), and from what cannot give its second code."""
    p, q = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.25, 0.75, 0.0])
    expected = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)

    def of(p, q):
        return float(divergence(p.log().clamp_min(-1e4), q.log().clamp_min(-1e4)))

    assert of(p, q) == pytest.approx(expected) and of(p, p) == 0
    assert of(p, torch.tensor([1.0, 0.0, 0.0])) > 1000


def test_a_cell_is_quiet_after_as_many_small_changes_in_a_row():
    """Two cells: one that moves at the third evaluation, and one that is not looked at before the second."""
    watch = Stability(kl=0.1)
    still, moved = [2.0, 0.0], [0.0, 2.0]
    tables = [[still], [still, still], [moved, still], [moved, still]]
    found = []
    for logits in tables:
        positions = torch.arange(len(logits))[None]
        watch(torch.tensor([logits]), Step(0, 1, torch.zeros(1, 1, 2), positions=positions))
        found.append(watch.tables["quiet"].tolist()[0])
    assert found == [[0, 0], [1, 0], [0, 1], [1, 2]]
    assert watch.tables["top"][0].tolist() == pytest.approx([1 / (1 + math.exp(-2))] * 2)


@pytest.mark.parametrize("cap", [1.0, 0.05])
@pytest.mark.parametrize("history", [1, 2])
def test_a_run_keeps_what_the_rule_says(history, cap):
    """Step by step on a truth, whose predictions are known."""
    truth, seen = LARGE["quadtree"], []
    sampler = KLASS(COLD, confidence=0.6, kl=0.01, history=history, cap=cap)
    sampled(truth, 2, sampler=sampler, callback=seen.append)
    ps = [truth.logits(step.tokens.flatten(1), torch.zeros(2, dtype=torch.long)).softmax(-1).double() for step in seen]
    moved = [(p * (p.clamp_min(1e-30) / q.clamp_min(1e-30)).log()).sum(-1) for q, p in zip(ps, ps[1:], strict=False)]
    most, by_schedule = 0, mgt_core.SCHEDULES.get("cosine")()
    targets = by_schedule.targets(truth.cells, truth.cells)
    for index, step in enumerate(seen):
        before, after = step.tokens.flatten(1), step.result.tokens.flatten(1)
        masked, kept = before == truth.mask_id, (before == truth.mask_id) & (after != truth.mask_id)
        near = any((each - 0.01).abs().min() < 1e-6 for each in moved) or (ps[index].amax(-1) - 0.6).abs().min() < 1e-6
        assert not near  # nothing that rounding decides
        stable = torch.zeros_like(masked)
        if index >= history:
            stable = torch.stack([each < 0.01 for each in moved[index - history : index]]).all(0)
        ready = masked & stable & (ps[index].amax(-1) > 0.6)
        for image in range(2):
            now = int(masked[image].sum())
            allowed = min(int(ready[image].sum()), int(cap * truth.cells))
            scheduled = now - mgt_core.schedules.base.still_masked(targets[index], now, truth.cells - 1 - index)
            assert int(kept[image].sum()) == max(allowed, scheduled)
            first = kept if kept[image].sum() <= ready[image].sum() else ready
            second = ready if kept[image].sum() <= ready[image].sum() else kept
            assert bool((first <= second)[image].all())  # what is ready comes before all others
            most = max(most, allowed)
    assert most > 1 and len(seen) < truth.cells


def test_nothing_that_is_ready_is_maskgit():
    plain = run(empty(batch=2), sampler="maskgit", steps=9)
    for sampler in (KLASS(history=1000), KLASS(kl=0.0), KLASS(cap=0.0)):
        assert agree(run(empty(batch=2), sampler=sampler, steps=9).tokens, plain.tokens)


def test_the_memory_of_the_predictions_is_counted():
    assert KLASS().keeps_logits


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"confidence": 1.5}, "confidence threshold is 1.5"),
        ({"kl": -1}, "KL threshold is -1"),
        ({"history": 0}, "history is 0"),
        ({"cap": 2}, "cap is 2"),
    ],
)
def test_bad_settings(settings, words):
    with pytest.raises(MGTError, match=words):
        KLASS(**settings)
