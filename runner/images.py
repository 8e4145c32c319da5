"""Stand-ins for ComfyUI's nodes that load and save pictures, for runs without ComfyUI."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .problems import Json

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
ANNOTATION = re.compile(r" \[(input|output|temp)\]$")
CHANNELS = ["alpha", "red", "green", "blue"]


@dataclass(frozen=True)
class Folders:
    """Where pictures come from, first match wins, and where they go."""

    inputs: tuple[Path, ...]
    output: Path

    def find(self, name: str) -> Path | None:
        name = ANNOTATION.sub("", name)
        return next((folder / name for folder in self.inputs if (folder / name).is_file()), None)

    def pictures(self) -> list[str]:
        found = (p.name for d in self.inputs if d.is_dir() for p in d.iterdir() if p.suffix.lower() in PICTURES)
        return sorted(set(found))


def free_path(folder: Path, stem: str) -> Iterator[Path]:
    """`stem_00001_.png` and on, past the highest number that the folder holds."""
    taken = re.compile(re.escape(stem) + r"_(\d+)_?\.\w+$", re.IGNORECASE)
    numbers = (int(m.group(1)) for p in folder.iterdir() if (m := taken.match(p.name)))
    number = max(numbers, default=0)
    while True:
        number += 1
        yield folder / f"{stem}_{number:05}_.png"


def expand_prefix(prefix: str, width: int, height: int) -> str:
    """Fills in %width%, %year% and their kin, and %date:yyyy-MM-dd%, as ComfyUI does."""
    now = time.localtime()
    parts = {"year": f"{now.tm_year}", "width": f"{width}", "height": f"{height}"}
    numbers = {"month": now.tm_mon, "day": now.tm_mday, "hour": now.tm_hour, "minute": now.tm_min, "second": now.tm_sec}
    parts |= {name: f"{number:02}" for name, number in numbers.items()}
    prefix = re.sub(r"%date(?::([^%]*))?%", lambda m: _date(m.group(1) or "yyyyMMddhhmmss", now), prefix)
    return re.sub(r"%(\w+)%", lambda m: parts.get(m[1], m[0]), prefix)


def _date(pattern: str, now: time.struct_time) -> str:
    values = {"yyyy": f"{now.tm_year}", "yy": f"{now.tm_year % 100:02}"}
    fields = (("M", now.tm_mon), ("d", now.tm_mday), ("h", now.tm_hour), ("m", now.tm_min), ("s", now.tm_sec))
    for letter, number in fields:
        values |= {letter: f"{number}", letter * 2: f"{number:02}"}
    return re.sub(r"yyyy|yy|MM?|dd?|hh?|mm?|ss?", lambda m: values[m[0]], pattern)


def leads_out(output: Path, prefix: str) -> bool:
    """Whether a prefix, which may name subfolders of the output, names a place outside."""
    return not (output / f"{prefix}_").parent.resolve().is_relative_to(output.resolve())


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
            if filename_prefix is None or not leads_out(cls.output, filename_prefix):
                return True
            return f"{filename_prefix!r} leads out of the output folder {cls.output}"

        def save_images(self, images, filename_prefix="ComfyUI", prompt=None, extra_pnginfo=None) -> Json:
            from PIL import Image
            from PIL.PngImagePlugin import PngInfo

            texts = PngInfo()
            for name, value in {"prompt": prompt, **(extra_pnginfo or {})}.items():
                if value is not None:
                    texts.add_text(name, json.dumps(value))
            height, width = images.shape[1:3]
            start = self.output / expand_prefix(filename_prefix, width, height)
            start.parent.mkdir(parents=True, exist_ok=True)
            paths = free_path(start.parent, start.name)
            saved = []
            for image in images:
                pixels = (image.float().clamp(0, 1) * 255).byte().cpu().numpy()
                path = next(paths)
                with path.open("xb") as file:
                    Image.fromarray(pixels).save(file, "PNG", pnginfo=texts, compress_level=4)
                saved.append(path)
            return {"ui": {"saved": saved}}

    class PreviewImage(SaveImage):
        output = folders.output / "temp"
        VALIDATE_INPUTS = None

        @classmethod
        def INPUT_TYPES(cls) -> Json:
            hidden = {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}
            return {"required": {"images": ("IMAGE",)}, "hidden": hidden}

        def save_images(self, images, prompt=None, extra_pnginfo=None) -> Json:
            return super().save_images(images, "ComfyUI_temp", prompt, extra_pnginfo)

    class LoadImage:
        RETURN_TYPES = ("IMAGE", "MASK")
        FUNCTION = "load_image"
        CATEGORY = "image"

        @classmethod
        def INPUT_TYPES(cls) -> Json:
            return {"required": {"image": (folders.pictures(), {"image_upload": True})}}

        @classmethod
        def VALIDATE_INPUTS(cls, image) -> bool | str:
            if folders.find(str(image)):
                return True
            searched = ", ".join(str(folder) for folder in folders.inputs)
            return f"Invalid image file: {image} (searched in {searched})"

        def load_image(self, image) -> tuple:
            import torch

            picture = _open(folders, image)
            pixels = _tensor(picture.convert("RGB"))[None]
            if "A" in picture.getbands() or "transparency" in picture.info:
                return pixels, 1 - _tensor(picture.convert("RGBA").getchannel("A"))[None]
            return pixels, torch.zeros((1, 64, 64))

    class LoadImageMask(LoadImage):
        RETURN_TYPES = ("MASK",)
        FUNCTION = "load_mask"
        CATEGORY = "mask"

        @classmethod
        def INPUT_TYPES(cls) -> Json:
            return {"required": {"image": (folders.pictures(), {"image_upload": True}), "channel": (CHANNELS,)}}

        def load_mask(self, image, channel) -> tuple:
            picture = _open(folders, image).convert("RGBA")
            mask = _tensor(picture.getchannel(channel[0].upper()))[None]
            return (1 - mask if channel == "alpha" else mask,)

    classes = {cls.__name__: cls for cls in (LoadImage, LoadImageMask, SaveImage, PreviewImage)}
    shown = {"LoadImage": "Load Image", "SaveImage": "Save Image", "PreviewImage": "Preview Image"}
    return classes, {**shown, "LoadImageMask": "Load Image (as Mask)"}


def _open(folders: Folders, name: str):
    from PIL import Image, ImageOps

    path = folders.find(name)
    if path is None:
        raise FileNotFoundError(f"image {name!r} is no longer there")
    return ImageOps.exif_transpose(Image.open(path))


def _tensor(picture):
    import numpy as np
    import torch

    return torch.from_numpy(np.asarray(picture).astype(np.float32) / 255)
