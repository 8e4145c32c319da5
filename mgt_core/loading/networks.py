"""The networks of a bundle, each loaded from its own folder or file: transformer, codec, text encoder."""

from functools import partial
from pathlib import Path

import torch

from ..backbones.base import Backbone
from ..codecs.base import Codec
from ..conditioning.text import TextEncoder
from ..errors import MGTError, join_some, reason
from ..registry import BACKBONES, CODECS, Registry
from .layouts import config_of
from .materialize import materialize
from .weights import Stored, index_weights, read_json


def load_backbone(source: Path, dtype: torch.dtype, device: torch.device) -> Backbone:
    """The network of a transformer folder or file, its architecture found from its config and tensors."""
    kind, config, stored = recognize(source, BACKBONES, "architecture")
    settings = kind.configure(config, {name: entry.shape for name, entry in stored.items()})
    return materialize(partial(kind, settings), stored, source, dtype, device)


def load_codec(source: Path, dtype: torch.dtype, device: torch.device) -> Codec:
    """The codec of a folder or file."""
    kind, config, stored = recognize(source, CODECS, "codec")
    shapes = {name: entry.shape for name, entry in stored.items()}
    return kind(materialize(partial(kind.build, config, shapes), stored, source, dtype, device))


def recognize(source: Path, registry: Registry, what: str) -> tuple[type, dict, dict[str, Stored]]:
    """(class, config, tensors by the names the network has for them) of a folder or file of weights."""
    config, stored = config_of(source), index_weights(source)
    shapes = {name: entry.shape for name, entry in stored.items()}
    for kind in map(registry.get, registry):
        if kind.recognizes(config, shapes):
            if kind.needs_config and not config:
                raise MGTError(f"{source / 'config.json'} is missing")
            return kind, config, {kind.renamed(n): entry for n, entry in stored.items() if not kind.leaves(n)}
    raise MGTError(
        f"{source} holds no {what} this pack knows ({', '.join(registry)}); "
        f"its first tensors are {join_some(sorted(shapes))}"
    )


def load_text_encoder(folder: Path, tokenizer: Path, dtype: torch.dtype, device: torch.device) -> TextEncoder:
    """transformers' CLIP text model with projection, and its tokenizer."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

    values = read_json(folder / "config.json")
    try:
        config = CLIPTextConfig.from_dict(values)
    except Exception as error:
        raise MGTError(f"{folder / 'config.json'} does not describe a CLIP text encoder ({reason(error)})") from error
    network = materialize(lambda: CLIPTextModelWithProjection(config), index_weights(folder), folder, dtype, device)
    for name in ("vocab.json", "merges.txt"):
        if not (tokenizer / name).is_file():
            raise MGTError(f"{tokenizer / name} is missing")
    try:
        words = CLIPTokenizer.from_pretrained(tokenizer, local_files_only=True)
    except Exception as error:
        raise MGTError(f"{tokenizer} does not hold a readable CLIP tokenizer ({reason(error)})") from error
    if len(words) > config.vocab_size:
        raise MGTError(
            f"{tokenizer} has {len(words)} words and the text encoder beside it takes {config.vocab_size}; "
            "they belong to different models"
        )
    return TextEncoder(network, words, min(words.model_max_length, config.max_position_embeddings))
