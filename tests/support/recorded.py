"""A backbone that answers from a recording."""

import torch

from mgt_core.backbones.base import Backbone
from mgt_core.backbones.hooks import NO_HOOKS


class Recorded(Backbone):
    """Gives back the logits of a trace, by the step that the timestep names; label -1 asks for no class."""

    condition_fields = ("labels",)
    has_unconditional_class = True

    def __init__(self, recorded, steps):
        super().__init__()
        self.recorded, self.steps = recorded, steps
        self.weight = torch.nn.Parameter(torch.zeros(1))

    @property
    def codebook_size(self):
        """The mask counts as a code: the published sampler can draw it."""
        return self.recorded["logits_cond"].shape[-1]

    @property
    def mask_id(self):
        return self.codebook_size - 1

    @property
    def trained_grid(self):
        return tuple(self.recorded["tokens_in"].shape[-2:])

    @property
    def num_classes(self):
        return int(self.recorded["labels"].max()) + 1

    @staticmethod
    def recognizes(config, shapes):
        return False

    def prepare(self, condition, grid):
        return condition.labels

    def features(self, tokens, timestep, prepared, hooks=NO_HOOKS):
        index = self.steps - 1 - int(timestep[0])
        images = self.recorded["logits_cond"].shape[1]
        rows = [
            self.recorded["logits_uncond" if label < 0 else "logits_cond"][index, row % images]
            for row, label in enumerate(prepared.tolist())
        ]
        return torch.stack(rows).unflatten(1, self.trained_grid)

    def head(self, features):
        return features
