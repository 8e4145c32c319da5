"""What stands in for a trained Self-Guidance branch, where the network is a truth or a truth with errors."""

from collections.abc import MutableSequence
from typing import Any

import torch
from torch import Tensor

from ..backbones.base import Backbone
from ..backbones.branch import FACTOR, Branch
from ..errors import finite_number


class LabBranch(Branch):
    """The second pass predicts what the first one does with part of its knowledge taken away: in probabilities,
    (1 - blank) p(x_i | known cells) + blank p(x_i). The trained branch learns to restore corrupted tokens, so that it
    keeps the meaning and smooths the detail away (arXiv 2410.13136); here how much is set by one number.

    blank: 0 leaves nothing to guide by, 1 is what fresh branches of real networks give, a look at a blank canvas.
    """

    def __init__(self, codes: int, blank: float = 0.5):
        super().__init__(0, codes)
        self.blank_share = finite_number("blank", blank, 0, 1)

    @classmethod
    def for_network(cls, network: Backbone, factor: int = FACTOR) -> "LabBranch":
        return cls(network.codebook_size)

    def anchor(self, network: Backbone, prepared: Any) -> Tensor:
        """Nothing that this branch looks at."""
        return torch.zeros(len(prepared), network.codebook_size)

    def second_pass(
        self,
        network: Backbone,
        hidden: Tensor,
        tokens: Tensor,
        timestep: Tensor,
        prepared: Any,
        taps: MutableSequence[Tensor] | None = None,
    ) -> Tensor:
        """hidden: [B, N, V], the logits of the first pass."""
        canvas = torch.full_like(tokens, network.mask_id)
        blank = network.features(canvas, timestep, prepared).flatten(1, 2)
        both = torch.lerp(hidden.softmax(-1), blank.softmax(-1), self.blank_share)
        return both.log().unflatten(1, tokens.shape[1:])
