"""mgt_core/backbones/bigram.py: a backbone, which turns tokens into logits. One file, or a folder of them."""

from dataclasses import dataclass

from torch import Tensor, nn

from ..registry import BACKBONES
from ..types import Condition
from .class_grid import ClassGridBackbone
from .hooks import NO_HOOKS, Hooks

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class BigramConfig:
    """Sizes, read from the checkpoint's config or tensors."""

    codebook_size: int
    num_classes: int
    width: int
    cells: int


@BACKBONES.register("bigram")
class Bigram(ClassGridBackbone):  # or Backbone, for prompts and for grids of any size
    """Every token by itself, beside the class."""

    config_class = BigramConfig
    needs_config = False
    supports = frozenset({"perturb"})  # what of Hooks its `features` heeds; patches that need more are refused
    unquantized = uncalled = ("out.",)

    def __init__(self, config: BigramConfig):
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.codebook_size + 1, config.width)
        self.classes = nn.Embedding(config.num_classes, config.width)
        self.places = nn.Embedding(config.cells, config.width)
        self.out = nn.Linear(config.width, config.codebook_size)

    @staticmethod
    def recognizes(config: dict, shapes: Shapes) -> bool:
        return shapes.keys() == {"tokens.weight", "classes.weight", "places.weight", "out.weight", "out.bias"}

    @classmethod
    def configure(cls, config: dict, shapes: Shapes) -> BigramConfig:
        codes, width = shapes["out.weight"]
        return BigramConfig(codes, shapes["classes.weight"][0], width, shapes["places.weight"][0])

    @property
    def mask_id(self) -> int:
        return self.config.codebook_size

    @property
    def cells(self) -> int:
        return self.config.cells

    def prepare(self, condition: Condition, grid: tuple[int, int]) -> Tensor:
        """Once a run: what depends on the condition and the grid alone."""
        return self.classes(condition.labels)[:, None, None]

    def features(self, tokens: Tensor, timestep: Tensor, prepared: Tensor, hooks: Hooks = NO_HOOKS) -> Tensor:
        """Every step. [B, h, w] -> [B, h, w, C]."""
        x = self.tokens(tokens) + self.places.weight.unflatten(0, self.trained_grid)
        return (x if hooks.perturb is None else hooks.perturb(x)) + prepared

    def head(self, features: Tensor) -> Tensor:
        """For the cells that are still masked alone. [..., C] -> [..., codebook_size]."""
        return self.out(features)
