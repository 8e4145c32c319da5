"""The texts that a PNG image carries, read without its pixels, which may be more than there is memory for; and its
pixels without the texts."""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST_CHUNKS = 200_000  # pixels come in chunks of 8 kB and more: 1.6 GB of them
LONGEST_KEYWORD = 79  # by the format, and a zero after it


def texts(stream: BinaryIO, keywords: tuple[str, ...], most: int) -> dict[str, str]:
    """Those of these keywords, from a stream behind the signature. most: bytes of them all that are read.

    Raises ValueError where the image is damaged, or holds more."""
    found: dict[str, str] = {}
    wanted = {keyword.encode() for keyword in keywords}
    for _ in range(MOST_CHUNKS):
        head = stream.read(8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind == b"IEND":
            return found
        if len(head) < 8:
            break
        start = stream.read(min(length, LONGEST_KEYWORD + 1)) if kind in _READERS else b""
        keyword = start.partition(b"\0")[0]
        if keyword not in wanted:
            stream.seek(length - len(start) + 4, 1)
            continue
        if length > most:
            raise ValueError(f"its texts are longer than {most} bytes")
        data = start + stream.read(length - len(start))
        if stream.read(4) != zlib.crc32(kind + data).to_bytes(4, "big"):
            raise ValueError(f"the checksum of its text '{keyword.decode()}' is wrong")
        text = _READERS[kind](data[len(keyword) + 1 :], most)
        most -= len(text)
        found[keyword.decode()] = text
    if not found:
        raise ValueError("it is cut off, or never ends")
    return found


def without_texts(stream: BinaryIO, most: int) -> BinaryIO:
    """The image of a stream, from its signature on, as a file in memory that carries no texts. most: bytes of it.

    Raises ValueError where it holds more."""
    kept = BytesIO()
    kept.write(stream.read(len(SIGNATURE)))
    for _ in range(MOST_CHUNKS):
        head = stream.read(8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind in _READERS:
            stream.seek(length + 4, 1)
            continue
        if kept.tell() + length > most:
            raise ValueError(f"it is longer than {most} bytes")
        kept.write(head + stream.read(length + 4))
        if len(head) < 8 or kind == b"IEND":
            break
    kept.seek(0)
    return kept


def _plain(data: bytes, most: int) -> str:
    return data.decode("latin-1")


def _compressed(data: bytes, most: int) -> str:
    return _inflated(data[1:], most).decode("latin-1")  # behind the method, of which there is one


def _international(data: bytes, most: int) -> str:
    """Flag, method, language, translated keyword, text."""
    text = data[2:].split(b"\0", 2)[-1]
    return (_inflated(text, most) if data[:1] == b"\1" else text).decode("utf-8")


def _inflated(data: bytes, most: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        found = inflater.decompress(data, most + 1)
    except zlib.error as error:
        raise ValueError(f"a compressed text is damaged: {error}") from None
    if len(found) > most:
        raise ValueError(f"its texts are longer than {most} bytes")
    if not inflater.eof:
        raise ValueError("a compressed text is cut off")
    return found


_READERS = {b"tEXt": _plain, b"zTXt": _compressed, b"iTXt": _international}
