"""Muddit (arXiv 2505.23606): Meissonic's network with a second head, which reads words off the text rows.

For pictures it is Meissonic, told (T - 1 - k) / T at step k of T. For captions it is asked the other way round: the
picture is known and the text is masked (mgt_core/captioning).
"""

from collections import deque
from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import MGTError
from ...kernels.wide_product import wide_linear
from ...registry import BACKBONES
from ..hooks import Hooks
from .config import MeissonicConfig
from .network import TEXT_HEAD, MeissonicTransformer, Prepared

SIDES = (512, 1024)  # pixels, as the folders of the published transformers are named


@dataclass(frozen=True)
class MudditConfig(MeissonicConfig):
    """tokenizer_vocab_size: words that the text head knows."""

    tokenizer_vocab_size: int = field(kw_only=True)

    @classmethod
    def from_dict(cls, values: dict) -> "MudditConfig":
        if (width := values.get("t5_dim")) is not None:
            raise MGTError(
                f"transformer config has t5_dim {width!r}; only networks that read CLIP's states (t5_dim null) are "
                "supported, as all published ones are"
            )
        return super().from_dict(values)

    def __post_init__(self):
        super().__post_init__()
        if not self.downsample:
            raise MGTError("transformer config has downsample false; Muddit's networks halve the grid at every size")
        if not self.tokenizer_vocab_size:
            raise MGTError("transformer config has tokenizer_vocab_size 0; expected the number of words of a tokenizer")


@BACKBONES.register("muddit")
class MudditTransformer(MeissonicTransformer):
    """mask_word: [D] what stands for a masked word in the text encoder, published for 1024 px; None without it."""

    config_class = MudditConfig
    timestep_rule = "index_share"
    unquantized = uncalled = (*MeissonicTransformer.unquantized, "text_decoder.")
    beside = {"mask_word": "mask_token_embedding.pth"}

    def __init__(self, config: MudditConfig):
        super().__init__(config)
        words = nn.Linear(config.width, config.tokenizer_vocab_size, bias=False)
        self.text_decoder = nn.Sequential(nn.LayerNorm(config.width, eps=1e-6, elementwise_affine=False), words)
        self.register_buffer("mask_word", None, persistent=False)

    @staticmethod
    def recognizes(config: dict, shapes: dict[str, tuple[int, ...]]) -> bool:
        return TEXT_HEAD in shapes and "context_embedder.weight" in shapes

    def trained_side(self, folder: str) -> int | None:
        return next((side for side in SIDES if folder.endswith(str(side))), None)

    @property
    def published_settings(self) -> dict:
        """Of its script for text to image (inference_t2i.py)."""
        return {"steps": 64, "cfg": 9.0, "temperature": (2.0, 0.0), "schedule": "cosine"}

    @property
    def published_text_encoder(self) -> str:
        return ""  # Meissonic's own

    @property
    def widest(self) -> int:
        """The text head is of captions alone."""
        own = (module for name, module in self.named_modules() if not name.startswith("text_decoder"))
        return max(getattr(module, "out_features", 1) for module in own)

    def text_features(self, tokens: Tensor, timestep: Tensor, prepared: Prepared) -> Tensor:
        """Image tokens [B, h, w], timestep [1] or [B] -> [B, L, C], the text rows after the last block."""
        heard: deque[Tensor] = deque(maxlen=1)
        self.features(tokens, timestep, prepared, Hooks(words=heard))
        return heard[0]

    def text_head(self, rows: Tensor) -> Tensor:
        """[..., C] -> logits [..., tokenizer_vocab_size], in the type of the rows."""
        norm, words = self.text_decoder
        return wide_linear(F.layer_norm(rows, rows.shape[-1:], eps=norm.eps), words.weight)
