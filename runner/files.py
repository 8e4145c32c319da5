"""Reading a workflow: a JSON file, or an image that carries its workflow."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .convert import is_ui_format
from .problems import Json, WorkflowError

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


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
        data = path.read_bytes()
    except IsADirectoryError:
        raise WorkflowError.one("Cannot read the workflow", f"{path} is a folder") from None
    except OSError as error:
        raise WorkflowError.one("Cannot read the workflow", f"{path}: {error.strerror}") from None
    if data.startswith(PNG_SIGNATURE):
        return _from_image(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise WorkflowError.one("Cannot read the workflow", f"{path} is neither JSON text nor a PNG image") from None
    if not text.strip():
        raise WorkflowError.one("Cannot read the workflow", f"{path} is empty")
    return _recognize(_parse(text, path), str(path))


def _parse(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise WorkflowError.one("Cannot read the workflow", f"{path} is not JSON ({error})") from None


def _from_image(path: Path) -> Document:
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            texts = dict(getattr(image, "text", {}))
    except (OSError, SyntaxError, ValueError) as error:
        raise WorkflowError.one("Cannot read the workflow", f"{path} is a damaged PNG image ({error})") from None
    for chunk in ("workflow", "prompt"):
        if chunk in texts:
            return _recognize(_parse(texts[chunk], path), f"the '{chunk}' text of {path}")
    raise WorkflowError.one("Cannot read the workflow", f"{path} is a PNG image without a workflow in it")


def _recognize(found: Any, source: str) -> Document:
    if is_ui_format(found):
        return Document(ui=found)
    if isinstance(found, dict) and isinstance(found.get("prompt"), dict):
        found = found["prompt"]
    if isinstance(found, dict) and any(isinstance(n, dict) and "class_type" in n for n in found.values()):
        return Document(api=found)
    accepted = "a saved workflow (with 'nodes' and 'links') nor a prompt in API format ({id: {class_type, inputs}})"
    raise WorkflowError.one("Cannot read the workflow", f"{source} is neither {accepted}")
