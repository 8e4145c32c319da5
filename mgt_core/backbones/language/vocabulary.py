"""What the ids of a joint vocabulary mean: words and marks, and behind them the codes of pictures."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...errors import MGTError
from ...loading.disk import is_dir, is_file, parse_json, read_whole

LARGEST = 64 * 2**20  # bytes of a tokenizer.json, where LLaDA's has about ten million
LISTS = 2_000_000  # in it: newer ones have a list for every merge of two pieces


@dataclass(frozen=True)
class Words:
    """A tokenizer's file, as far as a network goes by it. count: of its ids, the length that transformers tells.
    added: ids of the tokens beside its vocabulary, by their text."""

    count: int
    added: Mapping[str, int]

    @classmethod
    def beside(cls, weights: Path) -> "Words":
        """Of the tokenizer in a folder of weights, or beside a file of them. Raises MGTError where there is none that
        can be read."""
        file = (weights if is_dir(weights) else weights.parent) / "tokenizer.json"
        if not is_file(file):
            raise MGTError(f"{file} is missing, which tells where the codes of pictures begin behind the ids of words")
        try:
            held = parse_json(read_whole(file, LARGEST), LISTS)
            added = {str(entry["content"]): int(entry["id"]) for entry in held["added_tokens"]}
            return cls(len({*held["model"]["vocab"], *added}), added)
        except (KeyError, TypeError, ValueError):
            raise MGTError(f"{file} is not the file of a tokenizer that this pack can read") from None

    def __getitem__(self, text: str) -> int:
        """Raises MGTError for a token that is none of those beside the vocabulary."""
        if text not in self.added:
            raise MGTError(f"the tokenizer has no token {text}, which this model marks pictures with: it is another's")
        return self.added[text]
