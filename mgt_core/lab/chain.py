"""A truth of one dimension, as sound is: a Markov chain, exact by sums from both ends (Baum et al. 1970)."""

import math

import torch
from torch import Tensor

from ..errors import MGTError, finite_number, whole_number
from .truth import DRAWS, Estimate, Truth, checked_sizes, draw_rows

ROUNDING = 1e-6  # by which probabilities may miss a sum of 1


class Chain(Truth):
    """A row of cells, each of which depends on the one before it alone: p(x | c) = first[c, x_1] prod_t
    transitions[c, x_(t-1), x_t].

    transitions: [classes, V, V], from the code of a cell to that of the next one. first: [classes, V] of the first
    cell; none for all codes alike. Raises MGTError for what is no distribution, or has codes that cannot follow.
    """

    def __init__(self, cells: int, transitions: Tensor, first: Tensor | None = None):
        if not isinstance(transitions, Tensor) or transitions.ndim != 3 or transitions.shape[1] != transitions.shape[2]:
            shape = list(getattr(transitions, "shape", ())) or type(transitions).__name__
            raise MGTError(f"the transitions of a chain are {shape}; expected [classes, codes, codes]")
        self.grid, self.codes, self.classes = checked_sizes((1, cells), transitions.shape[1], len(transitions))
        even = torch.full((self.classes, self.codes), 1 / self.codes, dtype=torch.float64)
        self.first = _distributions("the first codes of a chain", even if first is None else first)
        self.transitions = _distributions("the transitions of a chain", transitions)
        if self.first.shape != even.shape:
            raise MGTError(f"the first codes of a chain are {list(self.first.shape)}; expected {list(even.shape)}")
        self.evidence = torch.cat([torch.eye(self.codes), torch.ones(1, self.codes)]).double()  # the mask says nothing

    def messages(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """For every class, cell and code, log p(known cells before it, its code) and log p(known cells behind it | its
        code). [B, N] -> two of [C, B, N, V] float64."""
        evidence = self.evidence[tokens]  # [B, N, V]
        steps = self.transitions[:, None, None]
        forward = summed_along(self.first[:, None].expand(-1, len(tokens), -1), evidence, steps)
        silence = torch.ones(self.classes, len(tokens), self.codes, dtype=torch.float64)
        backward = summed_along(silence, evidence.flip(-2), steps.mT)
        return forward, backward.flip(-2)

    def of_labels(self, logs: Tensor, labels: Tensor) -> Tensor:
        """Log-probabilities [C, B, ...] of every class -> [B, ...] of each grid's own, or of their even mixture."""
        mixed = logs.logsumexp(0) - math.log(self.classes)
        own = logs[labels.clamp_min(0), torch.arange(len(labels))]
        return torch.where((labels < 0).reshape(-1, *[1] * (own.ndim - 1)), mixed, own)

    def logits(self, tokens: Tensor, labels: Tensor) -> Tensor:
        forward, backward = self.messages(tokens)
        return self.of_labels(forward + backward, labels).log_softmax(-1).float()

    def log_probability(self, tokens: Tensor, labels: Tensor) -> Tensor:
        forward, _ = self.messages(tokens)
        last = forward[:, :, -1].masked_fill(self.evidence[tokens[:, -1]] == 0, -math.inf)
        return self.of_labels(last.logsumexp(-1), labels)

    def draw(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        anywhere = torch.randint(self.classes, labels.shape, generator=generator)
        classes = torch.where(labels < 0, anywhere, labels)
        found = [draw_rows(self.first[classes], generator)]
        for _ in range(1, self.cells):
            found.append(draw_rows(self.transitions[classes, found[-1]], generator))
        return torch.stack(found, 1)

    def entropy(self, label: int = 0, draws: int = DRAWS, seed: int = 0) -> Estimate:
        """Exact, of a class: that of the first cell, and of every step from where the chain is by then. Of a mixture
        of several classes, from draws."""
        if label < 0 and self.classes > 1:
            return super().entropy(label, draws, seed)
        law, steps = self.first[label], self.transitions[label]
        of_rows = -(steps * steps.log()).sum(-1)
        total = -(law * law.log()).sum()
        for _ in range(1, self.cells):
            total, law = total + law @ of_rows, law @ steps
        return Estimate(float(total))


def summed_along(begun: Tensor, evidence: Tensor, steps: Tensor) -> Tensor:
    """What the cells before each cell say, in logs. begun: [..., V] of the first cell. evidence: [..., N, V] of each
    cell. steps: [..., N - 1, V, V] from a cell to the next one, or one for all. -> [..., N, V]."""
    belief, scale = begun, torch.zeros_like(begun[..., :1])
    found = [belief.log()]
    for place in range(evidence.shape[-2] - 1):
        step = steps[..., min(place, steps.shape[-3] - 1), :, :]
        belief = ((belief * evidence[..., place, :])[..., None, :] @ step)[..., 0, :]
        total = belief.sum(-1, keepdim=True)
        belief, scale = belief / total, scale + total.log()
        found.append(belief.log() + scale)
    return torch.stack(found, -2)


def moving(codes: int, kept: float, classes: int = 1) -> Tensor:
    """Transitions [classes, V, V]: with probability `kept` a cell has the code of the one before it, in class c moved
    on by c, and otherwise any code, each as likely. In class 0 two cells that are d apart agree with probability
    kept^d + (1 - kept^d) / V, so that -1 / log(kept) is the length, in cells, over which a chain forgets."""
    whole_number("codes", codes, 2, 65536)
    kept = finite_number("kept share of a chain", kept, 0, 0.9999)
    if not 1 <= classes <= codes:
        raise MGTError(f"the chain has {classes} classes and {codes} codes; every class needs a code")
    moved = torch.stack([torch.eye(codes, dtype=torch.float64).roll(c, 1) for c in range(classes)])
    return kept * moved + (1 - kept) / codes


def _distributions(what: str, given: Tensor) -> Tensor:
    """[..., V] float64 with rows that sum to 1. Raises MGTError."""
    given = given.double()
    if not bool((given > 0).all()) or not bool(((given.sum(-1) - 1).abs() < ROUNDING).all()):
        raise MGTError(f"{what} are no distributions; expected rows of numbers above 0 that sum to 1")
    return given / given.sum(-1, keepdim=True)
