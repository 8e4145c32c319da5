"""Spans of neighbours against single cells, on chains: what MAGNeT's decoding does where the truth is known.

    python -m bench.laboratory.spans      a quarter of an hour; docs/laboratory_spans.json

Two chains forget over three cells and over one. A short one is judged by all its 4096 grids, a long one by four cells
in a row, wherever they stand: KL of their histogram from the truth, less what as many exact pictures count. Of four
cells that is no more than the KL of the whole picture, since it looks at a part. Temperatures are 1 and nothing is cut
off, but where it says "as released"; all take the counts of MAGNeT's schedule, but MaskGIT.
"""

import hashlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

import mgt_core
from mgt_core import FixedOrder, MaskGIT, Spans
from mgt_core.lab import measures
from mgt_core.lab.backbone import all_masked, lab_model, labelled
from mgt_core.lab.chain import Chain, moving
from mgt_core.lab.draws import BatchDraws
from mgt_core.lab.errors import LogitNoise, ModelError, spoiled
from mgt_core.lab.truth import Estimate
from mgt_core.samplers.base import Sampler
from mgt_core.samplers.magnet import APART, OVERLAPPING

from ..hardware import in_short
from ..kept import json_in
from ..markdown import table
from ..quality.report import rounded
from ..quality.statistics import holm
from ..reports import write_report
from .figures import p_of

DOCS, NAME = Path(__file__).resolve().parents[2] / "docs", "laboratory_spans.json"
SEED = 20_261  # of all draws here
SURE = 0.05
WINDOW = 4  # cells in a row that a long chain is judged by
EVEN = {"temperature": 1.0, "annealed": False, "top_p": 1.0, "draws": BatchDraws}


@dataclass(frozen=True)
class Row:
    """A chain: cells, codes, pictures of a case, and the steps that it is decoded in."""

    cells: int
    codes: int
    pictures: int
    steps: tuple[int, ...]


SIZES: Mapping[str, Row] = {"short": Row(12, 2, 16384, (2, 4)), "long": Row(96, 8, 512, (4, 8, 16))}
MEMORIES = (3, 1)  # cells over which a chain forgets
EXACT = "exact"
ERRORS: Mapping[str, tuple[ModelError, ...]] = {EXACT: (), "noise": (LogitNoise(0.5, seed=SEED),)}

SINGLE, SPANS, OVER = "single cells", "spans of 3", "spans of 3, overlapping"
RELEASED, VANILLA, RANDOM = "spans of 3, as released", "MaskGIT", "random order"
CHOICES: Mapping[str, tuple[Sampler, str]] = {
    SINGLE: (Spans(1, **EVEN), "magnet"),
    SPANS: (Spans(3, APART, **EVEN), "magnet"),
    OVER: (Spans(3, OVERLAPPING, **EVEN), "magnet"),
    RELEASED: (Spans(3, draws=BatchDraws), "magnet"),
    VANILLA: (MaskGIT((2.0, 0.0), draws=BatchDraws), "cosine"),
    RANDOM: (FixedOrder("random", counts="schedule", draws=BatchDraws), "magnet"),
}


@dataclass(frozen=True)
class Condition:
    size: str
    memory: int
    error: str
    steps: int

    @property
    def name(self) -> str:
        return f"{self.size}, forgets over {self.memory}, {self.error}, {self.steps} steps"


CONDITIONS = tuple(
    Condition(size, memory, error, steps)
    for size, memory, error in product(SIZES, MEMORIES, ERRORS)
    for steps in SIZES[size].steps
)


@dataclass(frozen=True)
class Hypothesis:
    """That `one` has less of a figure than `other`, in all conditions that are meant."""

    told: str
    one: str
    other: str
    meant: Callable[[Condition], bool]
    figure: str = "kl"


# Written down before the run. Cells next to each other say most of each other, and cells that are kept together were
# drawn without knowing of each other: spans keep what is drawn worst together.
HYPOTHESES = (
    Hypothesis("exact: single cells lie nearer than spans of 3", SINGLE, SPANS, lambda c: c.error == EXACT),
    Hypothesis("exact: single cells lie nearer than overlapping spans", SINGLE, OVER, lambda c: c.error == EXACT),
    Hypothesis(
        "exact: overlapping spans, which take back, lie nearer than others", OVER, SPANS, lambda c: c.error == EXACT
    ),
    Hypothesis("noise: single cells lie nearer than spans of 3", SINGLE, SPANS, lambda c: c.error != EXACT),
    Hypothesis(
        "exact: at temperature 1 spans lie nearer than as released", SPANS, RELEASED, lambda c: c.error == EXACT
    ),
    Hypothesis(
        "as released they are surer than at temperature 1, with 8 steps and more",
        RELEASED,
        SPANS,
        lambda c: c.steps >= 8,
        "surprise",
    ),
    Hypothesis("exact: random order lies nearer than single cells", RANDOM, SINGLE, lambda c: c.error == EXACT),
    Hypothesis("exact: random order lies nearer than MaskGIT", RANDOM, VANILLA, lambda c: c.error == EXACT),
)


def chain_of(condition: Condition) -> Chain:
    row = SIZES[condition.size]
    return Chain(row.cells, moving(row.codes, math.exp(-1 / condition.memory)))


def windows(truth: Chain, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """What a picture is judged by: [B, windows] numbers of grids of a part of the chain, and their law [V^cells]. Every
    part of a chain that begins anywhere alike is a chain as it is."""
    cells = truth.cells if truth.states <= 4096 else WINDOW
    part = Chain(cells, truth.transitions)
    return part.number_of(tokens.unfold(1, cells, 1).reshape(-1, cells)).reshape(len(tokens), -1), part.probabilities()


def divergence(truth: Chain, tokens: Tensor) -> Estimate:
    """KL of the histogram from the law, in nats a cell; the error is a jackknife's over parts of the pictures."""
    outcomes, law = windows(truth, tokens)
    parts = torch.stack(
        [torch.bincount(p.flatten(), minlength=len(law)).double() for p in outcomes.chunk(measures.PARTS)]
    )
    whole = parts.sum(0)
    cells = round(math.log(len(law), truth.codes))
    error = measures.jackknife_error(measures.divergence(whole - parts, law))
    return Estimate(float(measures.divergence(whole, law)), error).over(cells)


def measure(condition: Condition, choice: str) -> dict[str, Estimate]:
    """`kl` less that of as many exact pictures, and `surprise`, both in nats a cell, of independent draws."""
    truth, (sampler, schedule) = chain_of(condition), CHOICES[choice]
    predictor, count = spoiled(truth, ERRORS[condition.error]), SIZES[condition.size].pictures
    numbers = hashlib.sha256(f"{SEED}/{choice}/{condition.name}".encode()).digest()
    seed, other = (int.from_bytes(numbers[at : at + 6], "big") for at in (0, 6))
    state = mgt_core.sample(
        lab_model(predictor),
        all_masked(predictor, count),
        labelled(0),
        labelled(-1),
        sampler=sampler,
        schedule=schedule,
        steps=condition.steps,
        cfg=1.0,
        seed=seed,
    )
    tokens, labels = state.tokens.flatten(1), torch.zeros(count, dtype=torch.long)
    exact = measures.exact_sample(truth, 0, count, other)
    return {
        "kl": divergence(truth, tokens).minus(divergence(truth, exact)),
        "surprise": measures.surprise(truth, tokens, labels, truth.entropy()).over(truth.cells),
    }


Figures = Mapping[str, Mapping[str, Mapping[str, Estimate]]]  # by condition, choice and figure


def outcomes(figures: Figures) -> dict[str, dict[str, dict]]:
    """By hypothesis and condition the difference one − other, its interval, p raised by Holm's method over all of them,
    and whether it holds."""
    found: dict[tuple[str, str], Estimate] = {}
    for hypothesis in HYPOTHESES:
        for condition in filter(hypothesis.meant, CONDITIONS):
            own = figures[condition.name]
            one, other = (own[choice][hypothesis.figure] for choice in (hypothesis.one, hypothesis.other))
            found[hypothesis.told, condition.name] = one.minus(other)
    raised = holm({"/".join(names): p_of(difference) for names, difference in found.items()})
    told: dict[str, dict[str, dict]] = {}
    for (hypothesis, condition), difference in found.items():
        p = raised[f"{hypothesis}/{condition}"]
        verdict = "not shown" if p >= SURE else "holds" if difference.value < 0 else "the opposite holds"
        own = {"difference": difference.value, "interval95": list(difference.interval), "p": p, "verdict": verdict}
        told.setdefault(hypothesis, {})[condition] = own
    return told


def published(report: Mapping | None = None) -> str:
    """The part of the page: the hypotheses, in how many conditions each holds, and the figures with an exact model."""
    if report is None and not (DOCS / NAME).is_file():
        return "".join(f"{place}. {hypothesis.told}.\n" for place, hypothesis in enumerate(HYPOTHESES, 1))
    report = report or json_in(DOCS / NAME)
    lines = []
    for place, hypothesis in enumerate(HYPOTHESES, 1):
        verdicts = [own["verdict"] for own in report["hypotheses"][hypothesis.told].values()]
        counts = [
            f"{told} in {n}" for told in ("holds", "the opposite holds", "not shown") if (n := verdicts.count(told))
        ]
        lines.append(f"{place}. {hypothesis.told}: {', '.join(counts)} of {len(verdicts)}.\n")
    rows = [
        [condition.name.replace(f", {EXACT}", ""), *(cell(report["figures"][condition.name][c]) for c in CHOICES)]
        for condition in CONDITIONS
        if condition.error == EXACT
    ]
    return "".join(lines) + "\n" + table(" | ".join(["Exact model, KL (surprise)", *CHOICES]), rows)


def cell(own: Mapping) -> str:
    (kl, error), (surprise, _) = own["kl"], own["surprise"]
    return f"{kl:.4f} ± {1.96 * error:.4f} ({surprise:+.2f})"


def main() -> int:
    started, figures = time.process_time(), {}
    for condition in CONDITIONS:
        own = figures[condition.name] = {choice: measure(condition, choice) for choice in CHOICES}
        print(
            condition.name, *(f"{choice} {each['kl'].value:.4f}" for choice, each in own.items()), sep="; ", flush=True
        )
    report = {
        "seed": SEED,
        "hardware": in_short(),
        "processor_seconds": time.process_time() - started,
        "sizes": {name: vars(row) for name, row in SIZES.items()},
        "figures": {
            name: {c: {f: [e.value, e.error] for f, e in own.items()} for c, own in of.items()}
            for name, of in figures.items()
        },
        "hypotheses": outcomes(figures),
    }
    write_report(DOCS / NAME, rounded(report))
    print(f"wrote {DOCS / NAME}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
