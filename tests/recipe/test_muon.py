"""Muon: orthogonal updates at AdamW's scale, the same as torch's own but for its precision."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recipe.transformer.muon import Muon, orthogonalize


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 3), st.integers(1, 24), st.integers(1, 24), st.integers(0, 1000))
def test_singular_values_come_near_one(count, height, width, seed):
    generator = torch.Generator().manual_seed(seed)
    # Orthogonal factors with singular values that five iterations reach.
    u = torch.linalg.qr(torch.randn(count, height, height, generator=generator)).Q
    v = torch.linalg.qr(torch.randn(count, width, width, generator=generator)).Q
    rank = min(height, width)
    values = torch.rand(count, rank, generator=generator) * 0.9 + 0.1
    matrix = u[..., :rank] @ torch.diag_embed(values) @ v[..., :rank].mT
    found = torch.linalg.svdvals(orthogonalize(matrix))
    assert found.min() > 0.5 and found.max() < 1.3
    expected = u[..., :rank] @ torch.diag_embed(found.new_ones(rank)) @ v[..., :rank].mT
    assert ((orthogonalize(matrix) * expected).sum((1, 2)) / rank > 0.6).all(), "not along the matrix's own directions"


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon to compare with")
def test_same_steps_as_torch():
    torch.manual_seed(0)
    ours = [
        torch.randn(12, 40).requires_grad_(),
        torch.randn(12, 40).requires_grad_(),
        torch.randn(30, 8).requires_grad_(),
    ]
    theirs = [weight.detach().clone().requires_grad_() for weight in ours]
    pair = (
        Muon(ours, lr=0.01, weight_decay=0.1),
        torch.optim.Muon(theirs, lr=0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(4):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        for optimizer in pair:
            optimizer.step()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=2e-3, rtol=0)  # theirs iterates in bfloat16


def test_state_is_kept():
    weight = torch.randn(4, 6).requires_grad_()
    first, second = (Muon([weight], lr=0.01) for _ in range(2))
    weight.grad = torch.randn(4, 6)
    first.step()
    second.load_state_dict(first.state_dict())
    assert torch.equal(second.state[weight]["momentum"], first.state[weight]["momentum"])
