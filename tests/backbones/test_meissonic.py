"""Meissonic beside its golden numbers."""

import torch

from mgt_core.backbones.meissonic.ends import rotary_tables


def test_tables_that_sampling_made_serve_training():
    with torch.inference_mode():
        tables = rotary_tables(3, (5, 7), (8, 12, 12))
    weight = torch.ones(38, 16, requires_grad=True)
    (weight * tables[0]).sum().backward()  # which takes what is kept of the table
    assert torch.equal(weight.grad, tables[0])
    assert rotary_tables(3, (5, 7), (8, 12, 12)) is tables
