"""Between texts and the ids of a caption: questions before a run, sentences after it."""

import re
from typing import Any

from torch import Tensor

from ..conditioning.text import TextEncoder
from ..errors import MGTError, shortened
from ..loading.building import told_of
from ..plain import whole_text

FILLERS = ("is such is", "such is", "such as", "such")  # deleted in this order, as the published code does


def question_ids(text: TextEncoder, question: str) -> list[int]:
    """Start token and words, without the end token; none of an empty question, whose caption has all places.

    Raises MGTError for one that leaves no place for an answer."""
    if not isinstance(question, str):
        raise MGTError(f"question is {question!r}; expected a text")
    if not question:
        return []
    with told_of("the tokenizer", "cannot read the question"):
        words = text.tokenizer(whole_text(question), add_special_tokens=False).input_ids
    if len(words) + 1 >= text.max_length:
        raise MGTError(
            f"question has {len(words)} tokens ({shortened(question)!r}); accepted are up to {text.max_length - 2}, "
            "which leaves one place for the answer"
        )
    return [text.tokenizer.bos_token_id, *words]


def sentence(tokenizer: Any, ids: Tensor) -> str:
    """What a caption of these ids [n] says."""
    return tidied(tokenizer.decode(ids.tolist(), skip_special_tokens=True))


def tidied(text: str) -> str:
    """A caption as the published code hands it out: of equal words one after the other the first, without FILLERS, up
    to the last full stop where there is one."""
    words = text.split()
    text = " ".join(word for word, before in zip(words, [None, *words], strict=False) if word != before)
    text = re.sub("|".join(FILLERS), "", text).strip()
    return text[: text.rfind(".") + 1] if "." in text else text
