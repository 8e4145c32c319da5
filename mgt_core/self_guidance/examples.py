"""Examples to train on: tokens of pictures and what they show, made once and kept in one file."""

import glob
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from tqdm import tqdm

from ..errors import MGTError, reason
from ..files import alone, replace_file, sweep, writing
from ..levels import levels
from ..loading.disk import read_text
from ..loading.pipeline import Pipeline
from ..types import PICTURES as MADE
from ..types import Condition, check_makes
from .identity import check_same, weights_mark

log = logging.getLogger(__name__)

BATCH = 64  # pictures encoded together
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")  # whose reading starts no other program
TOLD = ("captions", "made")  # in the metadata of a file of examples, as JSON
SET = "set of pictures"
DEMO = "demo"
DEMO_SEED = 7


@dataclass(frozen=True)
class Examples:
    """tokens: [N, h, w] int32. One of labels [N] long and captions (N texts) says what is shown."""

    tokens: Tensor
    labels: Tensor | None = None
    captions: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def condition(self, rows: Tensor, pipe: Pipeline) -> Condition:
        """Of the examples `rows` [B]."""
        if self.labels is not None:
            return Condition(labels=self.labels[rows])
        return pipe.text.encode([self.captions[row] for row in rows.tolist()], size=pipe.size)

    def mark(self) -> str:
        """What tells them from others."""
        digest = hashlib.sha256(json.dumps(self.captions).encode())
        for held in (self.tokens, self.labels):
            if held is not None:
                digest.update(held.to(torch.int32).contiguous().numpy())
        return digest.hexdigest()[:16]

    def save(self, path: Path, made: Mapping[str, Any] | None = None) -> None:
        """made: with what, to be told apart from others. Raises MGTError when the file cannot be written."""
        tensors = {"tokens": self.tokens} | ({} if self.labels is None else {"labels": self.labels})
        told = {"captions": self.captions, "made": made and dict(made)}
        told = {name: json.dumps(value) for name, value in told.items() if value is not None}
        with writing(path):
            replace_file(path, save(tensors, told or None))


def load_examples(path: Path) -> Examples:
    """Of a .safetensors file with `tokens` [N, h, w] and either `labels` [N], or a JSON list of captions in its
    metadata. Raises MGTError for any other."""
    captions = metadata(path).get("captions")
    with reading(path), safe_open(path, "pt") as file:
        held = {name: file.get_tensor(name) for name in file.keys()}
    tokens, labels = held.get("tokens"), held.get("labels")
    told = labels if captions is None else captions
    if tokens is None or tokens.ndim != 3 or tokens.is_floating_point() or not is_told(told, len(tokens)):
        holds = ", ".join(held) or "nothing"
        raise MGTError(f"{path} holds {holds}; expected tokens [N, h, w], and N labels or N captions")
    return Examples(tokens, None if labels is None else labels.long(), captions and tuple(captions))


def is_told(told: Any, count: int) -> bool:
    """Whether these are labels or captions of so many examples, which are some."""
    if not count:
        return False
    if isinstance(told, Tensor):
        return told.shape == (count,)
    return isinstance(told, list) and len(told) == count and all(isinstance(text, str) for text in told)


def metadata(path: Path) -> dict[str, Any]:
    """What a file of examples says beside its tensors."""
    with reading(path), safe_open(path, "pt") as file:
        return {name: json.loads(value) for name, value in (file.metadata() or {}).items() if name in TOLD}


@contextmanager
def reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise MGTError(f"{path} is no readable file of examples ({reason(error)})") from None


def is_cut(path: Path) -> bool:
    """Whether a file begins as one of safetensors does and can't be read: it was not written to its end."""
    try:
        with safe_open(path, "pt"):
            return False
    except (SafetensorError, OSError):
        with reading(path), path.open("rb") as stream:
            begins = stream.read(9)
        return not begins or begins[8:] == b"{"


def gather_examples(source: str, pipe: Pipeline, kept: Path, count: int) -> Examples:
    """Examples of `source`: a file of them, a folder of pictures, or "demo", the scenes that the built-in model
    was trained on. What has to be encoded is written to `kept`, and read from there the next time.

    A folder holds pictures with a .txt caption beside each, or, for models that take classes, one subfolder a
    class in the order of the classes. Pictures are cropped to the middle and scaled to the model's size.
    count: how many pictures are taken at the most. Raises MGTError for a model of sound, when `kept` is of another
    source or codec, and when another process writes it.
    """
    check_makes(MADE, "training Self-Guidance", model=pipe.model)
    made = {"data": os.path.basename(os.path.abspath(source)), "examples at most": count,
            "codec": weights_mark(pipe.codec.network)}  # fmt: skip
    if source == DEMO or Path(source).is_dir():  # else they may be gone, now that they are encoded
        made[SET] = None if source == DEMO else pictures_mark(Path(source), pipe)
    with alone(kept, "gathering"):
        sweep(kept.parent, glob.escape(kept.name))
        if kept.is_file() and not is_cut(kept):
            log.info("examples: %s", kept)
            check_same(kept, told_now(kept, made), made)
            return checked(load_examples(kept), pipe, kept)
        path = Path(source)
        if path.is_file():
            return checked(load_examples(path), pipe, path)
        examples = checked(encoded_examples(source, pipe, count), pipe, path)
        examples.save(kept, made)
    return examples


def told_now(kept: Path, made: Mapping[str, Any]) -> Any:
    """With what the examples in `kept` were made, as it is said today: older files have the whole path of a folder, and
    nothing of the pictures in it."""
    told = metadata(kept).get("made")
    if not isinstance(told, dict) or SET in told:
        return told
    if made.get(SET) is not None:
        log.warning("%s does not say which pictures it was made of; it is taken as it is", kept)
    return told | {"data": os.path.basename(str(told.get("data"))), SET: made.get(SET)}


def encoded_examples(source: str, pipe: Pipeline, count: int) -> Examples:
    """Of the demo's scenes, or of a folder of pictures."""
    if source == DEMO:
        pictures = demo_scenes(pipe.size)
    elif Path(source).is_dir():
        pictures = folder_pictures(Path(source), pipe)
    else:
        raise MGTError(f"data is {source!r}; expected a .safetensors file of examples, a folder of pictures or 'demo'")
    tokens, shown, batch = [], [], []
    for picture, what in tqdm(islice(pictures, count), desc="encoding", unit=" pictures"):
        batch.append(picture)
        shown.append(what)
        if len(batch) == BATCH:
            tokens.append(encoded(batch, pipe))
            batch = []
    if batch:
        tokens.append(encoded(batch, pipe))
    if not tokens:
        raise MGTError(f"{source} holds no pictures ({', '.join(PICTURES)}) with a caption or in a class folder")
    by_class = isinstance(shown[0], int)
    told = {"labels": torch.tensor(shown)} if by_class else {"captions": tuple(shown)}
    return Examples(torch.cat(tokens), **told)


def checked(examples: Examples, pipe: Pipeline, path: Path) -> Examples:
    """Raises MGTError for examples of another model."""
    network = pipe.model.network
    takes_labels = "labels" in network.condition_fields
    if takes_labels != (examples.labels is not None):
        raise MGTError(f"{path} tells its pictures by {'class' if examples.captions is None else 'caption'}, "
                       f"and this model takes {'classes' if takes_labels else 'prompts'}")  # fmt: skip
    low, high = int(examples.tokens.min()), int(examples.tokens.max())
    if low < 0 or high >= network.codebook_size:
        raise MGTError(f"{path} has codes from {low} to {high}; this model takes 0 to {network.codebook_size - 1}")
    network.check_grid(tuple(examples.tokens.shape[1:]))
    return examples


def encoded(pictures: list[np.ndarray], pipe: Pipeline) -> Tensor:
    return pipe.codec.encode(torch.from_numpy(np.stack(pictures))).to("cpu", torch.int32)


def demo_scenes(size: tuple[int, int]) -> Iterator[tuple[np.ndarray, str]]:
    """Pictures [H, W, 3] float32 in 0..1 of `size`, and their captions; pairs held out from training stay out."""
    try:
        from recipe.data.scenes import Renderer, SceneSampler
        from recipe.data.subjects import load_sprites, load_subjects
    except ImportError:
        raise MGTError(
            f"data {DEMO!r} are composed by the recipe of the built-in model, which lies beside the library in this "
            "pack's folder; run there, or give a folder of pictures"
        ) from None

    sampler, renderer = SceneSampler(load_subjects(), np.random.default_rng(DEMO_SEED)), Renderer(load_sprites())
    while True:
        scene = sampler.draw()
        drawn = torch.from_numpy(renderer.render(scene)).permute(2, 0, 1)[None]
        yield F.interpolate(drawn, size, mode="area")[0].permute(1, 2, 0).numpy(), scene.caption


def folder_pictures(folder: Path, pipe: Pipeline) -> Iterator[tuple[np.ndarray, str | int]]:
    for file, told in folder_files(folder, pipe):
        yield picture(file, pipe.size), told if isinstance(told, int) else read_text(told).strip()


def folder_files(folder: Path, pipe: Pipeline) -> Iterator[tuple[Path, Path | int]]:
    """Pictures, and the files of their captions, or their classes."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())
    classes = {path: index for index, path in enumerate(sorted(p for p in folder.iterdir() if p.is_dir()))}
    by_class = "labels" in pipe.model.network.condition_fields
    for file in files:
        if by_class and file.parent in classes:
            yield file, classes[file.parent]
        elif not by_class and (text := file.with_suffix(".txt")).is_file():
            yield file, text


def pictures_mark(folder: Path, pipe: Pipeline) -> str:
    """What tells the pictures in a folder from others: their names and sizes, and those of their captions."""
    digest = hashlib.sha256()
    for file, told in folder_files(folder, pipe):
        said = told if isinstance(told, int) else told.stat().st_size
        digest.update(
            f"{file.relative_to(folder).as_posix()}\0{file.stat().st_size}\0{said}\0".encode(errors="replace")
        )
    return digest.hexdigest()[:16]


def picture(file: Path, size: tuple[int, int]) -> np.ndarray:
    """[H, W, 3] float32 in 0..1 of `size`, the middle of the file's picture."""
    try:
        with Image.open(file, formats=FORMATS) as opened:
            image = Image.fromarray((levels(opened).colours * 255).round().astype(np.uint8))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise MGTError(f"{file} is no readable picture ({reason(error)})") from None
    height, width = size
    scale = max(height / image.height, width / image.width)
    image = image.resize((max(width, round(image.width * scale)), max(height, round(image.height * scale))))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return np.asarray(image.crop((left, top, left + width, top + height)), np.float32) / 255
