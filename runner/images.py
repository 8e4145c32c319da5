"""Stand-ins for ComfyUI's nodes that load and save pictures, for runs without ComfyUI."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from .naming import SHOWN, below, free_paths, in_batch, judged, target
from .pictures import FORMATS, check_pictures, read_pictures, texts
from .problems import Json, RunError, shown_text
from .writing import save_new, sweep

if TYPE_CHECKING:
    from torch import Tensor

    from mgt_core.levels import Levels

PICTURES = frozenset(chain.from_iterable(FORMATS.values()))
NO_MASK = 64  # pixels of the sides of the empty mask that ComfyUI gives for a picture without one
ANNOTATION = re.compile(r" \[(input|output|temp)\]$")
COLOURS = ["red", "green", "blue"]
CHANNELS = ["alpha", *COLOURS]


@dataclass(frozen=True)
class Folders:
    """Where pictures and sounds come from, first match wins, and where they go."""

    inputs: tuple[Path, ...]
    output: Path

    def find(self, name: object) -> Path | None:
        """The file that a workflow names: below one of the input folders by its name alone. A link that
        lies there is followed wherever it leads, since no workflow can put one there."""
        name = ANNOTATION.sub("", str(name))
        if not below(name):
            return None
        return next((path for folder in self.inputs if os.path.isfile(path := folder / name)), None)

    def listed(self, endings: frozenset[str]) -> list[str]:
        """Names of files with these endings that lie in the input folders themselves; what cannot be looked into holds
        none."""
        entries = chain.from_iterable(map(files_of, self.inputs))
        return sorted({entry.name for entry in entries if is_file(entry, endings)})

    def pictures(self) -> list[str]:
        return self.listed(PICTURES)


def files_of(folder: Path) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (OSError, ValueError):  # ValueError: of a name that no folder can have
        return []


def is_file(entry: os.DirEntry, endings: frozenset[str]) -> bool:
    return os.path.splitext(entry.name)[1].lower() in endings and os.path.isfile(entry.path)


def make_nodes(folders: Folders) -> tuple[dict[str, type], dict[str, str]]:
    """Classes and display names of the stand-ins, bound to these folders."""

    class SaveImage:
        RETURN_TYPES = ()
        FUNCTION = "save_images"
        OUTPUT_NODE = True
        CATEGORY = "image"
        output = folders.output

        @classmethod
        def INPUT_TYPES(cls) -> Json:
            required = {"images": ("IMAGE",), "filename_prefix": ("STRING", {"default": "ComfyUI"})}
            return {"required": required, "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}}

        @classmethod
        def VALIDATE_INPUTS(cls, filename_prefix) -> bool | str:
            return judged(cls.output, filename_prefix)

        def save_images(self, images, filename_prefix="ComfyUI", prompt=None, extra_pnginfo=None) -> Json:
            from PIL import Image

            check_pictures(images)
            start = target(self.output, str(filename_prefix), images.shape[2], images.shape[1])
            start.parent.mkdir(parents=True, exist_ok=True)
            sweep(start.parent)
            notes = texts({"prompt": prompt, **(extra_pnginfo or {})})
            paths = free_paths(start)
            saved = []
            for place, image in enumerate(images):
                picture = Image.fromarray(image.float().clamp(0, 1).mul_(255).byte().cpu().numpy())
                write = partial(picture.save, format="PNG", pnginfo=notes, compress_level=4)
                saved.append(save_new(in_batch(paths, place), write))
            return {"ui": {"saved": saved}}

    class PreviewImage(SaveImage):
        VALIDATE_INPUTS = None

        @classmethod
        def INPUT_TYPES(cls) -> Json:
            hidden = {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}
            return {"required": {"images": ("IMAGE",)}, "hidden": hidden}

        def save_images(self, images, prompt=None, extra_pnginfo=None) -> Json:
            return super().save_images(images, "temp/ComfyUI_temp", prompt, extra_pnginfo)

    class LoadImage:
        RETURN_TYPES = ("IMAGE", "MASK")
        FUNCTION = "load_image"
        CATEGORY = "image"

        @classmethod
        def INPUT_TYPES(cls) -> Json:
            return {"required": {"image": (folders.pictures(), {"image_upload": True})}}

        @classmethod
        def VALIDATE_INPUTS(cls, image) -> bool | str:
            try:
                found(folders, image)
            except RunError as error:
                return str(error)
            return True

        def load_image(self, image) -> tuple:
            import torch

            frames = read_pictures(found(folders, image), image)
            picture = torch.stack([torch.from_numpy(frame.colours) for frame in frames])
            if all(frame.opacity is None for frame in frames):
                return picture, torch.zeros((len(frames), NO_MASK, NO_MASK))
            return picture, clear_parts(frames)

    class LoadImageMask(LoadImage):
        RETURN_TYPES = ("MASK",)
        FUNCTION = "load_mask"
        CATEGORY = "mask"

        @classmethod
        def INPUT_TYPES(cls) -> Json:
            return {"required": {"image": (folders.pictures(), {"image_upload": True}), "channel": (CHANNELS,)}}

        def load_mask(self, image, channel) -> tuple:
            import torch

            if channel not in CHANNELS:
                raise RunError(f"channel is {channel!r}; accepted are {', '.join(CHANNELS)}")
            frames = read_pictures(found(folders, image), image)
            if channel == "alpha":
                return (clear_parts(frames),)
            place = COLOURS.index(channel)
            return (torch.stack([torch.from_numpy(frame.colours[..., place]) for frame in frames]),)

    classes = {cls.__name__: cls for cls in (LoadImage, LoadImageMask, SaveImage, PreviewImage)}
    shown = {"LoadImage": "Load Image", "SaveImage": "Save Image", "PreviewImage": "Preview Image"}
    return classes, {**shown, "LoadImageMask": "Load Image (as Mask)"}


def found(folders: Folders, name: object, kind: str = "image file", what: str = "pictures") -> Path:
    """Raises RunError where there is no such file. kind, what: as ComfyUI calls it, and what are looked for."""
    path = folders.find(name)
    if path is None:
        searched = ", ".join(map(str, folders.inputs))
        raise RunError(f"Invalid {kind}: {shown_text(str(name), SHOWN)} ({what} are searched below {searched})")
    return path


def clear_parts(frames: list[Levels]) -> Tensor:
    """[N, H, W]: 1 where a frame is transparent."""
    import torch

    none = torch.zeros(frames[0].colours.shape[:2])
    return torch.stack([none if f.opacity is None else 1 - torch.from_numpy(f.opacity) for f in frames])
