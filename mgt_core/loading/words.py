"""The tokenizer of a text encoder, which has to make ids that the encoder has a row for.

transformers 4 writes vocab.json and merges.txt, its fast classes tokenizer.json as well, and transformers 5 that alone;
each generation reads what the other wrote, where it is asked for by the class that does.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import MGTError, reason
from .building import told_of
from .disk import is_file, parse_json, read_json, read_whole, stat_of
from .marked import in_utf8
from .mistaken import in_place_of

# The files of a vocabulary, as transformers' tokenizers call them, of which a folder has one row or more.
VOCABULARIES = (
    {"vocab_file": "vocab.json", "merges_file": "merges.txt"},
    {"tokenizer_file": "tokenizer.json"},
)
SETTINGS = "tokenizer_config.json"
EXTRA = "extra_special_tokens"  # transformers 5 writes a list of them, where 4 reads a table
# Bytes of the files that are read. Every token that is added to a vocabulary takes longer than the one before.
MAX_WORDS = 5 * 2**20  # the largest of CLIP's has up to four million
MAX_SETTINGS = 128 * 2**10  # CLIP's have about one thousand
FILES = {
    **dict.fromkeys(("vocab.json", "merges.txt", "tokenizer.json"), MAX_WORDS),
    **dict.fromkeys((SETTINGS, "special_tokens_map.json", "added_tokens.json"), MAX_SETTINGS),
    "config.json": MAX_SETTINGS,
}
END = "</s>"  # of T5, behind every prompt
SPIECE = "spiece.model"  # which tokenizer.json was made from, in older copies of T5 alone
MAX_LANGUAGE = 64 * 2**20  # Gemma's has 17 million
LANGUAGE_FILES = {
    "tokenizer.json": MAX_LANGUAGE,
    **dict.fromkeys((SETTINGS, "special_tokens_map.json", "added_tokens.json"), 4 * MAX_SETTINGS),
}
FRAMES = {"bos_token": "<bos>", "pad_token": "<pad>"}  # of a language model, where its settings do not say
SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id")
TRIAL = "a photo of 2 cats, caf\u00e9"
EXPECTED = ", or with ".join(" and ".join(row.values()) for row in VOCABULARIES)
FRAME = 2  # tokens beside those of a prompt, its start and its end


def vocabulary_in(folder: Path) -> dict[str, str]:
    """The files of a vocabulary in a folder, by transformers' arguments for them; none where it is not whole."""
    whole = [row for row in VOCABULARIES if all(is_file(folder / file) for file in row.values())]
    return {name: str(folder / file) for row in whole for name, file in row.items()}


def has_words(folder: Path) -> bool:
    """Whether any file of a vocabulary lies in the folder."""
    return any(is_file(folder / file) for row in VOCABULARIES for file in row.values())


def with_words(folder: Path) -> Path:
    """Raises MGTError where the folder is none of a CLIP tokenizer."""
    if not vocabulary_in(folder):
        missing = next(file for file in VOCABULARIES[0].values() if not is_file(folder / file))
        raise MGTError(f"{folder / missing} is missing; a tokenizer is a folder with {EXPECTED}")
    return folder


def tokenizer_of(folder: Path, rows: int, encoder: Path) -> Any:
    """transformers' CLIPTokenizer of a folder, for an encoder whose table has so many rows.

    Raises MGTError for one that cannot be read, has no start or end, or makes other ids."""
    from transformers import CLIPTokenizer, CLIPTokenizerFast

    with told_of(folder, "does not hold a readable CLIP tokenizer"):
        check_files(folder, FILES, "CLIP tokenizer")
        for name, limit in FILES.items():
            if name.endswith(".json") and is_file(folder / name):
                check_json(folder / name, limit)
        with in_utf8(folder, FILES) as readable:
            files = vocabulary_in(readable)
            kind = CLIPTokenizer if "vocab_file" in files else CLIPTokenizerFast  # the same in transformers 5
            words = kind.from_pretrained(readable, local_files_only=True, **files, **special_tokens(readable))
        ids = [*words.get_vocab().values(), *words(TRIAL, add_special_tokens=False).input_ids]
        special = [getattr(words, name) for name in SPECIAL]
        if not all(isinstance(value, int) and value >= 0 for value in (*ids, *special)):
            raise MGTError(f"it has words whose ids are no whole numbers, or lacks one of {', '.join(SPECIAL)}")
        if max(len(words), 1 + max(*ids, *special)) > rows:
            raise MGTError(
                f"{folder} has {len(words)} words with ids up to {max(*ids, *special)} and the text encoder "
                f"{encoder.name} takes {rows}; they belong to different models"
            )
        return words


def prompt_tokenizer(folder: Path) -> Any:
    """transformers' tokenizer of a folder with a language model that embeds its words itself: by tokenizer.json, and by
    the special tokens that the files beside it name. Raises MGTError for one that cannot be read."""
    from transformers import PreTrainedTokenizerFast

    check_files(folder, LANGUAGE_FILES)
    with told_of(folder, "does not hold a readable tokenizer"), in_utf8(folder, LANGUAGE_FILES) as readable:
        return PreTrainedTokenizerFast.from_pretrained(readable, local_files_only=True)


def check_files(folder: Path, files: Mapping[str, int], what: str = "tokenizer") -> None:
    """Raises MGTError where one of `files` is larger than it may be, or something else under its name."""
    for name, limit in files.items():
        file = folder / name
        if is_file(file) and (told := in_place_of(file)):
            raise MGTError(f"{folder} does not hold a readable {what}: {name} is {told.what}; {told.advice}")
        if is_file(file) and (size := stat_of(file).st_size) > limit:
            raise MGTError(f"{file} has {size} bytes; accepted are up to {limit}")


def language_tokenizer(folder: Path, rows: int) -> Any:
    """transformers' tokenizer of a folder with a language model in it, whose table has so many rows: by tokenizer.json
    alone, and by what the settings beside it call its start and its padding.

    Raises MGTError for one that cannot be read, has neither, or makes other ids."""
    from transformers import PreTrainedTokenizerFast

    file = folder / "tokenizer.json"
    if not is_file(file):
        raise MGTError(f"{file} is missing; the language model's tokenizer lies beside its weights")
    check_files(folder, LANGUAGE_FILES)
    settings = read_json(folder / SETTINGS) if is_file(folder / SETTINGS) else {}
    special = {name: plain_token(settings.get(name, usual)) for name, usual in FRAMES.items()}
    with told_of(folder, "does not hold a readable tokenizer"):
        with in_utf8(folder, {file.name: MAX_LANGUAGE}) as readable:
            words = PreTrainedTokenizerFast(
                tokenizer_file=str(readable / file.name), **special, name_or_path=str(folder), model_max_length=10**9
            )
        ids = [*words.get_vocab().values(), *words(TRIAL, add_special_tokens=False).input_ids]
        ids += [words.bos_token_id, words.pad_token_id]
        if max(ids) >= rows:
            raise MGTError(
                f"{folder} has {len(words)} words with ids up to {max(ids)} and the language model beside them takes "
                f"{rows}; they belong to different models"
            )
    return words


def t5_tokenizer(folder: Path, rows: int, encoder: Path) -> Any:
    """transformers' tokenizer of a folder with a T5, or with its words, for an encoder whose table has so many rows: by
    tokenizer.json alone. Raises MGTError for one that cannot be read, has no end, or makes other ids."""
    from transformers import PreTrainedTokenizerFast

    check_files(folder, LANGUAGE_FILES)
    with told_of(folder, "does not hold a readable T5 tokenizer"), in_utf8(folder, LANGUAGE_FILES) as readable:
        file = str(readable / "tokenizer.json")
        words = PreTrainedTokenizerFast(tokenizer_file=file, name_or_path=str(folder), model_max_length=10**9)
        vocabulary = words.get_vocab()
        if END not in vocabulary:
            raise MGTError(f"{folder} has a tokenizer without {END}, which ends every prompt of T5")
        words.eos_token = END
        highest = max(*vocabulary.values(), *words(TRIAL, add_special_tokens=False).input_ids)
        if highest >= rows:
            raise MGTError(
                f"{folder} has {len(vocabulary)} words with ids up to {highest} and the text encoder {encoder.name} "
                f"takes {rows}; they belong to different models"
            )
    return words


def plain_token(value: Any) -> str:
    """Of settings, which write a special token as a text or as an object that has it."""
    return str(value.get("content") if isinstance(value, dict) else value)


def check_json(file: Path, limit: int) -> None:
    """transformers does not say which of its files it cannot read."""
    try:
        parse_json(read_whole(file, limit))
    except ValueError as error:
        raise MGTError(f"{file} is not valid JSON ({reason(error)})") from None


def special_tokens(folder: Path) -> dict[str, Any]:
    """Those beside the usual ones as every transformers takes them; nothing where they are written so."""
    file = folder / SETTINGS
    held = read_json(file) if is_file(file) else {}
    if isinstance(held.get(EXTRA, {}), dict):
        return {}
    return {EXTRA: {}, "additional_special_tokens": held[EXTRA] or []}


def longest_prompt(words: Any, positions: int, folder: Path) -> int:
    """Tokens that a prompt is padded or cut to. positions: of the encoder. Raises MGTError where there is no room."""
    longest = words.model_max_length
    if isinstance(longest, float) and (longest.is_integer() or longest == math.inf):  # as good as none
        longest = int(min(longest, positions))
    if not isinstance(longest, int) or isinstance(longest, bool) or min(longest, positions) <= FRAME:
        raise MGTError(
            f"{folder} has model_max_length {longest!r} and its text encoder {positions} positions; expected whole "
            f"numbers above {FRAME}, for the start and the end of a prompt"
        )
    return min(longest, positions)
