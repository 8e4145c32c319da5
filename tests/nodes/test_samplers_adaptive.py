"""Samplers whose number of steps follows the picture, in MGT Sample: its bar and preview, what it counts, and what is
made of its tokens."""

import pytest
import torch

from mgt_core import EntropyBounded
from support.fake_comfy import FakeComfy
from support.node_runs import graph_of, run
from support.runs import PIPE

# Which on the tiny model take fewer steps than the graph asks for, but several.
QUICK = {
    "MGTSamplerEntropyBounded": {"bound": 4.0},
    "MGTSamplerKLASS": {"confidence": 0.0, "kl": 0.3, "cap": 0.2, "history": 1},
}
STEPS = 20


@pytest.fixture(params=QUICK)
def sampled(request):
    """Inputs of MGT Sample."""
    return graph_of(PIPE) | {"steps": STEPS, "sampler": run(request.param, **QUICK[request.param])[0]}


def test_the_node_makes_the_sampler():
    assert run("MGTSamplerEntropyBounded")[0] == EntropyBounded()
    noise = {"temperature_start": 3.0, "temperature_end": 1.0, "temperature_shape": "late"}
    found = run("MGTSamplerEntropyBounded", bound=5.0, order="margin", **noise)[0]
    assert found == EntropyBounded((3.0, 1.0), bound=5.0, order="margin", temperature_shape="late")
    left_open = run("MGTSamplerEntropyBounded", temperature_start=-1.0, temperature_end=-1.0)[0]
    assert left_open.temperature == (None, None)


def test_the_bar_ends_full_with_the_last_preview(monkeypatch, sampled):
    comfy = FakeComfy(monkeypatch)
    tokens, calls, _ = run("MGTSample", **sampled, unique_id="17")
    done, totals = [update[1] for update in comfy.updates], [update[2] for update in comfy.updates]
    assert 1 < len(done) < STEPS and done == list(range(1, len(done) + 1))
    assert all(now < total <= STEPS for now, total in zip(done[:-1], totals[:-1], strict=True))
    assert done[-1] == totals[-1] == calls and comfy.updates[-1][3] is not None
    assert not tokens.masked.any()


def test_what_looks_at_the_steps_finds_as_many_as_were_made(sampled):
    tokens, calls, _ = run("MGTSample", **sampled)
    assert int(tokens.revealed_at.max()) + 1 == calls
    frames = run("MGTSamplingAnimation", tokens=tokens, codec=PIPE.codec, frames_per_second=8.0, hold_last=0.0)[0]
    assert len(frames) == int(tokens.revealed_at[0].max()) + 2  # of the first image, and one where all is masked
    assert run("MGTRevealOrder", tokens=tokens, codec=PIPE.codec)[0].isfinite().all()


def test_the_same_seed_gives_the_same_picture(sampled):
    first, again = (run("MGTSample", **sampled)[0] for _ in range(2))
    assert torch.equal(first.tokens, again.tokens) and torch.equal(first.revealed_at, again.revealed_at)
