"""mgt_core/codecs/tiles.py: a codec, from pictures to token ids and back."""

import torch.nn.functional as F
from torch import Tensor, nn

from ..registry import CODECS
from .base import Codec, Shapes

SIDE = 4  # pixels


class Tiles(nn.Module):
    def __init__(self, codes: int):
        super().__init__()
        self.quantize = nn.ModuleDict({"embedding": nn.Embedding(codes, 3 * SIDE**2)})

    @property
    def codebook(self) -> nn.Embedding:
        return self.quantize["embedding"]


@CODECS.register("tiles")
class TilesCodec(Codec):
    """The codebook holds the pixels themselves."""

    needs_config = False

    @staticmethod
    def recognizes(config: dict, shapes: Shapes) -> bool:
        return shapes.keys() == {"quantize.embedding.weight"}

    @staticmethod
    def build(config: dict, shapes: Shapes) -> nn.Module:
        return Tiles(shapes["quantize.embedding.weight"][0])

    @property
    def widths(self) -> tuple[int, ...]:
        return (3, 3, 3)  # channels of each level, which has half the side of the one before: 4 pixels a token

    @property
    def codebook(self) -> nn.Embedding:
        return self.network.codebook

    def _decode(self, codes: Tensor) -> Tensor:
        return F.pixel_shuffle(codes, SIDE)

    def _latents(self, image: Tensor) -> Tensor:
        return F.pixel_unshuffle(image, SIDE)
