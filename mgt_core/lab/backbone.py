"""A predictor as a backbone, which the real `sample` runs with every sampler, modifier, schedule and order.

It is no architecture of any checkpoint, so it is not registered. What acts inside the blocks of a network (token
merging, token cache, noise on embeddings) has no meaning here and is refused.
"""

import torch
from torch import Tensor, nn

from ..backbones.base import Backbone
from ..backbones.hooks import NO_HOOKS, Hooks
from ..errors import MGTError
from ..model import MGTModel
from ..types import Condition, TokenState, empty_state
from .branch import LabBranch
from .truth import Predictor

# Neutral where the choices of real models would hide what is measured.
DEFAULTS = {"steps": 8, "cfg": 1.0, "temperature": (2.0, 0.0), "schedule": "cosine"}


class LabBackbone(Backbone):
    """Features are the predictor's logits, and the head leaves them as they are. The timestep means nothing to it."""

    condition_fields = ("labels",)
    has_unconditional_class = True
    only_trained_grid = True
    self_guidance_branch = LabBranch
    supports = frozenset()

    def __init__(self, predictor: Predictor):
        super().__init__()
        self.predictor = predictor
        self.anywhere = nn.Parameter(torch.zeros(1))  # says where the network is and in what type it computes

    @staticmethod
    def recognizes(config: dict, shapes: dict[str, tuple[int, ...]]) -> bool:
        return False

    @property
    def mask_id(self) -> int:
        return self.predictor.mask_id

    @property
    def codebook_size(self) -> int:
        return self.predictor.codes

    @property
    def trained_grid(self) -> tuple[int, int]:
        return self.predictor.grid

    @property
    def num_classes(self) -> int:
        return self.predictor.classes

    def prepare(self, condition: Condition, grid: tuple[int, int]) -> Tensor:
        return condition.labels

    def features(self, tokens: Tensor, timestep: Tensor, prepared: Tensor, hooks: Hooks = NO_HOOKS) -> Tensor:
        logits = self.predictor.logits(tokens.flatten(1), prepared)
        hooks.tap(logits)
        return logits.unflatten(1, tokens.shape[1:])

    def head(self, features: Tensor) -> Tensor:
        return features


def lab_model(predictor: Predictor) -> MGTModel:
    """A truth, or one with errors, as `sample` takes it. A token counts as one pixel."""
    if not isinstance(predictor, Predictor):
        raise MGTError(f"lab_model was given {type(predictor).__name__}; expected a truth or one with errors")
    return MGTModel(LabBackbone(predictor), pixels_per_token=1, defaults=DEFAULTS)


def all_masked(predictor: Predictor, batch: int) -> TokenState:
    """Where text-to-image starts."""
    return empty_state(batch, predictor.grid, predictor.mask_id, predictor.codes)


def given(
    predictor: Predictor, tokens: Tensor, free: Tensor | None = None, strength: float | None = None
) -> TokenState:
    """Grids [B, N] to be filled again: the cells `free` ([N] or [B, N] bool), or for image to image a share `strength`
    of the run over all of them. What is not free is fixed."""
    free = torch.ones_like(tokens, dtype=torch.bool) if free is None else free.expand(tokens.shape)
    held = tokens if strength is not None else tokens.masked_fill(free, predictor.mask_id)
    shaped = (each.unflatten(1, predictor.grid) for each in (held, ~free))
    return TokenState(*shaped, predictor.mask_id, predictor.codes, strength=strength)


def labelled(label: int) -> Condition:
    """The condition of a class, or of none."""
    return Condition(labels=torch.tensor([label]))
