"""Figures of a case: its pictures against the truth."""

import time
from functools import lru_cache

import torch
from torch import Tensor

import mgt_core
from mgt_core.lab import exact_kl, measures
from mgt_core.lab.backbone import all_masked, lab_model, labelled
from mgt_core.lab.truth import Estimate, Truth
from mgt_core.types import TokenState

from ..pace import Pace, mean
from .plan import Case
from .settings import FIELD, WEAK_FIELD, WORDS, predictor_of, truth_of

ENTROPY_DRAWS = 8192
NEAR, FAR = 1, 8  # distances of pairs
AT_ONCE = 1024  # pictures of a batch on large grids


@lru_cache
def reference(model: str) -> dict:
    """What is compared with: the truth's entropy, and figures of exact draws."""
    truth = truth_of(model)
    tokens = measures.exact_sample(truth, 0, 4096)
    entropy = truth.entropy(0, ENTROPY_DRAWS)
    known = {"entropy": entropy, "diversity": measures.diversity(tokens, truth.codes), "pairs": pairs(truth, tokens)}
    return known | ({"modes": measures.law_of_modes(truth)} if model == WORDS else {})


def pairs(truth: Truth, tokens: Tensor) -> list[Estimate]:
    """Shares of near and of far pairs that agree, far ones where the grid has them."""
    found = [measures.agreement(tokens, truth.grid, range(d, d + 1)) for d in (NEAR, FAR) if d < max(truth.grid)]
    return [Estimate.of(shares[:, 0]) for shares in found]


def decode(case: Case, count: int, seed: int) -> tuple[TokenState, float, float]:
    """The state at the end, passes of a picture (their mean), and seconds of the processor."""
    predictor = predictor_of(case.model, case.error)
    model, choice, pace = case.made.attach(lab_model(predictor)), case.made, Pace(case.made.sampler)
    started = time.process_time()
    out = mgt_core.sample(
        model,
        all_masked(predictor, count),
        labelled(0),
        labelled(-1),
        sampler=choice.ready,
        schedule=choice.schedule,
        steps=case.steps,
        cfg=case.cfg,
        seed=seed,
        callback=pace,
    )
    passes = mean([passes for _, passes in pace.costs])
    return out, passes, time.process_time() - started


def measure(case: Case, count: int, seed: int = 0) -> dict:
    """Figures of `count` pictures, each as [value, standard error].

    In nats a token `kl`, of KL(q || p), where order and counts are fixed in advance (`kl_bound`, which it is at the
    most, where more than tokens is drawn), and `surprise`, -log p beyond the entropy; `variation`, total variation from
    the truth, on small truths, and from its modes on words; differences from the truth's `diversity`, and from how
    often pairs agree, `near` and `far`.
    """
    truth = truth_of(case.model)
    state, passes, seconds = decode(case, count, seed)
    tokens, labels, known = state.tokens.flatten(1), torch.zeros(count, dtype=torch.long), reference(case.model)
    found = {
        "surprise": measures.surprise(truth, tokens, labels, known["entropy"]).over(truth.cells),
        "diversity": measures.diversity(tokens, truth.codes).minus(known["diversity"]),
    }
    for name, own, theirs in zip(("near", "far"), pairs(truth, tokens), known["pairs"]):
        found[name] = own.minus(theirs)
    if case.made.fixed:
        ratios = exact_kl.log_ratios(truth, all_masked(truth, count), state, labels)
        found["kl_bound" if case.made.bounded else "kl"] = Estimate.of(ratios).over(truth.cells)
    told = {name: [figure.value, figure.error] for name, figure in found.items()}
    if case.model in (FIELD, WEAK_FIELD, WORDS):
        by_modes = case.model == WORDS
        far = measures.of_outcomes(measures.modes(truth, tokens), known["modes"]) if by_modes else None
        far = far or measures.distance(truth, tokens)
        told |= {"variation": [far.value, far.error], "null": [far.null, 0.0], "null_high": [far.null_high, 0.0]}
    return {"pictures": count, "passes": passes, "steps": case.steps, "seconds": seconds, "figures": told}
