"""What a file is that holds no picture or workflow to be read here, by its first bytes: what people have instead."""

from __future__ import annotations

import re
from collections.abc import Sequence

HEAD = 1024  # bytes that are looked at
CONVERT = "save it as PNG, JPEG or WebP"
KNOWN: Sequence[tuple[re.Pattern[bytes], str]] = [
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), words)
    for pattern, words in (
        (rb"....ftyp(hei|hev|mif1|msf1)", f"is HEIC, as phones save photographs: {CONVERT}"),
        (rb"....ftypavi", f"is AVIF, which this version of Pillow does not read: update it, or {CONVERT}"),
        (
            rb"....ftypcrx|.{6}HEAPCCDR|FUJIFILMCCD-RAW|II\*\0.{4}CR",
            f"is a camera's raw file: develop it, and {CONVERT}",
        ),
        (rb"....ftyp|\x1aE\xdf\xa3|RIFF....AVI ", "is a video: save its frames as pictures"),
        (rb"\xff\x0a|\0\0\0\x0cJXL ", f"is JPEG XL: {CONVERT}"),
        (rb"8BP[SB]", f"is of Photoshop: {CONVERT}"),
        (rb"gimp xcf", f"is of GIMP: {CONVERT}"),
        (rb"\x76\x2f\x31\x01", f"is OpenEXR: {CONVERT}"),
        (rb"#\?(RADIANCE|RGBE)", f"is Radiance HDR: {CONVERT}"),
        (rb"%PDF", f"is a PDF: {CONVERT}"),
        (rb"%!PS|\xc5\xd0\xd3\xc6", f"is PostScript: {CONVERT}"),
        (rb"\W*<(svg|(\?xml|!--|!doctype svg).*?<svg)", f"is SVG: {CONVERT}"),
        (
            rb"II\*\0|MM\0\*",
            "is TIFF of a kind that is not read, such as floats in three colours or of 16 or 64 bits: save it with "
            "8 or 16 bits a colour, or as PNG",
        ),
        (rb"\x89PNG|\xff\xd8|GIF8|RIFF....WEBP", "is damaged: copy or download it again"),
    )
]
LFS = re.compile(rb"version https://git-lfs")
PAGE = re.compile(rb"\W*<(!doctype html|html|head|body)", re.IGNORECASE)


def stranger(head: bytes) -> str:
    """The end of a sentence that begins with a picture's file; empty for what is not known either."""
    return in_place(head, "picture") or next((words for pattern, words in KNOWN if pattern.match(head)), "")


def in_place(head: bytes, what: str) -> str:
    """The same for what downloads leave in the place of any file. what: that it should be."""
    if not head:
        return "is empty"
    if LFS.match(head):
        return f"is a pointer of Git LFS in the {what}'s place: fetch it with git lfs pull"
    return f"is a web page in the {what}'s place: download the {what} itself" if PAGE.match(head) else ""
