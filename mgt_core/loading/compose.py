"""The parts of one bundle, from as many places as it takes.

A part that is named comes from there. Of the others, the codec, the text encoder, the tokenizer and the settings of
sampling come from the bundle itself, else from a base bundle, which lends what is missing: fine-tunes are often
published as a transformer alone (MaskFocus, Di[M]O under meissonic/transformer, merged LoRAs).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from ..errors import MGTError, join_some, shortened
from ..registry import LANGUAGE_ENCODERS
from .disk import is_dir, is_file
from .hub import name_of
from .layouts import (
    BUILT_IN,
    CODEC,
    LANGUAGE,
    Look,
    at_home,
    find_bundle,
    find_part,
    folder_of,
    named_by,
    the_part,
    transformer_at,
)
from .neighbours import is_name, neighbour
from .part import Part, as_codec, as_language, as_text_encoder, as_transformer, read_part
from .weights import shapes_of
from .words import EXPECTED, SPIECE, has_words, with_words

Source = str | os.PathLike
SCHEDULER = Path("scheduler") / "scheduler_config.json"


@dataclass(frozen=True)
class Elsewhere:
    """Where parts of a bundle come from instead: names or paths of what `load` takes, or of the part alone. base: lends
    what the bundle lacks. text: whether a text encoder is wanted at all. shelves: folders of text encoders, among which
    one that a bundle names and does not bring is looked for."""

    transformer: Source | None = None
    text_encoder: Source | None = None
    tokenizer: Source | None = None
    codec: Source | None = None
    base: Source | None = None
    text: bool = True
    shelves: Sequence[Source] = ()


@dataclass(frozen=True)
class Layout:
    """All that `load` goes by. name: of the bundle. folder: where the transformer's own settings lie.
    scheduler: file of the settings of sampling, which need not be there. text_encoder, tokenizer: None for models of
    classes, or where none is wanted. language: the language model that reads prompts beside a text encoder, of networks
    that take one. whole: whether the transformer was published with its codec, not alone."""

    name: str
    folder: Path
    scheduler: Path
    transformer: Part
    codec: Part
    text_encoder: Part | None
    tokenizer: Path | None
    whole: bool = True
    language: Part | None = None


def find_layout(source: Source, elsewhere: Elsewhere = Elsewhere()) -> Layout:
    """Parts of a built-in model, a bundle's folder, or a transformer's folder or file, each of them read, once.

    Raises MGTError naming what is missing, or cannot be loaded."""
    look, path = cache(read_part), find_bundle(source)
    lenders = [path] if elsewhere.base is None else [path, find_bundle(elsewhere.base, "base")]
    home = path if elsewhere.transformer is None else find_bundle(elsewhere.transformer, "transformer")
    transformer = with_config(transformer_at(home, look), [place for place in lenders if place != home], look)
    places = [folder_of(place) for place in lenders]
    codec = find_codec(elsewhere.codec, places, transformer.codes, look)
    text = tokenizer = language = None
    if elsewhere.text and "hidden" in transformer.kind.condition_fields:
        shelves = [at_home(shelf) for shelf in elsewhere.shelves]
        text = find_text(elsewhere.text_encoder, places, look, transformer.reads, shelves)
        tokenizer = tokenizer_for(text, elsewhere.tokenizer, places)
        if transformer.kind.reads_language:
            language = find_language(places, look)
    elif elsewhere.text and "prompt" in transformer.kind.condition_fields:
        tokenizer = find_prompt_tokenizer(elsewhere.tokenizer, transformer, [folder_of(home), *places])
    settings = [folder / SCHEDULER for folder in (folder_of(home), *places)]
    return Layout(
        str(source) if str(source) in BUILT_IN else name_of(named_by(path)),
        folder_of(home),
        next((file for file in settings if file.is_file()), settings[0]),
        transformer,
        codec,
        text,
        tokenizer,
        (folder_of(home) / CODEC[-1]).is_dir(),
        language,
    )


def with_config(transformer: Part, lenders: Sequence[Path], look: Look) -> Part:
    """A transformer that can be built. One without its config takes that of the same network in a bundle beside it.

    Raises MGTError saying why it cannot."""
    if transformer.kind and transformer.kind.needs_config and not transformer.config:
        for place in lenders:
            lent = transformer_at(place, look)
            if lent.kind is transformer.kind and lent.config:
                return replace(transformer, config=lent.config, codes=lent.codes, reads=lent.reads)
    return as_transformer(transformer)


def find_codec(given: Source | None, places: Sequence[Path], codes: int | None, look: Look) -> Part:
    """The codec that was given; else that of the first place that has one which fits, and of the last in any case."""
    if given is not None:
        path = find_bundle(given, "codec")
        return as_codec(look(path) if path.is_file() else the_part(path, *CODEC, look, codes))
    *others, last = places
    found = (fitting_codec(place, codes, look) for place in others)
    return as_codec(next(filter(None, found), None) or the_part(last, *CODEC, look, codes))


def fitting_codec(place: Path, codes: int | None, look: Look) -> Part | None:
    """None also where several lie, as beside a transformer's file in a folder of many models."""
    try:
        part = find_part(place, *CODEC, look, codes)
    except MGTError:
        return None
    return part if part is not None and part.codes in (None, codes) else None


def find_text(
    given: Source | None, places: Sequence[Path], look: Look, named: str = "", shelves: Sequence[Path] = ()
) -> Part:
    """The text encoder: of a folder named text_encoder, or what was given itself. named: the repository of one that the
    bundle does not bring, which is taken from `places`, beside them or from `shelves`."""
    if given is not None:
        path = find_bundle(given, "text_encoder")
        inner = path / "text_encoder"
        part = look(inner if inner.is_dir() else path)
        if "prompt" in getattr(part.kind, "condition_fields", ()):
            raise MGTError(f"{path} holds a model that reads prompts by itself; loading it gives what encodes them")
        return as_text_encoder(part)
    if found := text_beside(places, named, shelves):
        return as_text_encoder(look(found))
    if named:
        where = places[0] / named.rpartition("/")[2] if is_name(named) else places[0] / "text_encoder"
        raise MGTError(
            f"{name_of(places[0])} reads prompts with {shortened(named, 40)}, which is not there: download its "
            f"config.json, model.safetensors and tokenizer.json from huggingface.co into {where}, or into a folder of "
            "that name in ComfyUI's models/text_encoders; or give a text encoder"
        )
    raise MGTError(
        f"{places[0]} has no subfolder text_encoder; give a text encoder, or a base bundle that lends its own"
    )


def text_beside(places: Sequence[Path], named: str = "", shelves: Sequence[Path] = ()) -> Path | None:
    """The folder of the text encoder of a bundle, or the one that it names, wherever that lies."""
    own = (place / "text_encoder" for place in places)
    return next((folder for folder in own if is_dir(folder)), None) or neighbour(named, places, shelves)


def find_language(places: Sequence[Path], look: Look) -> Part:
    """The language model that reads prompts, of the first place that has one, in a folder with its tokenizer."""
    found = next(filter(None, (language_in(place, look) for place in places)), None)
    if found is None:
        raise MGTError(
            f"{places[0]} has no subfolder {LANGUAGE}, the language model that reads the prompts of this model; "
            "download it too, or give a base bundle that lends its own"
        )
    return found


def language_in(place: Path, look: Look) -> Part | None:
    """None where a bundle has none. Raises MGTError for one of another kind."""
    if not (place / LANGUAGE).is_dir():
        return None
    part = look(place / LANGUAGE)
    kinds = map(LANGUAGE_ENCODERS.get, LANGUAGE_ENCODERS)
    kind = next((kind for kind in kinds if kind.recognizes(part.config, shapes_of(part.stored))), None)
    return as_language(part if kind is None else replace(part, kind=kind))


def tokenizer_for(text: Part, given: Source | None, places: Sequence[Path]) -> Path:
    if text.kind.has_words:
        return own_tokenizer(given, text.path)
    return find_tokenizer(given, places, text.path)


def own_tokenizer(given: Source | None, text_encoder: Path) -> Path:
    """The folder of a tokenizer.json, which lies with the text encoder, as T5 is published."""
    beside = folder_of(text_encoder)
    place = beside if given is None else find_bundle(given, "tokenizer")
    for folder in (place, place / "tokenizer"):
        if is_file(folder / "tokenizer.json"):
            return folder
    older = f" and {SPIECE} is not read" if is_file(place / SPIECE) else ""
    raise MGTError(f"{place} has no tokenizer.json{older}; put that of the text encoder's repository there")


def find_tokenizer(given: Source | None, places: Sequence[Path], text_encoder: Path) -> Path:
    """The bundle's tokenizer, as Meissonic's scripts take it for other encoders too; else what lies with the encoder,
    in its own folder (as in the repositories of whole CLIP models) or in the bundle that it is of."""
    if given is not None:
        path = find_bundle(given, "tokenizer")
        inner = path / "tokenizer"
        return with_words(inner if inner.is_dir() else path)
    beside = folder_of(text_encoder)
    for folder in [*(place / "tokenizer" for place in places), beside / "tokenizer"]:
        if folder.is_dir():
            return with_words(folder)
    for folder in (beside, beside.parent / "tokenizer"):
        if has_words(folder):
            return with_words(folder)
    raise MGTError(
        f"{places[0] if places else beside} has no subfolder tokenizer; give a tokenizer, a folder with {EXPECTED}"
    )


def find_prompt_tokenizer(given: Source | None, transformer: Part, places: Sequence[Path]) -> Path:
    """The tokenizer of a language model, which lies with its weights, or where its kind keeps it."""
    places = [folder_of(transformer.path), *places]
    if given is not None:
        places = [folder_of(find_bundle(given, "tokenizer"))]
    names = transformer.kind.tokenizer_folders(transformer.config)
    for folder in (place / name for place in places for name in names):
        if is_file(folder / "tokenizer.json"):
            return folder
    where = f" and none of its folders {join_some(names[1:])}" if names[1:] else ""
    raise MGTError(f"{places[0]} has no tokenizer.json{where}; give a tokenizer, the folder of one")
