"""EB-Sampler: the largest set of the surest cells within the bound."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mgt_core import EntropyBounded, MGTError
from mgt_core.samplers.entropy_bounded import PROXIES, within
from support.device import agree
from support.lab import LARGE, sampled
from support.runs import empty, few, run

ORDERS = ["entropy", "confidence", "margin"]


def rows(*values):
    """log p [V] from probabilities."""
    return torch.tensor(values).log()


@pytest.mark.parametrize(
    ("name", "sureness"), [("entropy", -1.5 * math.log(2)), ("confidence", math.log(0.5)), ("margin", math.log(0.25))]
)
def test_a_proxy_by_hand(name, sureness):
    """0.5, 0.25, 0.25: 1.5 bits."""
    assert float(PROXIES[name](rows(0.5, 0.25, 0.25))) == pytest.approx(sureness)


@pytest.mark.parametrize("name", ORDERS)
def test_proxies_of_codes_that_cannot_be_drawn_and_of_ties(name):
    sure, even = PROXIES[name](rows(0.0, 1.0, 0.0)), PROXIES[name](rows(0.5, 0.5, 0.0))
    assert float(sure) == 0 and even.isfinite() and even < -0.6


def test_the_paper_s_rule_by_hand():
    """Entropies 0.1, 0.2, 0.3 and 0.9: sums less the largest 0, 0.1, 0.3 and 0.6."""
    entropies = torch.tensor([[0.9, 0.2, 0.1, 0.3, 7.0]])
    cells = torch.tensor([[True, True, True, True, False]])

    def count(bound):
        return within(bound, entropies, -entropies, cells).tolist()

    assert [count(bound) for bound in (0.0, 1e-3, 0.11, 0.31, 0.61)] == [[0], [1], [2], [3], [4]]


@few
@given(st.integers(1, 30), st.integers(0, 2**20), st.floats(0, 20))
def test_it_is_the_largest_prefix(cells, seed, bound):
    """By going through all of them; in an order that is not that of the entropies."""
    generator = torch.Generator().manual_seed(seed)
    entropies, sureness = torch.rand(2, 3, cells, generator=generator) * 3
    masked = torch.rand(3, cells, generator=generator) < 0.7
    expected = []
    for image in range(3):
        own = [
            (float(s), float(h)) for s, h, m in zip(sureness[image], entropies[image], masked[image], strict=True) if m
        ]
        held = [h for _, h in sorted(own, reverse=True)]
        sums = [sum(held[:k]) - max(held[:k]) for k in range(1, len(held) + 1)]
        assert sums == pytest.approx(sorted(sums))  # so that there is one largest
        expected.append(sum(value < bound - 1e-4 for value in sums))
        if any(abs(value - bound) < 1e-4 for value in sums):
            return
    assert within(bound, entropies, sureness, masked).tolist() == expected


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("bound", [0.4, 2.0])
def test_a_run_keeps_what_the_rule_says(order, bound):
    """Step by step on a truth, whose predictions are known: how many cells, and that they are the surest."""
    truth, seen = LARGE["quadtree"], []
    sampler = EntropyBounded((0.0, 0.0), bound=bound, order=order)
    sampled(truth, 2, sampler=sampler, callback=seen.append)
    more = 0
    for step in seen:
        before, after = step.tokens.flatten(1), step.result.tokens.flatten(1)
        log_p = truth.logits(before, torch.zeros(2, dtype=torch.long)).log_softmax(-1)
        for image in range(2):
            masked = before[image] == truth.mask_id
            kept = masked & (after[image] != truth.mask_id)
            if not masked.any():
                continue
            own = log_p[image].double()
            sure, entropies = PROXIES[order](own), -(own.exp() * own).sum(-1)
            assert sure[kept].min() >= sure[masked & ~kept].max() - 1e-5 if kept.sum() < masked.sum() else True
            held = entropies[kept]
            one_more = sure.masked_fill(~masked | kept, -torch.inf).argmax()
            assert kept.sum() == 1 or held.sum() - held.max() < bound + 1e-4
            if kept.sum() < masked.sum():
                with_it = torch.cat([held, entropies[one_more, None]])
                assert with_it.sum() - with_it.max() > bound - 1e-3 or order != "entropy"
            more += int(kept.sum() > 1)
    assert more > 2


def test_order_and_temperature_decide():
    settings = {"steps": 24, "seed": 3}
    found = {order: run(sampler=EntropyBounded((0.0, 0.0), order=order), **settings).revealed_at for order in ORDERS}
    assert not torch.equal(found["entropy"], found["confidence"])
    hot = run(sampler=EntropyBounded((5.0, 5.0)), **settings).revealed_at
    assert not torch.equal(found["entropy"], hot)


def test_bound_nothing_in_the_order_of_the_draws_is_maskgit():
    """In batches and to the token; what each sampler says of itself is tried with every other."""
    for steps in (3, 24, 40):
        neutral = run(empty(batch=2), sampler=EntropyBounded(None, bound=0.0, order="drawn"), steps=steps)
        plain = run(empty(batch=2), sampler="maskgit", steps=steps)
        assert agree(neutral.tokens, plain.tokens) and agree(neutral.revealed_at, plain.revealed_at)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"bound": -1}, "entropy bound is -1"),
        ({"order": "fear"}, "entropy-bounded order is 'fear'; accepted are entropy, confidence, margin, drawn"),
    ],
)
def test_bad_settings(settings, words):
    with pytest.raises(MGTError, match=words):
        EntropyBounded(**settings)
