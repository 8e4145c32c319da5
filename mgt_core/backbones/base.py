"""What a network has to offer to be sampled. One file per architecture implements it."""

import weakref
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import MGTError
from ..loading.published import Published
from ..registry import BACKBONES
from ..types import PICTURES, UNCONDITIONAL, Condition
from .hooks import NO_HOOKS, Hooks

# Why what few networks were made for does not work with the others; `refusals` may say more of one.
REASONS = MappingProxyType(
    {
        "reference": "it was not trained to look at a picture beside its own",
        "words": "it draws cells of pictures, and no words",
        "stages": "it fills its grid at once, in no stages",
    }
)
GRID = "grid"  # beside the fields of Hooks, what a backbone may say of itself in `refusals`
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
    makes: ClassVar[str] = PICTURES  # what its tokens stand for
    condition_fields: ClassVar[tuple[str, ...]]  # the fields of Condition it reads
    condition_options: ClassVar[tuple[str, ...]] = ()  # those that it reads where they are set
    # The fields of Hooks it heeds, "reference" where it sees a picture beside the one that is made, and "stages" where
    # it fills the rows of its grid one after the other.
    supports: ClassVar[frozenset[str]] = frozenset()
    # Why it does not heed another one, in words that follow "it does not work: "; and why it takes one GRID alone.
    refusals: ClassVar[Mapping[str, str]] = MappingProxyType({})
    reads_language: ClassVar[bool] = False  # whether a language model reads its prompts beside the text encoder
    block_kinds: ClassVar[tuple[str, ...]] = ("single",)  # what its blocks are called where patches choose among them
    computes_alike: ClassVar[bool] = False  # words by the same weights as cells, and `read_by_head` takes both
    self_guidance_branch: ClassVar[type | None] = None  # see branch.py
    paces_known: ClassVar[bool] = False  # whether a schedule counts known cells too, as its authors' sampler does
    unquantized: ClassVar[tuple[str, ...]] = ("mlm_layer.",)  # beginnings of names: the token head
    uncalled: ClassVar[tuple[str, ...]] = ("mlm_layer.",)  # the same, of layers whose weights are applied directly
    embeddings: ClassVar[tuple[str, ...]] = ()  # names of those that are packed with the layers, in 8 bits
    packed_first: ClassVar[bool] = False  # whether calibrations look at packed weights: for those too large in floats
    widened: ClassVar[tuple[str, ...]] = ("mlm_layer.",)  # the same, of weights that the head applies in float32
    timestep_rule: ClassVar[str] = "index"  # what its authors tell it at each step (MGTModel.timestep_rule)
    # Tensors that are published beside its folder in files of their own and may be missing: buffer -> file
    beside: ClassVar[Mapping[str, str]] = {}

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

    def saved_config(self) -> dict:
        """Its config as `configure` reads it out of a file again."""
        return asdict(self.config) if is_dataclass(self.config) else dict(self.config)

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

    def trained_side(self, folder: str) -> int | None:
        """Pixels of the square pictures that the weights in `folder` were trained at, where its name tells."""
        return None

    def is_trained_grid(self, grid: tuple[int, int]) -> bool:
        """Whether its authors make pictures on this (height, width) grid too."""
        return tuple(grid) == tuple(self.trained_grid)

    @property
    def stage_shares(self) -> tuple[int, ...]:
        """One, for a grid whose cells are filled together. Else its rows are code books of sound, filled one after the
        other: about how many steps each of them takes of all."""
        return (1,)

    def at_stage(self, stage: int, tokens: Tensor) -> "Backbone":
        """A view of itself that shares the weights, on grids [B, 1, w] of row `stage` alone, which sees the other rows
        of `tokens` [B, h, w] beside it (sampling/stages.py)."""
        raise NotImplementedError

    @property
    def shared(self) -> "Backbone":
        """The network whose weights a view has, by which is kept what is made of them; any other network itself."""
        return self

    def each_repeated(self, times: int) -> "Backbone":
        """For so many candidates of every image, one below the other: a view that holds tokens has them as often."""
        return self

    def fit_codec(self, codec: Any) -> None:
        """Told once, when both are loaded, by the codec that its tokens are of."""

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

    def rows_beside(self, condition: Condition, grid: tuple[int, int]) -> int:
        """Rows of one picture that its blocks compute beside those of its cells, where they are many."""
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

    @classmethod
    def reason_against(cls, refused: str) -> str | None:
        """Why it does not heed a field of Hooks, or takes one GRID alone; None of anything else."""
        return cls.refusals.get(refused) or REASONS.get(refused)

    def why(self, refused: str) -> str:
        """ ": " and why, of what `refusals` names; "" of anything else."""
        reason = self.reason_against(refused)
        return f": {reason}" if reason else ""

    def check_supports(self, patch: str, name: str) -> None:
        """Raises MGTError, with the reason, when `patch`, which `supports` would name and people know as `name`, has no
        meaning here."""
        if patch not in self.supports:
            able = [entry for entry in BACKBONES if patch in BACKBONES.get(entry).supports]
            raise MGTError(
                f"{name} does not work with the {BACKBONES.name_of(type(self))} architecture{self.why(patch)}; "
                f"it works with {', '.join(able)}"
            )

    def check_grid(self, grid: tuple[int, int]) -> None:
        """Raises MGTError for a grid that the layout cannot hold."""
        if self.only_trained_grid and tuple(grid) != self.trained_grid:
            h, w = self.trained_grid
            raise MGTError(
                f"the token grid is {grid[0]} x {grid[1]}; this model has positions for {h} x {w} alone{self.why(GRID)}"
            )
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

    def alike(self, conditions: Sequence[Condition]) -> list[Condition]:
        """Those of a run, some of them of other shapes, so that they share calls, and with the same result."""
        return list(conditions)

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
