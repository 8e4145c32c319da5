"""Reading a workflow: a JSON file, or an image or a sound that carries its workflow."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

from . import flac, png
from .bounded import text_of
from .problems import Json, WorkflowError
from .shape import MOST_BYTES, is_ui_format, parsed
from .strangers import HEAD, in_place

CHUNKS = ("workflow", "prompt")  # texts of an image or a sound, the first one wins
CARRIERS: dict[str, ModuleType] = {"PNG image": png, "FLAC sound": flac}
LONGEST_SIGNATURE = max(len(kind.SIGNATURE) for kind in CARRIERS.values())


@dataclass(frozen=True)
class Document:
    """A workflow as it was shared: `ui` as the front end saves it, or `api` as the server takes it."""

    ui: Json | None = None
    api: Json | None = None

    @property
    def graph(self) -> Json:
        return self.ui if self.ui is not None else self.api or {}


def read_document(path: Path) -> Document:
    """Raises WorkflowError when there is no workflow in the file."""
    try:
        with opened(path) as stream:
            data = stream.read(LONGEST_SIGNATURE)
            for what, kind in CARRIERS.items():
                if data.startswith(kind.SIGNATURE):
                    if more := len(data) - len(kind.SIGNATURE):
                        stream.seek(-more, 1)
                    return _carried(stream, path, what, kind)
            data += stream.read(MOST_BYTES + 1)
    except IsADirectoryError:
        raise _unreadable(path, "is a folder") from None
    except OSError as error:
        raise WorkflowError.one("Cannot read the workflow", f"{path}: {error.strerror or error}") from None
    except ValueError as error:  # a name that no file can have
        raise WorkflowError.one("Cannot read the workflow", f"{path}: {error}") from None
    if len(data) > MOST_BYTES:
        raise _unreadable(path, f"is larger than {MOST_BYTES >> 20} MB, the most that is read")
    if told := in_place(data[:HEAD], "workflow"):
        raise _unreadable(path, told)
    try:
        text = text_of(data)
    except ValueError as error:
        begun = data.lstrip()[:1] in (b"{", b"[")  # as JSON does
        other = "is neither JSON text, a PNG image nor a FLAC sound"
        raise _unreadable(path, f"is not JSON ({error})" if begun else other) from None
    if not text.strip():
        raise _unreadable(path, "is empty")
    return _recognize(parsed(text, path), str(path))


def opened(path: Path) -> BinaryIO:
    """A file to read, or what the shell hands over (/dev/stdin, /dev/fd/63). Raises OSError for anything else: a pipe
    on a disk could block for ever, and a device never end."""
    handed = path.is_absolute() and path.parts[1:2] == ("dev",) and stat.S_ISFIFO(os.stat(path).st_mode)
    at_once = 0 if handed else getattr(os, "O_NONBLOCK", 0)
    stream = open(path, "rb", opener=lambda name, flags: os.open(name, flags | at_once))
    if handed or stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        return stream
    stream.close()
    raise OSError(None, "it is not a regular file")


def _unreadable(path: Path, why: str) -> WorkflowError:
    return WorkflowError.one("Cannot read the workflow", f"{path} {why}")


def _carried(stream: BinaryIO, path: Path, what: str, kind: ModuleType) -> Document:
    try:
        found = kind.texts(stream, CHUNKS, MOST_BYTES)
    except ValueError as error:
        raise _unreadable(path, f"is a damaged {what} ({error})") from None
    for chunk in CHUNKS:
        if chunk in found:
            source = f"the '{chunk}' text of {path}"
            return _recognize(parsed(found[chunk], source), source)
    raise _unreadable(path, f"is a {what} without a workflow in it")


def _recognize(found: Any, source: str) -> Document:
    if is_ui_format(found):
        return Document(ui=found)
    if isinstance(found, dict) and isinstance(found.get("prompt"), dict):
        found = found["prompt"]
    if isinstance(found, dict) and any(isinstance(n, dict) and "class_type" in n for n in found.values()):
        return Document(api=found)
    accepted = "a saved workflow (with 'nodes' and 'links') nor a prompt in API format ({id: {class_type, inputs}})"
    raise WorkflowError.one("Cannot read the workflow", f"{source} is neither {accepted}")
