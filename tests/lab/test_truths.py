"""The truths: conditionals, probabilities and draws against sums over all grids, written out another way."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mgt_core
from mgt_core.lab.chain import Chain, moving
from mgt_core.lab.codewords import Codewords
from mgt_core.lab.potts import Potts, class_bias
from mgt_core.lab.quadtree import Quadtree, morton
from support.lab import LARGE, LEVEL, LINE, SMALL, exact, laws, p_of


def potts_by_hand(grid, coupling, bias):
    height, width = grid
    found = []
    for digits in itertools.product(range(bias.shape[-1]), repeat=height * width):
        cells = digits[::-1]  # the first cell is the lowest digit
        rows = [cells[r * width : (r + 1) * width] for r in range(height)]
        same = sum(a == b for row in rows for a, b in zip(row, row[1:]))
        same += sum(a == b for one, two in zip(rows, rows[1:]) for a, b in zip(one, two))
        found.append(coupling * same + sum(float(bias[i, v]) for i, v in enumerate(cells)))
    return torch.tensor(found, dtype=torch.float64).softmax(0)


def quadtree_by_hand(stay, codes, grids):
    """Of 4 x 4 cells: the sum over the root and its four children."""

    def edge(level, parent, child):
        return (1 - stay[level]) / codes + stay[level] * (parent == child)

    quads = [
        [row * 4 + column for row in rows for column in columns]
        for rows in ((0, 1), (2, 3))
        for columns in ((0, 1), (2, 3))
    ]
    total = torch.zeros(len(grids), dtype=torch.float64)
    for root in range(codes):
        chance = torch.ones(len(grids), dtype=torch.float64)
        for cells in quads:
            below = torch.zeros(len(grids), dtype=torch.float64)
            for child in range(codes):
                leaves = torch.ones(len(grids), dtype=torch.float64)
                for cell in cells:
                    leaves *= (1 - stay[1]) / codes + stay[1] * (grids[:, cell] == child).double()
                below += edge(0, root, child) * leaves
            chance *= below
        total += chance / codes
    return total


def codewords_by_hand(truth, grids, words):
    chance = torch.zeros(len(grids), dtype=torch.float64)
    for word in words:
        same = (grids == truth.words[word]).double()
        chance += ((1 - truth.flip) * same + truth.flip / truth.codes).prod(1) / len(words)
    return chance


def chain_by_hand(truth, classes):
    found = []
    for digits in itertools.product(range(truth.codes), repeat=truth.cells):
        cells, total = digits[::-1], 0.0  # the first cell is the lowest digit
        for c in classes:
            steps = zip(cells, cells[1:])
            total += float(truth.first[c, cells[0]]) * math.prod(float(truth.transitions[c, a, b]) for a, b in steps)
        found.append(total / len(classes))
    return torch.tensor(found, dtype=torch.float64)


def conditional(truth, p, tokens):
    """[N, V] from a sum over all grids that agree with the known cells but the one in question."""
    grids, rows = truth.every_grid(), []
    for cell in range(truth.cells):
        known = (tokens != truth.mask_id) & (torch.arange(truth.cells) != cell)
        fits = (grids[:, known] == tokens[known]).all(1)
        rows.append(torch.bincount(grids[fits, cell], weights=p[fits], minlength=truth.codes))
    rows = torch.stack(rows)
    return rows / rows.sum(1, keepdim=True)


TREE = Quadtree(4, codes=2, stay=(0.7, 0.85))
BIAS = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(3))
FIELD = Potts((2, 3), codes=3, coupling=0.7, bias=BIAS)
WORDS = Codewords((2, 2), codes=3, words=4, flip=0.4, classes=2)
BY_HAND = {
    "potts, a class": (FIELD, 1, potts_by_hand((2, 3), 0.7, BIAS[1])),
    "potts, no class": (FIELD, -1, (potts_by_hand((2, 3), 0.7, BIAS[0]) + potts_by_hand((2, 3), 0.7, BIAS[1])) / 2),
    "quadtree": (TREE, 0, quadtree_by_hand((0.7, 0.85), 2, TREE.every_grid())),
    "codewords, a class": (WORDS, 1, codewords_by_hand(WORDS, WORDS.every_grid(), [1, 3])),
    "codewords, no class": (WORDS, -1, codewords_by_hand(WORDS, WORDS.every_grid(), range(4))),
    "chain, a class": (LINE, 1, chain_by_hand(LINE, [1])),
    "chain, no class": (LINE, -1, chain_by_hand(LINE, [0, 1])),
}


@pytest.mark.parametrize("name", BY_HAND)
class TestAgainstSums:
    def test_probabilities(self, name):
        truth, label, p = BY_HAND[name]
        torch.testing.assert_close(truth.probabilities(label), p, rtol=1e-9, atol=1e-12)

    @pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
    def test_conditionals_of_masked_and_of_known_cells(self, name, share):
        truth, label, p = BY_HAND[name]
        generator = torch.Generator().manual_seed(5)
        tokens = torch.randint(truth.codes, (6, truth.cells), generator=generator)
        tokens[torch.rand(tokens.shape, generator=generator) < share] = truth.mask_id
        found = truth.logits(tokens, torch.full((6,), label)).double().softmax(-1)
        for row, own in zip(tokens, found):
            torch.testing.assert_close(own, conditional(truth, p, row), rtol=1e-4, atol=1e-6)

    def test_what_known_cells_weigh(self, name):
        truth, label, p = BY_HAND[name]
        tokens = torch.full((1, truth.cells), truth.mask_id)
        tokens[0, ::2] = 1
        fits = (truth.every_grid()[:, ::2] == 1).all(1)
        assert truth.log_probability(tokens, torch.tensor([label])).exp().item() == pytest.approx(float(p[fits].sum()))


@pytest.mark.parametrize("label", [0, 1, -1])
@pytest.mark.parametrize("name", SMALL)
def test_draws_follow_the_truth(name, label):
    assert p_of(SMALL[name], exact(SMALL[name], 20_000, label), label=label) > LEVEL


def test_draws_of_a_tree_follow_it():
    assert p_of(TREE, exact(TREE, 200_000)) > LEVEL


@pytest.mark.parametrize("name", LARGE)
def test_logits_are_normalized_and_finite(name):
    truth = LARGE[name]
    tokens = exact(truth, 8)
    tokens[:, ::3] = truth.mask_id
    logits = truth.logits(tokens, torch.zeros(8, dtype=torch.long))
    assert logits.dtype == torch.float32 and logits.shape == (8, truth.cells, truth.codes)
    torch.testing.assert_close(logits.exp().sum(-1), torch.ones(8, truth.cells))


def test_entropies():
    """Exact ones, and those that are estimated, against sums."""
    for truth, label, p in BY_HAND.values():
        sure, found = -float((p * p.log()).sum()), truth.entropy(label)
        assert abs(found.value - sure) < 1e-9 + 4 * found.error
        assert (found.error == 0) == (isinstance(truth, Potts) or (isinstance(truth, Chain) and label >= 0))


def test_a_class_of_its_own_for_every_code():
    field = Potts((2, 2), codes=3, bias=class_bias((2, 2), 3, 1.0))
    tables = [field.logits(torch.full((1, 4), 3), torch.tensor([label]))[0] for label in range(3)]
    assert [int(table[0].argmax()) for table in tables] == [0, 1, 2]


def test_cells_of_a_tree_are_brothers_by_squares():
    assert morton(4)[:8].tolist() == [0, 1, 4, 5, 2, 3, 6, 7]


def test_agreement_of_a_tree():
    """Of brothers, cousins and cells that only the root joins, against draws."""
    truth = Quadtree(8, codes=4, stay=(0.5, 0.7, 0.9))
    tokens, found = exact(truth, 20_000), truth.agreement()
    for height, other in ((1, 1), (2, 2), (3, 4)):
        share = (tokens[:, 0] == tokens[:, other]).double().mean()
        assert abs(float(share) - found[height]) < 5 * math.sqrt(0.25 / 20_000)


def test_words_are_told_apart():
    truth = LARGE["codewords"]
    assert torch.equal(truth.word_of(truth.words), torch.arange(6))
    blank = torch.full((1, truth.cells), truth.mask_id)
    assert truth.word_entropy(torch.cat([truth.words, blank])).tolist() == pytest.approx(
        [0] * 6 + [math.log(6)], abs=0.01
    )


CHAINS = st.tuples(st.integers(1, 5), st.integers(2, 3), st.integers(1, 3), st.integers(0, 2**32 - 1))


@settings(deadline=None, max_examples=60)
@given(sizes=CHAINS, data=st.data())
def test_any_chain_with_any_cells_known(sizes, data):
    """Conditionals, weights and entropy against sums over all its grids."""
    cells, codes, classes, seed = sizes
    truth = Chain(cells, laws(classes, codes, codes, seed=seed), laws(classes, codes, seed=seed + 1))
    label = data.draw(st.integers(-1, classes - 1))
    p = chain_by_hand(truth, range(classes) if label < 0 else [label])
    tokens = torch.tensor(data.draw(st.lists(st.integers(0, codes), min_size=cells, max_size=cells)))
    found = truth.logits(tokens[None], torch.tensor([label]))[0].double().softmax(-1)
    torch.testing.assert_close(found, conditional(truth, p, tokens), rtol=1e-4, atol=1e-6)
    known = tokens != truth.mask_id
    fits = (truth.every_grid()[:, known] == tokens[known]).all(1)
    weight = truth.log_probability(tokens[None], torch.tensor([label])).exp().item()
    assert weight == pytest.approx(float(p[fits].sum()), rel=1e-6)
    entropy = truth.entropy(label)
    if label >= 0 or classes == 1:
        assert entropy.error == 0 and entropy.value == pytest.approx(-float((p * p.log()).sum()), rel=1e-9)


def test_long_chains_do_not_underflow():
    truth = Chain(256, moving(16, 0.3, 2))
    tokens = exact(truth, 4, label=-1)
    labels = torch.tensor([0, 1, -1, -1])
    assert truth.logits(tokens, labels).isfinite().all()
    by_steps = truth.first[0, tokens[0, 0]].log() + truth.transitions[0, tokens[0, :-1], tokens[0, 1:]].log().sum()
    assert truth.log_probability(tokens, labels)[0].item() == pytest.approx(by_steps.item(), rel=1e-9)


def test_how_fast_a_chain_forgets():
    truth, kept = Chain(20, moving(5, 0.8)), 0.8
    tokens = exact(truth, 20_000)
    for far in (1, 3, 8):
        share = (tokens[:, far:] == tokens[:, :-far]).double().mean(1)
        wanted = kept**far + (1 - kept**far) / 5
        assert abs(float(share.mean()) - wanted) < 5 * float(share.std()) / math.sqrt(len(share))


def test_classes_of_a_chain_move_on_by_as_many_codes():
    truth = Chain(3, moving(5, 0.9, 3))
    for label in range(3):
        told = truth.logits(torch.tensor([[2, 5, 5]]), torch.tensor([label]))[0]
        assert told.argmax(-1).tolist()[1:] == [(2 + label) % 5, (2 + 2 * label) % 5]


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Chain(4, torch.ones(3, 3)), r"the transitions of a chain are \[3, 3\]"),
        (lambda: Chain(4, "even"), "the transitions of a chain are str"),
        (lambda: Chain(4, torch.eye(3)[None]), "the transitions of a chain are no distributions"),
        (lambda: Chain(4, torch.full((1, 3, 3), math.nan)), "the transitions of a chain are no distributions"),
        (lambda: Chain(4, moving(3, 0.5), torch.ones(1, 3)), "the first codes of a chain are no distributions"),
        (lambda: Chain(4, moving(3, 0.5), laws(2, 3)), r"the first codes of a chain are \[2, 3\]; expected \[1, 3\]"),
        (lambda: Chain(0, moving(3, 0.5)), "grid width is 0"),
        (lambda: moving(3, 1.0), "kept share of a chain is 1"),
        (lambda: moving(3, 0.5, 4), "every class needs a code"),
        (lambda: Potts((4, 4), codes=4), "the table of a 4 x 4 field"),
        (lambda: Potts(coupling=math.nan), "coupling is nan"),
        (lambda: Potts(bias=torch.zeros(1, 9, 3)), r"the bias has shape \[1, 9, 3\]"),
        (lambda: Potts(codes=1), "codes is 1"),
        (lambda: Quadtree(12), "quadtree side is 12; accepted are powers of 2"),
        (lambda: Quadtree(8, stay=(0.5, 0.5)), "stay has 2 values"),
        (lambda: Quadtree(4, codes=2, classes=3), "every class needs a code"),
        (lambda: Codewords(words=2, classes=3), "every class needs a word"),
        (lambda: Codewords(flip=0.0), "flip is 0.0"),
        (lambda: Quadtree().every_grid(), "the truth has 16.256 grids"),
        (lambda: mgt_core.lab.backbone.lab_model("potts"), "lab_model was given str"),
    ],
)
def test_refusals(make, words):
    with pytest.raises(mgt_core.MGTError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)
