"""Transformers' CLIPModel with its tokenizer: pictures and texts in one space."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from mgt_core.errors import MGTError, reason

from .base import Repository
from .pixels import clip_pixels

FILES = ("config.json", "model.safetensors|pytorch_model.bin", "vocab.json", "merges.txt")
WORDS = 77


def clip_repository(name: str) -> Repository:
    return Repository(name, FILES)


class ClipPair:
    """Of a folder as transformers saves it, in float32."""

    def __init__(self, folder: Path, device: torch.device):
        from transformers import CLIPModel, CLIPTokenizer

        self.device = device
        try:
            self.model = CLIPModel.from_pretrained(folder, local_files_only=True)
            self.tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # each library has its own for a file that is damaged
            raise MGTError(f"{folder} does not hold a readable CLIPModel ({reason(error)})") from None
        self.model = self.model.eval().to(device, torch.float32)

    @property
    def scale(self) -> Tensor:
        return self.model.logit_scale.exp()

    def images(self, images: Sequence[Image.Image]) -> Tensor:
        """[N, D] of length 1."""
        pixels = clip_pixels(images, self.model.config.vision_config.image_size).to(self.device)
        pooled = self.model.vision_model(pixel_values=pixels).pooler_output
        return F.normalize(self.model.visual_projection(pooled), dim=-1)

    def texts(self, texts: Sequence[str]) -> Tensor:
        """[N, D] of length 1."""
        most = min(WORDS, self.model.config.text_config.max_position_embeddings)
        told = self.tokenizer(list(texts), padding=True, truncation=True, max_length=most, return_tensors="pt")
        told = told.to(self.device)
        pooled = self.model.text_model(told.input_ids, attention_mask=told.attention_mask).pooler_output
        return F.normalize(self.model.text_projection(pooled), dim=-1)

    def cosines(self, images: Sequence[Image.Image], texts: Sequence[str]) -> Tensor:
        """[N], of each picture and its text."""
        return (self.images(images) * self.texts(texts)).sum(-1)
