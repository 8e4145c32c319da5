"""KL(q || p) of decoding in an order and by counts that are fixed in advance, without a histogram.

Where neither looks at what was drawn, a run that reveals the groups G_1 ... G_T of cells draws x with

    q(x) = prod_t prod_{i in G_t} q(x_i | x_{G_1}, ..., x_{G_{t-1}})

where the factors are the network's predictions, after modifiers, so that log q(x) is the sum of the log-probabilities
that the run records, and KL(q || p) = E_q[log q(x) - log p(x)] is the mean over its own pictures: unbiased, whatever
the number of grids. What else is random in a run (the order where it is drawn, noise on the logits) is then part of the
condition: the mean is over it as well, and bounds the KL of the mixture from above (q log q is convex).
"""

from torch import Tensor

from ..errors import MGTError
from ..types import TokenState
from .truth import Truth


def log_ratios(truth: Truth, before: TokenState, after: TokenState, labels: Tensor) -> Tensor:
    """log q(x) - log p(x) of every picture of a run, [B] float64, both given the cells that it left as they were.

    before, after: the states that a run of a FixedOrder sampler began and ended with. Raises MGTError where the run
    repainted given tokens, whose log-probabilities it does not record.
    """
    if before.strength is not None:
        raise MGTError("the run repainted given tokens (strength); its log-probability is not recorded")
    start, end = before.tokens.flatten(1), after.tokens.flatten(1)
    recorded = after.confidence.flatten(1).double().masked_fill(~before.masked.flatten(1), 0).sum(1)
    return recorded - truth.log_probability(end, labels) + truth.log_probability(start, labels)
