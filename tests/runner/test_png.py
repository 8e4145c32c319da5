"""Workflows in PNG images: the texts are read, whatever the pixels would be."""

import struct
import zlib

import pytest

from runner.files import read_document
from runner.problems import WorkflowError
from support.trials import is_sentence

TEXT = b'{"nodes": []}'


def chunk(kind, body, check=None):
    check = zlib.crc32(kind + body) if check is None else check
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)


HEADER = chunk(b"IHDR", struct.pack(">2I5B", 100_000, 100_000, 8, 2, 0, 0, 0))  # 30 GB of pixels
PIXELS, END = chunk(b"IDAT", b"these are none"), chunk(b"IEND", b"")
PLAIN = chunk(b"tEXt", b"workflow\0" + TEXT)
BOMB = zlib.compress(b" " * (33 << 20), 9)


def image(tmp_path, *chunks):
    path = tmp_path / "w.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return path


READ = {
    "before the pixels": (HEADER, PLAIN, PIXELS, END),
    "behind the pixels": (HEADER, PIXELS, PLAIN, END),
    "without an end": (HEADER, PLAIN, PIXELS[:9]),
    "compressed": (HEADER, chunk(b"zTXt", b"workflow\0\0" + zlib.compress(TEXT)), END),
    "international": (HEADER, chunk(b"iTXt", b"workflow\0\0\0en\0name\0" + TEXT), END),
    "international and compressed": (HEADER, chunk(b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress(TEXT)), END),
    "beside a long text of another": (HEADER, chunk(b"zTXt", b"parameters\0\0" + BOMB), PLAIN, END),
}
REFUSED = {
    "long": ((HEADER, chunk(b"zTXt", b"workflow\0\0" + BOMB), END), "its texts are longer than 33554432 bytes"),
    "long, and as long once more": (
        (HEADER, *[chunk(b"iTXt", b"prompt\0\1\0\0\0" + zlib.compress(b" " * (20 << 20)))] * 2, END),
        "its texts are longer than",
    ),
    "checksum": ((HEADER, chunk(b"tEXt", b"prompt\0" + TEXT, 0), END), "the checksum of its text 'prompt' is wrong"),
    "cut": ((HEADER, chunk(b"zTXt", b"workflow\0\0" + zlib.compress(TEXT)[:-5]), END), "a compressed text is cut off"),
    "not compressed": ((HEADER, chunk(b"zTXt", b"workflow\0\0" + TEXT), END), "a compressed text is damaged"),
    "no text": ((HEADER, chunk(b"iTXt", b"workflow\0\0\0\0\0\xff"), END), "is a damaged PNG image ('utf-8' codec"),
    "no end": ((HEADER, PIXELS[:9]), "it is cut off, or never ends"),
    "a length beyond the file": ((HEADER, b"\xff\xff\xff\xfftEXtworkflow\0"), "its texts are longer than"),
}  # fmt: skip


@pytest.mark.parametrize("chunks", READ.values(), ids=READ)
def test_texts_are_read_without_pixels(chunks, tmp_path):
    assert read_document(image(tmp_path, *chunks)).ui == {"nodes": []}


@pytest.mark.parametrize("chunks, sentence", REFUSED.values(), ids=REFUSED)
def test_damaged_texts(chunks, sentence, tmp_path):
    with pytest.raises(WorkflowError) as caught:
        read_document(image(tmp_path, *chunks))
    assert sentence in str(caught.value) and is_sentence(str(caught.value))
