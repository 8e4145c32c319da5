"""MaskGIT's step: how many cells it keeps, and which."""

import pytest
import torch

import mgt_core
from mgt_core.sampling.draws import GeneratorDraws
from support.runs import GRID, empty, partial, run, steps_of


@pytest.mark.parametrize("schedule", mgt_core.list_schedules())
@pytest.mark.parametrize("steps", [5, 30])
def test_maskgit_follows_the_schedule(schedule, steps):
    state = partial(torch.arange(24).reshape(1, *GRID) < 5)
    _, seen = steps_of(state, schedule=schedule, steps=steps, cfg=1.0)
    family = mgt_core.SCHEDULES.get(schedule)()
    assert [int(step.result.masked.sum()) for step in seen] == family.counts(steps, 19)


def test_one_temperature_falls_to_a_hundredth():
    assert mgt_core.MaskGIT(temperature=2.0).temperature == (2.0, 0.01)
    assert mgt_core.MaskGIT(temperature=[3, 1]).temperature == (3.0, 1.0)


@pytest.mark.parametrize("seed", [0, 1])
def test_cold_runs_keep_the_surest_cells(seed):
    """At temperature 0 the log-probability of the drawn tokens alone decides which cells are kept."""
    drawn = {}

    class Watched(GeneratorDraws):
        def chooser(self, step):
            choose = super().chooser(step)

            def watched(logits, positions):
                ids = choose(logits, positions)
                drawn[step.index] = positions, logits.log_softmax(-1).gather(-1, ids[..., None])[..., 0]
                return ids

            return watched

    state = empty(batch=2)
    _, seen = steps_of(state, sampler=mgt_core.MaskGIT(temperature=(0.0, 0.0), draws=Watched), seed=seed)
    for step in seen[:-1]:
        positions, sureness = (values.cpu() for values in drawn[step.index])
        dropped = step.result.masked.flatten(1).gather(1, positions)
        for values, out in zip(sureness, dropped, strict=True):
            assert values[~out].min() >= values[out].max() - 1e-5


def test_temperature_matters():
    cold, hot = run(temperature=(0.0, 0.0)), run(temperature=(50.0, 50.0))
    assert not torch.equal(cold.revealed_at, hot.revealed_at)
