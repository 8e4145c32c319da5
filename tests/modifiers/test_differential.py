"""Differential sampling: as the authors' code acts, and as the paper's text reads."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mgt_core
from mgt_core import DifferentialSampling, Step
from mgt_core.modifiers.differential import RULES
from support.device import HERE

CELLS, CODES, STEPS = 12, 8, 6


def step(index: int, steps: int = STEPS) -> Step:
    everywhere = torch.arange(CELLS)[None]
    tokens = torch.full((1, 3, 4), CODES)
    return Step(index, steps, tokens, positions=everywhere, masked=torch.ones_like(everywhere, dtype=torch.bool))


def changed(rule: str, logits: torch.Tensor, indices=range(STEPS), **settings) -> list[set[int]]:
    """Cells that each step replaces, of a model that always says the same."""
    active = DifferentialSampling(0.5, rule=rule, **settings).begin()
    different = [(active(logits, step(i)) - logits).abs().amax(-1)[0] > 1e-6 for i in indices]
    return [set(cells.nonzero().flatten().tolist()) for cells in different]


@pytest.fixture
def logits():
    return 4 * torch.randn(1, CELLS, CODES, generator=torch.Generator().manual_seed(0))


def test_released_leaves_the_first_and_the_last_step_alone(logits):
    cells = changed("released", logits)
    assert not cells[0] and not cells[-1]
    assert all(len(each) == CELLS // 2 for each in cells[1:-1])


def test_released_does_not_replace_the_same_cells_twice_in_a_row(logits):
    """What a cell was drawn from is what its next prediction is compared with: a replaced one has moved."""
    cells = changed("released", logits)
    assert all(not a & b for a, b in zip(cells, cells[1:], strict=False))


def test_formula_replaces_the_same_cells_to_the_end(logits):
    cells = changed("formula", logits)
    assert not cells[0] and len({frozenset(each) for each in cells[1:]}) == 1 and cells[-1]


def test_a_run_that_begins_late_leaves_its_last_step_alone(logits):
    assert not changed("released", logits, range(3, STEPS))[-1]


def test_the_rules_differ_in_a_run_and_each_run_starts_anew():
    pipe = mgt_core.load("demo", **HERE)
    conditions = pipe.text.encode(["a red heart"]), pipe.text.encode([""])
    tokens = {}
    for rule in RULES:
        model = pipe.model.with_modifier(DifferentialSampling(0.75, rule=rule))
        empty = mgt_core.empty_tokens(pipe, 128, 128)
        once, again = (mgt_core.sample(model, empty, *conditions, steps=4, cfg=2.0).tokens for _ in range(2))
        assert torch.equal(once, again)
        tokens[rule] = once
    assert not torch.equal(*tokens.values())


@given(st.floats(0, 1), st.sampled_from(RULES), st.integers(2, 7), st.integers(0, 2**31))
def test_what_comes_out_can_be_drawn_from(share, rule, steps, seed):
    """Finite logits of the same shape; the share of the cells, and no more, is replaced."""
    generator, active = torch.Generator().manual_seed(seed), DifferentialSampling(share, rule=rule).begin()
    count = int(torch.tensor(CELLS) * share)  # in float32, where a share of 1 - 1e-16 is all
    for index in range(steps):
        given = 3 * torch.randn(1, CELLS, CODES, generator=generator)
        out = active(given, step(index, steps))
        assert out.shape == given.shape and bool(out.isfinite().all())
        assert int(((out - given).abs().amax(-1) > 0).sum()) <= count


def test_unknown_rule():
    with pytest.raises(mgt_core.MGTError, match="differential rule is 'paper'; accepted are"):
        DifferentialSampling(rule="paper")
