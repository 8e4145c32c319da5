"""Weights to begin with: those of an existing bundle, whose tokenizer may have other tokens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..data.groups import plural
from ..data.subjects import Subject
from ..files import save_whole
from .network import DemoNetwork
from .tokenizer import load_tokenizer

EMBEDDING = "text_model.embeddings.token_embedding.weight"


def start_from(work: Path, bundle: Path, subjects: list[Subject]) -> Path:
    """Write WORK/transformer_start.pt, unless it is there. A token that the bundle's tokenizer lacks begins as the
    singular's whose plural it is, or as the mean of the pieces that tokenizer takes it apart into."""
    target = work / "transformer_start.pt"
    if target.exists():
        return target
    network = DemoNetwork(work / "tokenizer")
    text = load_file(bundle / "text_encoder/model.safetensors")
    old, new = load_tokenizer(bundle / "tokenizer"), load_tokenizer(work / "tokenizer")
    text[EMBEDDING] = _rows(text[EMBEDDING], old, new, _singulars(subjects))
    shards = (load_file(file) for file in sorted((bundle / "transformer").glob("*.safetensors")))
    backbone = {name: tensor for shard in shards for name, tensor in shard.items()}
    network.text.load_state_dict({name: tensor.float() for name, tensor in text.items()}, strict=False)
    network.backbone.load_state_dict({name: tensor.float() for name, tensor in backbone.items()})
    save_whole(target, **network.state_dict())
    return target


def _singulars(subjects: list[Subject]) -> dict[str, str]:
    """Word of a plural -> the same word of the name."""
    pairs = ((subject.name.split(), plural(subject.name).split()) for subject in subjects)
    return {many: one for names, plurals in pairs for one, many in zip(names, plurals, strict=True) if one != many}


def _rows(table: Tensor, old, new, singulars: Mapping[str, str]) -> Tensor:
    rows = torch.empty(len(new), table.shape[1])
    known = old.get_vocab()
    for token, row in new.get_vocab().items():
        word = token.removesuffix("</w>")
        if token not in known:
            word = singulars.get(word, word)
        ids = [known[token]] if token in known else old(word, add_special_tokens=False).input_ids
        rows[row] = table[ids].float().mean(0) if ids else table.float().mean(0)
    return rows
