"""What a file is that is not what its name says, told from how it begins: what people have in place of one that they
meant to download or unpack. A kind is one line of a table."""

import codecs
import json
from typing import NamedTuple

from ..errors import shortened

START = 4096  # bytes that are looked at
QUOTED = 100  # characters of an answer
LONGEST_ANSWER = 400  # characters of one that stands in place of a list of words, or is a page that says little else

EMPTY = "download or copy it again"
AGAIN = "download the file itself, by the link that its page has for it"
TEXTS = (".json", ".txt")  # endings of files that are no weights
PICKLED = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # how pickles begin that are not in a zip file
LFS = "version https://git-lfs"
HTML = ("<!doctype html", "<html", "<head", "<body", "<title", "<meta", "<script", "<h1", "<center", "<!--")
WIDE = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
ERROR = ("error", "error_description", "errors", "message", "detail", "msg")  # entries of an answer in JSON
BESIDE = frozenset((*ERROR, "status", "statuscode", "code", "success", "ok", "type", "title", "name", "path", "url"))
# What to do -> words of the answers of sites.
ANSWERS = {
    "log in where it is published, accept its terms if it has some, and download it again": (
        *("restricted", "gated", "authenticat", "authoriz", "log in", "logged in", "forbidden", "access denied"),
        *("accessdenied", "invalid username", "invalid credentials", "401", "403"),
    ),
    "look up its name where it is published, and download it again": (
        *("not found", "no such", "nosuchkey", "does not exist", "doesn't exist", "404"),
    ),
    "download it again later": ("too many requests", "rate limit", "unavailable", "time-out", "timeout", "gateway"),
}
ARCHIVES = {
    b"\x1f\x8b": "a gzip archive",
    b"\xfd7zXZ\0": "an xz archive",
    b"BZh": "a bzip2 archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"PK\x03\x04": "a zip archive",
}
OTHERS = {
    b"GGUF": "a GGUF file",
    b"\x89HDF\r\n": "an HDF5 file",
    b"\x89PNG\r\n": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"%PDF-": "a PDF document",
}


class Told(NamedTuple):
    """what: goes on after "it is". advice: what to do."""

    what: str
    advice: str

    @property
    def instead(self) -> str:
        """What a sentence on a file that cannot be read ends with."""
        return f": it is {self.what}; {self.advice}"


def told_from(start: bytes, ending: str) -> Told | None:
    """start: the first START bytes of a file, or all of a shorter one. ending: of its name; TEXTS are no weights.
    None where it may be what its name says, or nobody knows what it is."""
    if not start:
        return Told("an empty file", EMPTY)
    text = text_of(start)
    return binary(start, ending) if text is None else written(text, ending)


def text_of(start: bytes) -> str | None:
    """What a file says that is a text, its last character perhaps left out; None for others."""
    if start.startswith(WIDE):  # as PowerShell's > writes what is downloaded
        text, whole = start.decode(json.detect_encoding(start), errors="ignore").strip("\ufeff \t\r\n"), True
    else:
        text = start.decode("utf-8-sig", errors="ignore").strip()
        whole = len(text.encode()) + 3 >= len(start.removeprefix(codecs.BOM_UTF8).strip())
    return text if whole and all(c.isprintable() or c in "\r\n\t" for c in text) else None


def written(text: str, ending: str) -> Told | None:
    meant, lower = "file itself" if ending in TEXTS else "weights", text.lower()
    if not text:
        return Told("a file that is empty but for blanks", EMPTY)
    if lower.startswith(LFS):
        return Told(
            f"a pointer of git-lfs, not the {meant}", "run git lfs pull in its folder, or download the file itself"
        )
    if lower.startswith("<") and any(tag in lower for tag in HTML):
        said = advice_for(lower) if len(text) <= LONGEST_ANSWER else ""
        return Told(f"a web page, not the {meant}", said or AGAIN)
    if lower.startswith("{") and (told := told_of_answer(parsed(text), meant)):
        return told
    if ending == ".txt" and (len(text) > LONGEST_ANSWER or not advice_for(lower)):
        return None
    return None if ending == ".json" and lower.startswith(("{", "[")) else answer(text, meant)


def answer(said: str, meant: str) -> Told:
    return Told(f"a text, not the {meant} ({shortened(said, QUOTED)!r})", advice_for(said.lower()) or AGAIN)


def advice_for(lower: str) -> str:
    return next((advice for advice, words in ANSWERS.items() if any(word in lower for word in words)), "")


def parsed(text: str) -> object:
    """None for what is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def told_of_answer(value: object, meant: str = "file itself") -> Told | None:
    """For an object of JSON that tells of an error and nothing else."""
    if not isinstance(value, dict) or not all(str(name).lower() in BESIDE for name in value):
        return None
    said = [one for name, one in value.items() if str(name).lower() in ERROR and isinstance(one, (str, dict, list))]
    return answer(str(said[0]), meant) if said and said[0] else None


def binary(start: bytes, ending: str) -> Told | None:
    if not start.strip(b"\0"):
        return Told("a file that begins with zeros alone, as unfinished downloads do", "download it again")
    is_pickle = ending not in (*TEXTS, ".safetensors")
    is_weights = start.startswith(b"PK\x03\x04") and (is_pickle or b"/data.pkl" in start[:200])
    for signature, what in ARCHIVES.items():
        if start.startswith(signature) and not is_weights:
            return Told(what, "unpack it first")
    for signature, what in OTHERS.items():
        if start.startswith(signature):
            return Told(what, f"it is nothing that can be read here; {AGAIN}")
    if ending == ".safetensors" and (is_weights or start.startswith(PICKLED)):
        return Told("a file of torch.save", "rename it so that its name ends in .pt")
    if is_pickle and start[8:9] == b"{" and start[6:8] == b"\0\0":
        return Told("a safetensors file", "rename it so that its name ends in .safetensors")
    return None
