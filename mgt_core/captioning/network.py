"""The other way round: a network for pictures as a backbone whose tokens are the words of a caption."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..backbones.base import Backbone
from ..backbones.hooks import NO_HOOKS, Hooks
from ..backbones.meissonic.muddit import MudditTransformer
from ..errors import MGTError
from ..types import Condition, micro_conditions
from .encoder import MaskedText


class Asked(NamedTuple):
    """pictures: [B, h, w] tokens of what is asked about. micro: [B, 5] their micro-conditions."""

    pictures: Tensor
    micro: Tensor


class CaptionNetwork(Backbone):
    """A grid of one row of words, [B, 1, L]: every evaluation encodes the words so far, some of them masked, and reads
    the text rows of the network on the picture's tokens, which stay as they are (Muddit, arXiv 2505.23606).

    The condition is the picture, by its number as a label; that of no class is a canvas all masked, which guidance
    other than 1 compares with. It is no architecture of any checkpoint, so it is not registered; patches do not act
    inside it.
    """

    condition_fields = ("labels",)
    has_unconditional_class = True
    only_trained_grid = True
    widened = ("network.text_decoder.",)

    def __init__(self, network: MudditTransformer, text: MaskedText, pictures: Tensor, scale: int, length: int):
        """pictures: [B, h, w] tokens. scale: pixels a token. length: words of a caption."""
        super().__init__()
        self.network, self.text, self.length = network, text, length
        blank = torch.full_like(pictures[:1], network.mask_id)
        self.pictures = torch.cat([pictures, blank])  # UNCONDITIONAL counts from the end
        height, width = (side * scale for side in pictures.shape[1:])
        self.micro = micro_conditions((height, width))

    @staticmethod
    def recognizes(config: dict, shapes: dict[str, tuple[int, ...]]) -> bool:
        return False

    @property
    def mask_id(self) -> int:
        return self.network.config.tokenizer_vocab_size

    @property
    def codebook_size(self) -> int:
        return self.network.config.tokenizer_vocab_size

    @property
    def trained_grid(self) -> tuple[int, int]:
        return 1, self.length

    @property
    def num_classes(self) -> int:
        return len(self.pictures) - 1

    @property
    def picture_rows(self) -> int:
        return self.pictures[0].numel() // self.network.row_side**2

    def attention_bytes(self, rows: int, dtype: torch.dtype, device: torch.device) -> int:
        return self.network.attention_bytes(rows + self.picture_rows, dtype, device)

    @property
    def widest(self) -> int:
        """Of one word, which has its share of the picture's rows beside it; the text head is counted by its table."""
        return self.network.widest * (1 + self.picture_rows // self.length)

    def check_supports(self, patch: str, name: str) -> None:
        raise MGTError(f"{name} does not work on captions: nothing acts inside their network; take it away")

    def prepare(self, condition: Condition, grid: tuple[int, int]) -> Asked:
        device = condition.labels.device
        micro = self.micro.to(device).expand(condition.batch, -1)
        return Asked(self.pictures.to(device)[condition.labels], micro)

    def features(self, tokens: Tensor, timestep: Tensor, prepared: Asked, hooks: Hooks = NO_HOOKS) -> Tensor:
        device, elsewhere = tokens.device, next(self.text.parameters()).device
        hidden, pooled = (states.to(device) for states in self.text(tokens.flatten(1).to(elsewhere)))
        condition = Condition(hidden=hidden, pooled=pooled, micro=prepared.micro)
        known = self.network.prepare(condition, tuple(prepared.pictures.shape[1:]))
        return self.network.text_features(prepared.pictures, timestep, known)[:, None]

    def head(self, features: Tensor) -> Tensor:
        return self.network.text_head(features)
