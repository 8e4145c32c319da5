"""What a network has to offer to be sampled. One file per architecture implements it."""

import weakref
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import MGTError
from ..loading.published import Published
from ..registry import BACKBONES
from ..types import UNCONDITIONAL, Condition
from .hooks import NO_HOOKS, Hooks

WIDEST_ALIVE = 3  # results of the widest layer, about, that an evaluation holds at once


class Watchers(weakref.WeakSet):
    """What is to be told when weights may have moved (`weights_moved`). A network with LoRAs shares it with the one
    that it was made from, a deep copy begins without."""

    def __deepcopy__(self, memo: dict) -> "Watchers":
        return Watchers()


class Backbone(nn.Module, Published):
    """A masked transformer over a grid of tokens.

    A run calls `prepare` once and `features` at every step; `head` turns the features of the
    cells that are still masked into logits.
    """

    config_class: ClassVar[type]
    condition_fields: ClassVar[tuple[str, ...]]  # the fields of Condition it reads
    # The fields of Hooks it heeds, and "reference" where it sees a picture beside the one that is made.
    supports: ClassVar[frozenset[str]] = frozenset()
    reads_language: ClassVar[bool] = False  # whether a language model reads its prompts beside the text encoder
    block_kinds: ClassVar[tuple[str, ...]] = ("single",)  # what its blocks are called where patches choose among them
    self_guidance_branch: ClassVar[type | None] = None  # see branch.py
    unquantized: ClassVar[tuple[str, ...]] = ("mlm_layer.",)  # beginnings of names: the token head
    uncalled: ClassVar[tuple[str, ...]] = ("mlm_layer.",)  # the same, of layers whose weights are applied directly
    widened: ClassVar[tuple[str, ...]] = ("mlm_layer.",)  # the same, of weights that the head applies in float32

    def __init__(self):
        super().__init__()
        self.watchers = Watchers()

    def _apply(self, *args, **kwargs) -> "Backbone":
        """What moves and converts weights, in torch and in hosts."""
        result = super()._apply(*args, **kwargs)
        for watcher in self.watchers:
            watcher.weights_moved()
        return result

    @classmethod
    def configure(cls, config: dict, shapes: dict[str, tuple[int, ...]]) -> Any:
        """What the constructor takes, from the checkpoint's config and tensors."""
        return cls.config_class.from_dict(config)

    @classmethod
    def codes_in(cls, config: dict, shapes: dict[str, tuple[int, ...]]) -> int | None:
        return cls.configure(config, shapes).codebook_size

    @classmethod
    def completed(cls, config: dict, shapes: dict[str, tuple[int, ...]], weights: Path) -> dict:
        """`config` with what files beside the weights say, a folder or a file."""
        return config

    @property
    def rows_taken(self) -> Mapping[str, slice]:
        """Of tensors that a file may hold with more rows than the network has a place for, those that it takes."""
        return {}

    @property
    @abstractmethod
    def mask_id(self) -> int: ...

    @property
    @abstractmethod
    def codebook_size(self) -> int: ...

    @property
    @abstractmethod
    def trained_grid(self) -> tuple[int, int]:
        """(height, width) in tokens that the published checkpoints of this layout were trained at."""

    @property
    def published_settings(self) -> Mapping[str, Any]:
        """What its authors sample it with, by the names of recommended.py; where it says nothing, FALLBACK holds."""
        return {}

    @property
    def grid_multiple(self) -> int:
        """Both sides of the token grid must be a multiple of this."""
        return 1

    @property
    def row_side(self) -> int:
        """Side of the square of cells that one image row of its blocks stands for."""
        return self.grid_multiple

    @property
    def kept_width(self) -> int:
        """Numbers that the token cache keeps of every row; 0 where it is not supported."""
        return 0

    @property
    def widest(self) -> int:
        """Most numbers that a layer makes of one row."""
        return max((getattr(module, "out_features", 1) for module in self.modules()), default=1)

    def attention_bytes(self, rows: int, dtype: torch.dtype, device: torch.device) -> int:
        """What the attention over so many rows of one image takes beside its result."""
        return 0

    @property
    def row_width(self) -> int:
        """Numbers of a row between its blocks; 0 where step skipping is not supported."""
        return 0

    @property
    def lead_rows(self) -> int:
        """Rows that step skipping keeps beside those of the image."""
        return 0

    def row_cells(self, tokens: Tensor) -> Tensor:
        """[B, h, w] -> [B, n, row_side ** 2], the cells of every image row."""
        side = self.row_side
        squares = tokens.unflatten(2, (-1, side)).unflatten(1, (-1, side))
        return squares.transpose(2, 3).flatten(3).flatten(1, 2)

    @property
    def only_trained_grid(self) -> bool:
        """Whether its positions hold `trained_grid` and no other."""
        return False

    @property
    def condition_widths(self) -> dict[str, int]:
        """Last dimension of each condition field it reads."""
        return {}

    @property
    def published_text_encoder(self) -> str:
        """Repository of the text encoder that its authors load in place of the one in their bundle; "" for none."""
        return ""

    @property
    def num_classes(self) -> int:
        """Labels it takes are 0 to this, exclusive; 0 for networks that read no label."""
        return 0

    @property
    def has_unconditional_class(self) -> bool:
        """Whether it was trained with a class for no class at all, which the label UNCONDITIONAL stands for."""
        return False

    @abstractmethod
    def prepare(self, condition: Condition, grid: tuple[int, int]) -> Any:
        """What depends only on the condition and the (height, width) grid."""

    @abstractmethod
    def features(self, tokens: Tensor, timestep: Tensor, prepared: Any, hooks: Hooks = NO_HOOKS) -> Tensor:
        """tokens [B, h, w] long, timestep [1] or [B] -> [B, h, w, C], before the token head.

        hooks: what acts inside the blocks, of the kinds named in `supports`.
        """

    @abstractmethod
    def head(self, features: Tensor) -> Tensor:
        """[..., C] -> logits [..., codebook_size], in the type of the features where that is float32, whatever type the
        weights have (see kernels/widened.py)."""

    def check_supports(self, patch: str, name: str) -> None:
        """Raises MGTError when `patch`, which `supports` would name and people know as `name`, has no meaning here."""
        if patch not in self.supports:
            able = [entry for entry in BACKBONES if patch in BACKBONES.get(entry).supports]
            raise MGTError(
                f"{name} does not work with the {BACKBONES.name_of(type(self))} architecture; "
                f"it works with {', '.join(able)}"
            )

    def check_grid(self, grid: tuple[int, int]) -> None:
        """Raises MGTError for a grid that the layout cannot hold."""
        if self.only_trained_grid and tuple(grid) != self.trained_grid:
            h, w = self.trained_grid
            raise MGTError(f"the token grid is {grid[0]} x {grid[1]}; this model has positions for {h} x {w} alone")
        m = self.grid_multiple
        if min(grid) < m or grid[0] % m or grid[1] % m:
            raise MGTError(
                f"the token grid is {grid[0]} x {grid[1]}; this model needs both sides to be a positive multiple of {m}"
            )

    def check_condition(self, condition: Condition, role: str) -> None:
        """Raises MGTError where `condition` is not one for this model."""
        for name in self.condition_fields:
            value = getattr(condition, name)
            if value is None:
                raise MGTError(self._lacking(condition, role, name))
            if name == "labels":
                self._check_labels(value, role)
            width = self.condition_widths.get(name)
            if width is not None and value.shape[-1] != width:
                raise MGTError(
                    f"the {role} condition has {name} of width {value.shape[-1]} and this model takes {width}: "
                    "it was made for another model"
                )
            if value.is_floating_point() and not bool(value.isfinite().all()):
                raise MGTError(f"the {role} condition has {name} with values that are not finite numbers")

    def _lacking(self, condition: Condition, role: str, name: str) -> str:
        if name == "labels" and condition.hidden is not None:
            return f"the {role} condition is a prompt, and this model takes class labels (0 to {self.num_classes - 1})"
        if name == "hidden" and condition.labels is not None:
            return f"the {role} condition is a class label, and this model takes prompts"
        return f"the {role} condition lacks {name}, which this model needs"

    def _check_labels(self, labels: Tensor, role: str) -> None:
        if not self.has_unconditional_class and bool((labels == UNCONDITIONAL).any()):
            raise MGTError(
                f"the {role} condition asks for no class, and this model was never trained without one: "
                "give a label, or use guidance 1"
            )
        wrong = labels[(labels != UNCONDITIONAL) & ((labels < 0) | (labels >= self.num_classes))]
        if labels.is_floating_point() or len(wrong):
            held = labels.dtype if labels.is_floating_point() else int(wrong[0])
            raise MGTError(f"the {role} condition has the label {held}; accepted are 0 to {self.num_classes - 1}")
