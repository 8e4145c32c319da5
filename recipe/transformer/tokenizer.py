"""A CLIP tokenizer in which every caption word is one token and any other text still encodes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from ..files import write_json

START, END = "<|startoftext|>", "<|endoftext|>"
MAX_LENGTH = 24
# CLIP's own pre-tokenizer pattern, or merges would be learned over other words than those it looks up.
PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""


def build_tokenizer(captions: Iterable[str], folder: Path) -> None:
    """Write vocab.json, merges.txt and the two config files, laid out as CLIP's published ones."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.normalizer = normalizers.Lowercase()
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=20000, min_frequency=1, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    trained.train_from_iterator(captions, trainer)
    merges = [tuple(pair) for pair in json.loads(trained.to_str())["model"]["merges"]]
    # Same order as CLIP's: bytes, bytes that end a word, merges, then the two special tokens.
    pieces = [*alphabet, *(byte + "</w>" for byte in alphabet)]
    pieces += list(dict.fromkeys(a + b for a, b in merges if a + b not in set(pieces)))
    vocab = {piece: index for index, piece in enumerate([*pieces, START, END])}

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False, indent=1) + "\n", "utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")
    start, end = (_added(text) for text in (START, END))
    special = {"bos_token": start, "eos_token": end, "pad_token": END, "unk_token": END}
    write_json(folder / "special_tokens_map.json", special)
    write_json(
        folder / "tokenizer_config.json",
        {
            "added_tokens_decoder": {
                str(vocab[START]): start | {"special": True},
                str(vocab[END]): end | {"special": True},
            },
            "bos_token": START,
            "eos_token": END,
            "pad_token": END,
            "unk_token": END,
            "clean_up_tokenization_spaces": False,
            "do_lower_case": True,
            "errors": "replace",
            "model_max_length": MAX_LENGTH,
            "tokenizer_class": "CLIPTokenizer",
        },
    )


def _added(text: str) -> dict:
    return {"content": text, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}


def load_tokenizer(folder: Path):
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(folder)
