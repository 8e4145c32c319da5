"""Rows of one sequence that come from several projections."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from torch import Tensor


class Stream(NamedTuple):
    """Rows that share projections. product: [B, S, 3, heads, D] queries, keys and values, which may be overwritten.
    q_weight, k_weight: [D] of the RMS norms of queries and keys."""

    product: Tensor
    q_weight: Tensor
    k_weight: Tensor


def heads(product: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """[B, S, 3, heads, D] -> three of [B, heads, S, D]."""
    return product.permute(2, 0, 3, 1, 4).unbind()


def places(streams: Sequence[Stream]) -> list[slice]:
    """Where the rows of each lie when they are joined."""
    ends = [0, *accumulate(stream.product.shape[1] for stream in streams)]
    return [slice(*span) for span in pairwise(ends)]
