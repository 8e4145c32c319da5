"""Examples to train on: tokens of pictures and what they show, made once and kept in one file."""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from ..errors import MGTError, reason
from ..loading.pipeline import Pipeline
from ..types import Condition

log = logging.getLogger(__name__)

BATCH = 64  # pictures encoded together
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
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

    def save(self, path: Path) -> None:
        tensors = {"tokens": self.tokens} | ({} if self.labels is None else {"labels": self.labels})
        save_file(tensors, path, {"captions": json.dumps(self.captions)} if self.captions is not None else None)


def load_examples(path: Path) -> Examples:
    """Of a .safetensors file with `tokens` [N, h, w] and either `labels` [N], or a JSON list of captions in its
    metadata. Raises MGTError for any other."""
    try:
        with safe_open(path, "pt") as file:
            held = {name: file.get_tensor(name) for name in file.keys()}
            captions = json.loads((file.metadata() or {}).get("captions", "null"))
    except (SafetensorError, OSError, ValueError) as error:
        raise MGTError(f"{path} is no readable file of examples ({reason(error)})") from None
    tokens, labels = held.get("tokens"), held.get("labels")
    told = labels if captions is None else captions
    if tokens is None or tokens.ndim != 3 or told is None or len(told) != len(tokens) or not len(tokens):
        holds = ", ".join(held) or "nothing"
        raise MGTError(f"{path} holds {holds}; expected tokens [N, h, w], and N labels or N captions")
    return Examples(tokens, None if labels is None else labels.long(), captions and tuple(captions))


def gather_examples(source: str, pipe: Pipeline, kept: Path, count: int) -> Examples:
    """Examples of `source`: a file of them, a folder of pictures, or "demo", the scenes that the built-in model
    was trained on. What has to be encoded is written to `kept`, and read from there the next time.

    A folder holds pictures with a .txt caption beside each, or, for models that take classes, one subfolder a
    class in the order of the classes. Pictures are cropped to the middle and scaled to the model's size.
    count: how many pictures are taken at the most.
    """
    if kept.is_file():
        log.info("examples: %s", kept)
        return checked(load_examples(kept), pipe, kept)
    path = Path(source)
    if path.is_file():
        return checked(load_examples(path), pipe, path)
    if source == DEMO:
        pictures = demo_scenes(pipe.size)
    elif path.is_dir():
        pictures = folder_pictures(path, pipe)
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
    examples = checked(Examples(torch.cat(tokens), **told), pipe, path)
    examples.save(kept)
    return examples


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
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
    classes = {path: index for index, path in enumerate(sorted(p for p in folder.iterdir() if p.is_dir()))}
    by_class = "labels" in pipe.model.network.condition_fields
    for file in files:
        if by_class and file.parent in classes:
            yield picture(file, pipe.size), classes[file.parent]
        elif not by_class and (text := file.with_suffix(".txt")).is_file():
            yield picture(file, pipe.size), text.read_text(encoding="utf-8").strip()


def picture(file: Path, size: tuple[int, int]) -> np.ndarray:
    """[H, W, 3] float32 in 0..1 of `size`, the middle of the file's picture."""
    try:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
    except OSError as error:
        raise MGTError(f"{file} is no readable picture ({reason(error)})") from None
    height, width = size
    scale = max(height / image.height, width / image.width)
    image = image.resize((max(width, round(image.width * scale)), max(height, round(image.height * scale))))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return np.asarray(image.crop((left, top, left + width, top + height)), np.float32) / 255
