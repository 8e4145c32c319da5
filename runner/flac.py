"""The texts that a FLAC file carries (RFC 9639, section 8.6: Vorbis comments), read without its samples, and put in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import BinaryIO

SIGNATURE = b"fLaC"
COMMENTS, LAST = 4, 0x80  # the kind of block that holds texts; the mark of the last block
LONGEST_BLOCK = 2**24 - 1  # bytes, by the format
MOST_BLOCKS = 10_000
WRITER = b"MGT run_workflow"


def texts(stream: BinaryIO, keywords: tuple[str, ...], most: int) -> dict[str, str]:
    """Those of these keywords, from a stream behind the signature; keywords there are of any case. most: bytes of
    them all that are read.

    Raises ValueError where the file is damaged, or holds more."""
    for _ in range(MOST_BLOCKS):
        head = stream.read(4)
        if len(head) < 4:
            raise ValueError("it is cut off")
        length = int.from_bytes(head[1:], "big")
        if head[0] & ~LAST == COMMENTS:
            if length > most:
                raise ValueError(f"its texts are longer than {most} bytes")
            block = stream.read(length)
            if len(block) < length:
                raise ValueError("it is cut off")
            held = dict(_comments(block))
            return {keyword: held[keyword].decode("utf-8") for keyword in keywords if keyword in held}
        if head[0] & LAST:
            return {}
        stream.seek(length, 1)
    raise ValueError("it has blocks without end")


def with_texts(data: bytes, given: Mapping[str, str]) -> bytes:
    """The file with these texts in place of its own. Raises ValueError where they are more than a block takes."""
    comments = [f"{keyword}={text}".encode() for keyword, text in given.items()]
    block = b"".join([_counted(WRITER), len(comments).to_bytes(4, "little"), *map(_counted, comments)])
    if len(block) > LONGEST_BLOCK:
        raise ValueError(f"its texts are longer than the {LONGEST_BLOCK} bytes that FLAC takes")
    kept, at = [], len(SIGNATURE)
    while True:
        head, length = data[at], int.from_bytes(data[at + 1 : at + 4], "big")
        if head & ~LAST != COMMENTS:
            kept.append((head & ~LAST, data[at + 4 : at + 4 + length]))
        at += 4 + length
        if head & LAST:
            break
    kept.insert(1, (COMMENTS, block))  # behind the first, which says what the samples are
    marks = [kind | (LAST if place == len(kept) - 1 else 0) for place, (kind, _) in enumerate(kept)]
    blocks = [bytes([mark]) + len(own).to_bytes(3, "big") + own for mark, (_, own) in zip(marks, kept, strict=True)]
    return SIGNATURE + b"".join(blocks) + data[at:]


def _counted(data: bytes) -> bytes:
    return len(data).to_bytes(4, "little") + data


def _comments(block: bytes) -> Iterator[tuple[str, bytes]]:
    """Keywords in lower case, and texts, those of other programs in any encoding. Raises ValueError for a block that is
    damaged."""
    at = 4 + int.from_bytes(block[:4], "little")  # behind the name of the program
    count = int.from_bytes(block[at : at + 4], "little")
    at += 4
    for _ in range(count):
        length = int.from_bytes(block[at : at + 4], "little")
        comment = block[at + 4 : at + 4 + length]
        at += 4 + length
        if at > len(block):
            raise ValueError("a text is cut off")
        keyword, _, text = comment.partition(b"=")
        yield keyword.decode("ascii", "replace").lower(), text
