"""The networks of a bundle, each loaded from its own folder or file: transformer, codec, text encoder."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..backbones.base import Backbone
from ..codecs.base import Codec
from ..conditioning.clip import PROJECTION
from ..conditioning.gemma import LENGTH, InstructionEncoder, TwoEncoders, constants_of, states_alone
from ..conditioning.prompt_ids import Framed, PromptEncoder
from ..conditioning.t5 import LONGEST, T5Encoder, T5Text, encoder_alone
from ..conditioning.text import TextEncoder
from ..errors import MGTError, whole_number
from ..pulse import beat_before
from ..quantization.arriving import Packing
from .building import told_of
from .materialize import described_in, materialize
from .official import checkpoint_of
from .part import Part, as_codec, as_transformer, read_part
from .weights import shapes_of
from .words import language_tokenizer, longest_prompt, prompt_tokenizer, t5_tokenizer, tokenizer_of

MOST_POSITIONS = 2**31  # that a language model may say it has


def load_backbone(source: Path, dtype: torch.dtype, device: torch.device) -> Backbone:
    """The network of a transformer folder or file, its architecture found from its config and tensors."""
    return backbone_of(as_transformer(read_part(source)), dtype, device)


def backbone_of(part: Part, dtype: torch.dtype, device: torch.device, packing: Packing | None = None) -> Backbone:
    """packing: of its layers while they are read."""
    stored = part.tensors()
    with told_of(described_in(part.path)):
        config = part.kind.completed(part.config, shapes_of(stored), part.path)
        settings = part.kind.configure(config, shapes_of(stored))
    return materialize(partial(part.kind, settings), stored, part.path, dtype, device, packing)


def load_codec(source: Path, dtype: torch.dtype, device: torch.device) -> Codec:
    """The codec of a folder or file."""
    return codec_of(as_codec(read_part(source)), dtype, device)


def codec_of(part: Part, dtype: torch.dtype, device: torch.device) -> Codec:
    stored = part.tensors()
    build = partial(part.kind.build, part.config, shapes_of(stored))
    return part.kind(materialize(build, stored, part.path, dtype, device))


def text_encoder_of(
    part: Part, tokenizer: Path, dtype: torch.dtype, device: torch.device, packing: Packing | None = None
) -> TextEncoder:
    """transformers' CLIP text model with projection, and the tokenizer of a folder."""
    from transformers import CLIPTextModelWithProjection

    stored = part.tensors()
    if PROJECTION not in stored:
        raise MGTError(
            f"{part.path} has no {PROJECTION}, as a CLIPTextModel is saved, and the transformer takes projected states "
            "too; give an encoder saved as CLIPTextModelWithProjection, or a whole CLIPModel"
        )
    config = part.kind.configure(part.config, shapes_of(stored), described_in(part.path))
    whole_number(f"num_hidden_layers of {described_in(part.path)}", config.num_hidden_layers, 1, len(stored))
    network = materialize(lambda: CLIPTextModelWithProjection(config), stored, part.path, dtype, device, packing)
    beat_before(network.text_model.encoder.layers)
    words = tokenizer_of(tokenizer, config.vocab_size, part.path)
    length = longest_prompt(words, config.max_position_embeddings, tokenizer)
    return TextEncoder(network, words, length, checkpoint=checkpoint_of(part))


def prompt_encoder_of(network: Backbone, tokenizer: Path) -> PromptEncoder:
    """The tokenizer of a folder, with the form that prompts of `network` have.

    Raises MGTError for one that cannot be read, or that has other ids than the network."""
    words = prompt_tokenizer(tokenizer)
    if len(words) != network.tokenizer_length:
        raise MGTError(
            f"the tokenizer of {tokenizer} has {len(words)} tokens, and the transformer was trained with "
            f"{network.tokenizer_length}; they belong to different models"
        )
    if isinstance(network.prompt_form, Framed) and None in (words.bos_token_id, words.eos_token_id):
        raise MGTError(
            f"the tokenizer of {tokenizer} has no start or no end token; its tokenizer_config.json names them"
        )
    form, pictures = network.prompt_form, network.picture_form
    return PromptEncoder(nn.Module(), words, network.longest_prompt, form=form, pictures=pictures)


def text_of(
    part: Part,
    tokenizer: Path,
    language: Part | None,
    dtype: torch.dtype,
    device: torch.device,
    packing: Packing | None = None,
) -> TextEncoder:
    """The text encoder, and the language model beside it where there is one."""
    if part.kind is T5Text:
        return t5_of(part, tokenizer, device, packing)
    clip = text_encoder_of(part, tokenizer, dtype, device, packing)
    if language is None:
        return clip
    network, words = language_of(language, dtype, device, packing)
    both = TwoEncoders(clip.network, network)
    return InstructionEncoder(both, words, LENGTH, None, clip.checkpoint, clip.tokenizer, clip.max_length)


def t5_of(part: Part, tokenizer: Path, device: torch.device, packing: Packing | None = None) -> T5Encoder:
    """T5's encoder, in float32 as those of MAGNeT load it, and the tokenizer of a folder."""
    stored, where = part.tensors(), described_in(part.path)
    config = part.kind.configure(part.config, where)
    whole_number(f"num_layers of {where}", config.num_layers, 1, len(stored))
    network = materialize(lambda: encoder_alone(config), stored, part.path, torch.float32, device, packing)
    beat_before(network.encoder.block)
    return T5Encoder(network, t5_tokenizer(tokenizer, config.vocab_size, part.path), LONGEST)


def language_of(
    part: Part, dtype: torch.dtype, device: torch.device, packing: Packing | None = None
) -> tuple[nn.Module, Any]:
    """transformers' Gemma2Model without what stands after its last layer but one, which is not read from the files; and
    its tokenizer, which lies with it."""
    where = described_in(part.path)
    config = part.kind.configure(part.config, where)
    whole_number(f"num_hidden_layers of {where}", config.num_hidden_layers, 2, len(part.stored))
    whole_number(f"max_position_embeddings of {where}", config.max_position_embeddings, LENGTH, MOST_POSITIONS)
    last = f"layers.{config.num_hidden_layers - 1}."
    stored = {name: entry for name, entry in part.tensors().items() if not name.startswith(last)}
    with told_of(where):
        constants = constants_of(config)
    network = materialize(lambda: states_alone(config), stored, part.path, dtype, device, packing, constants)
    beat_before(network.layers)
    return network, language_tokenizer(part.path, config.vocab_size)
