"""A backbone that answers from a recording."""

import torch

from mgt_core.backbones.base import Backbone
from mgt_core.backbones.hooks import NO_HOOKS


class Recorded(Backbone):
    """Gives back the logits of a trace, by the step that the timestep names; label -1 asks for no class."""

    condition_fields = ("labels",)
    mask_id, codebook_size, trained_grid = 48, 49, (8, 8)
    num_classes, has_unconditional_class = 10, True

    def __init__(self, recorded, steps):
        super().__init__()
        self.recorded, self.steps = recorded, steps
        self.weight = torch.nn.Parameter(torch.zeros(1))

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
        return torch.stack(rows).unflatten(1, (8, 8))

    def head(self, features):
        return features
