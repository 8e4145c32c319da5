"""Networks that hold pictures and texts in one space: transformers' CLIPModel, and HPSv2's through open_clip."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ..errors import MGTError, join_some, reason
from ..loading.building import told_of
from ..loading.disk import is_file, read_json
from ..loading.weights import index_weights, open_weights
from ..placement import Placement, Resident
from .pixels import clip_pixels, whole_pixels

WORDS = 77
ARCHITECTURE = "ViT-H-14"  # of HPSv2
OTHER = "open_clip_config.json"  # beside weights of another size, as open_clip's repositories have it
DERIVED = {"attn_mask", "logit_bias"}


class Pair(ABC):
    """network: in float32. placement: where it computes. scale: what a cosine is multiplied by to be a logit."""

    network: nn.Module
    placement: Placement

    def __init__(self, network: nn.Module, device: torch.device):
        self.network = network.eval().to(device, torch.float32)
        self.placement = Resident(self.network)

    @property
    def scale(self) -> float:
        return float(self.network.logit_scale.detach().exp())

    @abstractmethod
    def images(self, images: Sequence[Image.Image]) -> Tensor:
        """[N, D] of length 1."""

    @abstractmethod
    def texts(self, texts: Sequence[str]) -> Tensor:
        """[N, D] of length 1."""

    @torch.inference_mode()
    def cosines(self, images: Sequence[Image.Image], texts: Sequence[str]) -> Tensor:
        """[N], of each picture and its text; texts that are alike are read once."""
        distinct = list(dict.fromkeys(texts))
        read = self.texts(distinct)[[distinct.index(text) for text in texts]]
        return (self.images(images) * read).sum(-1)


class ClipPair(Pair):
    """Of a folder as transformers saves it."""

    def __init__(self, folder: Path, device: torch.device):
        from transformers import CLIPModel, CLIPTokenizer

        try:
            network = CLIPModel.from_pretrained(folder, local_files_only=True)
            self.tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # each library has its own for a file that is damaged
            raise MGTError(f"{folder} does not hold a readable CLIPModel ({reason(error)})") from None
        super().__init__(network, device)

    def images(self, images: Sequence[Image.Image]) -> Tensor:
        pixels = clip_pixels(images, self.network.config.vision_config.image_size).to(self.placement.acquire())
        pooled = self.network.vision_model(pixel_values=pixels).pooler_output
        return F.normalize(self.network.visual_projection(pooled), dim=-1)

    def texts(self, texts: Sequence[str]) -> Tensor:
        most = min(WORDS, self.network.config.text_config.max_position_embeddings)
        told = self.tokenizer(list(texts), padding=True, truncation=True, max_length=most, return_tensors="pt")
        told = told.to(self.placement.acquire())
        pooled = self.network.text_model(told.input_ids, attention_mask=told.attention_mask).pooler_output
        return F.normalize(self.network.text_projection(pooled), dim=-1)


class HPSPair(Pair):
    """Of HPSv2's file, a CLIP ViT-H/14 of open_clip, which shows it whole pictures."""

    def __init__(self, file: Path, device: torch.device):
        import open_clip

        own = file.parent / OTHER
        config = read_json(own)["model_cfg"] if is_file(own) else open_clip.get_model_config(ARCHITECTURE)
        self.size = config["vision_cfg"]["image_size"]
        network = open_clip.CLIP(**config)
        fill(network, file)
        self.tokenizer: Any = open_clip.SimpleTokenizer(context_length=config["text_cfg"]["context_length"])
        super().__init__(network, device)

    def images(self, images: Sequence[Image.Image]) -> Tensor:
        shown = whole_pixels(images, self.size).to(self.placement.acquire())
        return self.network.encode_image(shown, normalize=True)

    def texts(self, texts: Sequence[str]) -> Tensor:
        words = self.tokenizer(list(texts)).to(self.placement.acquire())
        return self.network.encode_text(words, normalize=True)


def fill(network: nn.Module, file: Path) -> None:
    """Raises MGTError for weights of another network."""
    take = open_weights(file)
    held = {name: take(entry.name) for name, entry in index_weights(file).items() if name not in DERIVED}
    wanted = {name for name in network.state_dict() if name not in DERIVED}
    if odd := wanted ^ held.keys():
        raise MGTError(f"{file} does not hold HPSv2's network: {join_some(sorted(odd))} differ")
    with told_of(file, "does not hold HPSv2's network"):
        network.load_state_dict(held, strict=False)
