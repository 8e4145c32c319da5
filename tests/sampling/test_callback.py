"""What a callback sees of every step, and how it ends a run."""

import pytest
import torch

from mgt_core import SAMPLERS
from support.device import equal
from support.runs import GRID, PIPE, POSITIVE, STEPPED, every_sampler, every_stepped_sampler, partial, run, steps_of

# What these show may change from one candidate to another (tests/samplers/test_best_of.py, test_particles.py).
OF_CANDIDATES = {"best_of", "particles"}
COLD = {"magnet"}  # whose ids are drawn and scored at a temperature, at which they may be as good as certain


@pytest.mark.parametrize("sampler", [name for name in STEPPED if name not in OF_CANDIDATES])
def test_callback_sees_every_step(sampler):
    state = partial(torch.arange(48).reshape(2, *GRID) % 7 == 0)
    out, seen = steps_of(state, sampler=sampler, seed=11)
    before = state
    for index, step in enumerate(seen):
        result = step.result
        assert (step.index, step.total, step.seeds) == (index, 5, (11, 12))
        assert step.progress == (index + 1) / 5
        assert equal(step.tokens, before.tokens)
        left, was = (s.masked.flatten(1).sum(1) for s in (result, before))
        takes_back = SAMPLERS.get(sampler).takes_back
        if not takes_back or "zsampling" in sampler:
            assert bool((left < was).all())
        if not takes_back:
            assert bool((result.masked <= before.masked).all())
        revealed = before.masked & ~result.masked
        assert bool((result.revealed_at[revealed] == index).all())
        assert bool((result.revealed_at[result.masked] == -1).all())
        assert bool(result.confidence.isfinite().all()) and bool((result.confidence <= 0).all())
        assert sampler in COLD or bool((result.confidence[revealed] < 0).all())
        assert bool((result.confidence[result.masked] == 0).all())
        before = result
    assert torch.equal(before.tokens, out.tokens) and torch.equal(before.revealed_at, out.revealed_at)


@every_sampler
def test_what_a_callback_got_stays_as_it_was(sampler):
    kept = []

    def keep(step):
        kept.append((step, step.tokens.clone(), step.result.tokens.clone(), step.result.confidence.clone()))

    run(sampler=sampler, callback=keep)
    for step, tokens, after, confidence in kept:
        assert torch.equal(step.tokens, tokens) and torch.equal(step.result.tokens, after)
        assert torch.equal(step.result.confidence, confidence)


REDRAWS = {"gibbs"}  # some cells of a step's end, by a later look


@pytest.mark.parametrize(
    "sampler",
    [n for n in STEPPED if n not in REDRAWS | COLD and not SAMPLERS.get(n)().keeps_logits],  # which draw by others
)
def test_confidence_is_the_log_probability_of_the_token(sampler):
    """At the last step, where it can be recomputed from outside."""
    out, seen = steps_of(sampler=sampler, cfg=1.0)
    logits = PIPE.model.logits(seen[-1].tokens, POSITIVE, 0).log_softmax(-1).cpu()
    expected = logits.gather(-1, out.tokens[..., None])[..., 0]
    last = out.revealed_at == 4
    torch.testing.assert_close(out.confidence[last], expected[last], atol=1e-4, rtol=0)


class Cancelled(Exception):
    pass


@every_stepped_sampler
@pytest.mark.parametrize("at", [0, 2])
def test_cancelling_leaves_nothing_behind(sampler, at):
    expected = run(sampler=sampler)

    def cancel(step):
        if step.index == at:
            raise Cancelled

    with pytest.raises(Cancelled):
        run(sampler=sampler, callback=cancel)
    assert torch.equal(expected.tokens, run(sampler=sampler).tokens)
    assert not any(module._forward_hooks for module in PIPE.model.network.modules())
