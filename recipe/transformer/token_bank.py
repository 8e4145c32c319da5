"""Token bank: scenes composed and encoded once, since encoding costs a quarter of a training step."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..codec.network import encode_tokens, load_codec
from ..data.scenes import Renderer, SceneSampler
from ..data.subjects import Subject
from ..files import save_whole
from .tokenizer import build_tokenizer, load_tokenizer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bank:
    """`tokens` [N, h, w] and `text` [N, L] (padded prompt ids), both int16; `empty` [L] is the empty prompt."""

    tokens: torch.Tensor
    text: torch.Tensor
    empty: torch.Tensor


@torch.no_grad()
def build_bank(
    work: Path, subjects: list[Subject], sprites: np.ndarray, *, count: int = 48_000, device: str = "cpu", seed: int = 1
) -> Bank:
    """Read or write WORK/bank.pt; also writes WORK/tokenizer, learned from the captions."""
    path = work / "bank.pt"
    if path.exists():
        return Bank(**torch.load(path, weights_only=True))
    codec = load_codec(work, device)
    sampler, renderer = SceneSampler(subjects, np.random.default_rng(seed)), Renderer(sprites)
    captions, tokens = [], []
    for start in range(0, count, 64):
        scenes = [sampler.draw() for _ in range(min(64, count - start))]
        images = torch.from_numpy(np.stack([renderer.render(scene) for scene in scenes])).permute(0, 3, 1, 2)
        images = images.to(device, memory_format=torch.channels_last)
        tokens.append(encode_tokens(codec, images).to("cpu", torch.int16))
        captions += [scene.caption for scene in scenes]
        if start % 6400 == 0:
            log.info("encoded %d of %d scenes", start, count)
    build_tokenizer(captions, work / "tokenizer")
    tokenizer = load_tokenizer(work / "tokenizer")
    encode = lambda texts: torch.tensor(  # noqa: E731
        tokenizer(texts, padding="max_length", truncation=True).input_ids, dtype=torch.int16
    )
    bank = {"tokens": torch.cat(tokens), "text": encode(captions), "empty": encode([""])[0]}
    (work / "captions.json").write_text(json.dumps(captions[:2000], indent=0))
    save_whole(path, **bank)
    return Bank(**bank)
