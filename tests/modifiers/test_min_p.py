"""Min-p: what it leaves to be drawn."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mgt_core

few = settings(max_examples=50, deadline=None, derandomize=True, database=None)
STEP = mgt_core.Step(0, 4, torch.zeros(1, 2, 2, dtype=torch.long))


def cut(logits: torch.Tensor, p: float) -> torch.Tensor:
    return mgt_core.MinP(p).begin()(logits, STEP)


@few
@given(rows=st.integers(1, 5), codes=st.integers(1, 40), p=st.floats(0.001, 1), seed=st.integers(0, 99))
def test_what_is_left_is_likely_beside_the_likeliest(rows, codes, p, seed):
    logits = 4 * torch.randn(1, rows, codes, generator=torch.Generator().manual_seed(seed))
    before, after = logits.double().softmax(-1), cut(logits, p)
    left = after.isfinite()
    share = before / before.amax(-1, keepdim=True)
    assert bool(left[share >= p + 1e-4].all()) and not bool(left[share < p - 1e-4].any())
    assert bool(left.gather(-1, logits.argmax(-1, keepdim=True)).all())  # the likeliest one always
    assert torch.equal(after[left], logits[left])


def test_the_ends():
    logits = torch.tensor([[[0.0, 1.0, -40.0]]])
    assert torch.equal(cut(logits, 0.0), logits)
    assert cut(logits, 1.0).isfinite().tolist() == [[[False, True, False]]]


@pytest.mark.parametrize("p", [-0.1, 1.5, float("nan")])
def test_another_share_is_refused(p):
    with pytest.raises(mgt_core.MGTError, match="min-p is .*; accepted are numbers from 0 to 1"):
        mgt_core.MinP(p)
