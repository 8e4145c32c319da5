"""What a file is that holds no picture to be read here, by its first bytes: what people have in a picture's place."""

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
        (rb"version https://git-lfs", "is a pointer of Git LFS in the picture's place: fetch it with git lfs pull"),
        (rb"\W*<(svg|(\?xml|!--|!doctype svg).*?<svg)", f"is SVG: {CONVERT}"),
        (rb"\W*<(!doctype html|html|head|body)", "is a web page in the picture's place: download the picture itself"),
    )
]


def stranger(head: bytes) -> str:
    """The end of a sentence that begins with the file; empty for what is not known either."""
    if not head:
        return "is empty"
    return next((words for pattern, words in KNOWN if pattern.match(head)), "")
