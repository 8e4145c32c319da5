"""The text encoder: a T5 encoder with random weights that never change, and a tokenizer that knows the captions' words.

Captions are words that mean one thing each, so that it is enough to tell the words apart: the network learns what they
mean.
"""

from __future__ import annotations

import string
from pathlib import Path

import torch
from torch import Tensor
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from .melodies import caption, combinations

WIDTH, SEED = 48, 0
CONFIG = {
    "d_model": WIDTH,
    "d_kv": 12,
    "d_ff": 48,
    "num_heads": 4,
    "num_layers": 1,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 20,
    "feed_forward_proj": "relu",
    "pad_token_id": 0,
    "eos_token_id": 1,
}
MARK = "▁"  # begins a word
OTHERS = string.ascii_letters + string.digits + string.punctuation


def pieces() -> list[tuple[str, float]]:
    """(piece, score): special ones, the words of captions, then what other words are made of."""
    words = sorted({word for combination in combinations() for word in caption(*combination).split()})
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return [*special, *((MARK + word, -1.0) for word in words), (MARK, -5.0), *((letter, -6.0) for letter in OTHERS)]


def new_tokenizer() -> T5Tokenizer:
    return T5Tokenizer(vocab=pieces(), extra_ids=0)


def new_encoder() -> T5EncoderModel:
    """Always the same, rounded to half precision as it is stored."""
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        encoder = T5EncoderModel(T5Config(vocab_size=len(pieces()), **CONFIG))
    return encoder.half().float().eval()


@torch.no_grad()
def encode(texts: list[str]) -> tuple[Tensor, Tensor]:
    """-> (hidden [B, L, WIDTH], 1 where there is text [B, L])."""
    batch = new_tokenizer()(texts, padding=True, return_tensors="pt")
    return new_encoder()(batch.input_ids, batch.attention_mask).last_hidden_state, batch.attention_mask


def save_text_encoder(folder: Path) -> None:
    new_tokenizer().save_pretrained(folder)
    new_encoder().half().save_pretrained(folder)
