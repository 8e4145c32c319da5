"""Prompts as people write them in ComfyUI: weights in parentheses, and more words than the encoder takes."""

import math
from collections.abc import Sequence

WHOLE = 8  # a piece of fewer tokens is not torn apart where a chunk ends

Token = tuple[int, float]  # id, weight


def parse_weights(text: str) -> list[tuple[str, float]]:
    """Pieces of a prompt and their weights.

    (words:1.3) weighs its words by 1.3 whatever is around it. Parentheses without a number or a partner are text, as
    they are to the models' own code, so that a text without weights is one piece; so are \\( and \\).
    """
    # One frame for each parenthesis that is open: pieces [text, number or None].
    frames: list[list[list]] = [[]]
    starts: list[int] = []  # where each of them begins in the text
    plain, position = "", 0

    def close_piece() -> None:
        nonlocal plain
        if plain:
            frames[-1].append([plain, None])
        plain = ""

    while position < len(text):
        letter, position = text[position], position + 1
        if letter == "\\" and text[position : position + 1] in ("(", ")"):
            plain, position = plain + text[position], position + 1
        elif letter == "(":
            close_piece()
            frames.append([])
            starts.append(position)
        elif letter == ")" and len(frames) > 1:
            plain, number = split_number(plain, position - 1 - starts.pop())
            close_piece()
            pieces = frames.pop()
            if number is None:
                pieces = [["(", None], *pieces, [")", None]]
            frames[-1] += [[words, number if own is None else own] for words, own in pieces]
        else:
            plain += letter
    close_piece()
    while len(frames) > 1:  # opened and never closed
        pieces = frames.pop()
        frames[-1] += [["(", None], *pieces]
    joined: list[tuple[str, float]] = []
    for words, number in frames[0]:
        weight = 1.0 if number is None else number
        if joined and joined[-1][1] == weight:
            words = joined.pop()[0] + words
        joined.append((words, weight))
    return joined


def split_number(words: str, length: int) -> tuple[str, float | None]:
    """ "words:1.3" -> "words", 1.3; anything else as it is. length: of all that stands in the parenthesis, of
    which `words` is the end; a colon at its very start is text."""
    before, colon, after = words.rpartition(":")
    try:
        number = float(after) if colon and length > len(after) + 1 else math.nan
    except ValueError:
        number = math.nan
    return (before, number) if math.isfinite(number) else (words, None)


def chunked(pieces: Sequence[Sequence[Token]], room: int) -> list[list[Token]]:
    """Tokens in chunks of at most `room`; a short piece that does not fit goes whole to the next one."""
    chunks: list[list[Token]] = [[]]
    for piece in pieces:
        left = room - len(chunks[-1])
        if left < len(piece) < WHOLE <= room and chunks[-1]:
            chunks.append([])
            left = room
        while len(piece) > left:
            chunks[-1] += piece[:left]
            piece, left = piece[left:], room
            chunks.append([])
        chunks[-1] += piece
    return chunks
