"""A picture that the network sees beside the one that is made: editing by instruction."""

from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from ..backbones.base import WIDEST_ALIVE, Backbone
from ..backbones.hooks import Hooks
from ..errors import MGTError, whole_number
from ..placement import sent
from ..plain import members
from ..registry import PATCHES
from ..settings import hold, number, share
from ..types import Step
from .base import Call, Patch, RunPatch
from .local_guidance import FIRST, LAST, LocalMaps, cell_scores

HIGHEST_ROW = 100_000  # of a prompt


@PATCHES.register("reference")
@dataclass(frozen=True)
class ReferencePicture(Patch):
    """EditMGT (arXiv 2512.11715): the prompt is an instruction, and the tokens of a picture join every block beside
    those of the picture that is made. Both halves of guidance see them.

    tokens: [1 or B, h, w] long, of one picture for all images or one each, on any grid that the model takes. strength:
    how much of the attention between the two pictures counts; ln(strength) is added to its scores, 1 adds nothing, 0
    is the model without a reference. mask_reference: where a run begins with some masked cells and some known ones
    (inpainting), the reference has them masked as well, as in the released code; off, it stays whole.
    local_guidance: where the text looks least, tokens are taken from the reference instead of drawn: masked cells whose
    score (0 to 1) is below this; 0 takes none. first_block, last_block: whose attention tells, as shares of the depth
    (28 to 36 of 42 are published, all of them of text and image in one sequence, and only such count). rows: of the
    encoded prompt, those that are looked at; all of them by default.
    """

    slot = "reference"
    title = "a reference picture"
    place = "conditions"
    needs = "reference"
    in_files = False
    neutral = {"strength": 0.0}

    tokens: Tensor = field(repr=False, compare=False)  # by `__eq__`
    strength: float = number(1.1, 0, 10, "reference strength", step=0.05)
    mask_reference: bool = True
    local_guidance: float = share(0.0, "local guidance")
    first_block: float = share(FIRST, "first_block of local guidance")
    last_block: float = share(LAST, "last_block of local guidance")
    rows: tuple[int, ...] = ()

    def __post_init__(self):
        super().__post_init__()
        held = self.tokens
        if not isinstance(held, Tensor) or held.ndim != 3 or held.dtype != torch.long or not held.numel():
            what = f"{held.dtype} of shape {list(held.shape)}" if isinstance(held, Tensor) else type(held).__name__
            raise MGTError(f"the reference is {what}; expected the tokens of pictures, [batch, height, width] long")
        if (rows := members(self.rows)) is None:
            raise MGTError(
                f"rows of local guidance are {self.rows!r}; expected rows of the encoded prompt, none for all"
            )
        hold(self, rows=tuple(whole_number("row of local guidance", row, 0, HIGHEST_ROW) for row in rows))

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        own, others = ([getattr(each, f.name) for f in fields(self) if f.compare] for each in (self, other))
        return own == others and torch.equal(self.tokens.cpu(), other.tokens.cpu())

    def check(self, network: Backbone) -> None:
        super().check(network)
        network.check_grid(tuple(self.tokens.shape[1:]))
        wrong = self.tokens[(self.tokens < 0) | (self.tokens >= network.codebook_size)]
        if len(wrong):
            raise MGTError(
                f"the reference holds the code {int(wrong[0])}; this model has {network.codebook_size}, and a "
                "reference no masked cells"
            )

    def held_bytes(self, network: Backbone, rows: int, conditions: int, size: int) -> int:
        """Activations of its rows, about as many as the picture has."""
        return bool(self.strength) * conditions * rows * network.widest * size * WIDEST_ALIVE

    def each_repeated(self, images: int, times: int) -> "ReferencePicture":
        own = self.for_images(images)
        return self if len(own) == 1 else replace(self, tokens=own.repeat_interleave(times, 0))

    def for_images(self, images: int) -> Tensor:
        """Its tokens. Raises MGTError where they are of neither one picture nor so many."""
        if len(self.tokens) not in (1, images):
            raise MGTError(f"there are {len(self.tokens)} references for {images} images; give 1 or {images}")
        return self.tokens

    def begin(self, network: Backbone) -> RunPatch:
        return RunReference(self) if self.strength else RunPatch()


class RunReference(RunPatch):
    """During one run. tokens: what the network gets."""

    def __init__(self, settings: ReferencePicture):
        self.settings, self.tokens = settings, settings.tokens
        self.maps: LocalMaps | None = None
        self.mask_id = 0

    def started(self, run: Any) -> None:
        state, settings = run.state, self.settings
        own = settings.for_images(state.batch)
        own = own.to(state.tokens.device).expand(state.batch, -1, -1)
        alike = own.shape[1:] == state.tokens.shape[1:]
        self.mask_id = state.mask_id
        if settings.mask_reference and alike:
            partly = state.masked & ~state.masked.flatten(1).all(1)[:, None, None]
            self.tokens = own.masked_fill(partly, state.mask_id)
        if settings.local_guidance:
            if not alike:
                sides = (" x ".join(map(str, grid)) for grid in (own.shape[1:], state.grid))
                raise MGTError(
                    "local guidance takes tokens of the reference, whose grid is {} and the picture's {}; "
                    "make them of one size, or set it to 0".format(*sides)
                )
            self.maps = LocalMaps.of(settings, run.model.network)
            self.clean = own.flatten(1)

    def prepared(self, prepared: Any, network: Backbone) -> Any:
        return network.with_reference(prepared, self.tokens, self.settings.strength)

    def hooks(self, hooks: Hooks, call: Call) -> Hooks:
        return hooks if self.maps is None else self.maps.hooks(hooks, call)

    def chosen(self, ids: Tensor, step: Step) -> Tensor:
        maps = None if self.maps is None else self.maps.read()
        if maps is None:
            return ids
        self.clean = sent(self.clean, ids.device)
        where, tokens = step.positions, step.tokens
        low = cell_scores(maps, tuple(tokens.shape[1:])).flatten(1) < self.settings.local_guidance
        low &= tokens.flatten(1) == self.mask_id
        return torch.where(low.gather(1, where), self.clean.gather(1, where), ids)
