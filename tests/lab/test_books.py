"""Books: a truth that is exact a row after the other, and what stages make of it."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mgt_core
from mgt_core import FixedOrder, StageSteps
from mgt_core.lab.backbone import all_masked, lab_model, labelled
from mgt_core.lab.books import Books, books_model
from mgt_core.lab.exact_kl import log_ratios
from mgt_core.lab.truth import Estimate
from support.device import equal
from support.lab import LEVEL, exact, p_of

SMALL, LARGE = Books((2, 3), 3, 0.5, 0.3), Books((4, 20), 6)
ONE = torch.zeros(1, dtype=torch.long)


def by_hand(truth, beside, above):
    """p of every grid, from the sentence that says what a cell is."""
    height, width = truth.grid
    found = []
    for digits in itertools.product(range(truth.codes), repeat=height * width):
        cells, chance = digits[::-1], 1.0  # the first cell is the lowest digit
        for row, column in itertools.product(range(height), range(width)):
            code = cells[row * width + column]
            share = (1 - beside - above) / truth.codes
            share += beside * (code == cells[row * width + column - 1] if column else 1 / truth.codes)
            share += above * (code == cells[(row - 1) * width + column] if row else 1 / truth.codes)
            chance *= share
        found.append(chance)
    return torch.tensor(found, dtype=torch.float64)


def run(truth, batch, steps, sampler="random", seed=0, patched=lambda model: model, state=None):
    sampler = FixedOrder(sampler) if isinstance(sampler, str) else sampler
    state = all_masked(truth, batch) if state is None else state
    return mgt_core.sample(
        patched(books_model(truth)), state, labelled(0), labelled(-1), sampler=sampler, steps=steps, cfg=1.0, seed=seed
    )


def test_probabilities_are_the_sentences():
    torch.testing.assert_close(SMALL.probabilities(), by_hand(SMALL, 0.5, 0.3), rtol=1e-9, atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(
    grid=st.sampled_from([(1, 4), (2, 3), (3, 2), (2, 1)]),
    shares=st.tuples(st.floats(0, 0.6), st.floats(0, 0.35)),
    data=st.data(),
)
def test_any_row_with_any_of_its_cells_known(grid, shares, data):
    """Against sums over all grids, the rows above known and those below not."""
    truth = Books(grid, 2, *shares)
    row = data.draw(st.integers(0, grid[0] - 1))
    cells = data.draw(st.lists(st.integers(0, 1), min_size=row * grid[1], max_size=row * grid[1]))
    cells += data.draw(st.lists(st.integers(0, 2), min_size=grid[1], max_size=grid[1]))
    tokens = torch.tensor(cells + [2] * (truth.cells - len(cells)))
    p, grids = by_hand(truth, *shares), truth.every_grid()
    found = truth.at_row(row, tokens[None].unflatten(1, grid))[0][0].double().softmax(-1)
    for column in range(grid[1]):
        known = (tokens != 2) & (torch.arange(truth.cells) != row * grid[1] + column)
        fits = (grids[:, known] == tokens[known]).all(1)
        wanted = torch.bincount(grids[fits, row * grid[1] + column], weights=p[fits], minlength=2)
        torch.testing.assert_close(found[column], wanted / wanted.sum(), rtol=1e-4, atol=1e-6)
    known = tokens != 2
    weight = float(p[(grids[:, known] == tokens[known]).all(1)].sum())
    assert truth.log_probability(tokens[None], ONE).exp().item() == pytest.approx(weight, rel=1e-6)


def test_draws_follow_it():
    assert p_of(SMALL, exact(SMALL, 20_000)) > LEVEL


def test_without_a_row_above_books_are_a_chain():
    """Entropies, for one: what the rows say of each other is what they have less than rows by themselves."""
    apart, together = (Books((3, 12), 4, 0.5, above).entropy(draws=4000) for above in (0.0, 0.3))
    single = Books((1, 12), 4, 0.5, 0.0).entropy(draws=4000)
    assert abs(apart.value - 3 * single.value) < 5 * math.hypot(apart.error, 3 * single.error)
    assert together.minus(apart).interval[1] < 0


@pytest.mark.parametrize("order", ["random", "raster", "halton"])
def test_one_cell_a_step_is_exact(order):
    """Picture by picture, by the chain rule over all stages; and counted."""
    after = run(LARGE, 8, LARGE.cells, order)
    ratios = log_ratios(LARGE, all_masked(LARGE, 8), after, ONE.expand(8))
    torch.testing.assert_close(ratios, torch.zeros(8).double(), rtol=0, atol=1e-3)
    assert p_of(SMALL, run(SMALL, 4096, SMALL.cells, order).tokens.flatten(1)) > LEVEL


@pytest.mark.parametrize("sampler", ["best_of", "particles"])
def test_candidates_stand_below_the_rows_of_their_own_grid(sampler):
    truth = Books((3, 12), 6, 0.1, 0.8)
    both = run(truth, 3, 12, mgt_core.SAMPLERS.get(sampler)(), seed=5).tokens
    for image in range(3):
        assert equal(
            both[image : image + 1], run(truth, 1, 12, mgt_core.SAMPLERS.get(sampler)(), seed=5 + image).tokens
        )


def test_fewer_steps_lie_farther_and_what_is_given_stays():
    far = [
        Estimate.of(log_ratios(LARGE, all_masked(LARGE, 256), run(LARGE, 256, steps), ONE.expand(256)))
        for steps in (8, 16, 40)
    ]
    assert far[0].minus(far[1]).interval[0] > 0 and far[1].minus(far[2]).interval[0] > 0 and far[2].interval[0] > 0


def test_steps_are_divided_as_a_patch_says():
    """All cells of the first row at once, those of the second one by one: the KL of the first row alone."""
    truth = Books((2, 12), 4)
    after = run(truth, 512, 13, patched=lambda model: model.with_patch(StageSteps((1, 12))))
    found = Estimate.of(log_ratios(truth, all_masked(truth, 512), after, ONE.expand(512)))
    row = Books((1, 12), 4, 0.5, 0.0)
    first, law = after.tokens[:, 0].cpu(), truth.at_row(0, after.tokens.cpu())[1]
    alone = Estimate.of(-first.shape[1] * math.log(4) - law)  # each code as likely, in every cell
    assert found.value == pytest.approx(alone.value, rel=1e-3) and row.entropy(draws=500).value < 12 * math.log(4)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Books(beside=0.7, above=0.3), "beside and above are 0.7 and 0.3"),
        (lambda: Books(above=-0.1), "above is -0.1"),
        (lambda: SMALL.at_row(1, torch.full((1, 2, 3), 3)), "row 1 of books is asked for before the row above it"),
        (lambda: SMALL.log_probability(torch.tensor([[3, 3, 3, 1, 1, 1]]), ONE), "row 1 of books is asked for before"),
        (lambda: SMALL.logits(torch.zeros(1, 6).long(), ONE), "books are exact a row after the other alone"),
        (lambda: run(SMALL, 2, 1), "steps is 1; this model fills 2 code books"),
        (lambda: books_model(lab_model), "books_model was given function"),
    ],
)
def test_refusals(make, words):
    with pytest.raises(mgt_core.MGTError, match=words):
        make()
