"""Stand-ins for nodes of ComfyUI that the shared workflows use on pictures, masks and CONDITIONING.

Names, inputs and results are those of ComfyUI's own nodes; on a server, those run.
"""

from __future__ import annotations

from typing import Any

from .pictures import check_size
from .problems import Json, RunError

LARGEST = 16384
UPSCALE_METHODS = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]
MASK_OPERATIONS = ["multiply", "add", "subtract", "and", "or", "xor"]
NODES: dict[str, tuple[type, str]] = {}


def stands_for(name: str, shown: str, outputs: tuple[str, ...], /, among: dict = NODES, **inputs):
    """Decorator: the class's `run` is the node `name`, shown as `shown`, with these inputs and outputs."""

    def add(cls: type) -> type:
        cls.RETURN_TYPES, cls.FUNCTION = outputs, "run"
        cls.INPUT_TYPES = classmethod(lambda _: {"required": dict(inputs)})
        among[name] = (cls, shown)
        return cls

    return add


def whole(default: int, low: int = 0) -> tuple[str, Json]:
    return "INT", {"default": default, "min": low, "max": LARGEST}


def share(default: float, high: float = 1.0) -> tuple[str, Json]:
    return "FLOAT", {"default": default, "min": 0.0, "max": high, "step": 0.01}


CONDITIONING = ("CONDITIONING",)
SIZE = {"width": whole(512, 1), "height": whole(512, 1)}


@stands_for(
    "ImageScale",
    "Upscale Image",
    ("IMAGE",),
    image=("IMAGE",),
    upscale_method=(UPSCALE_METHODS,),
    width=whole(512),
    height=whole(512),
    crop=(["disabled", "center"],),
)
class ImageScale:
    def run(self, image, upscale_method: str, width: int, height: int, crop: str) -> tuple:
        import torch

        if not width and not height:
            return (image,)
        rows, columns = image.shape[1:3]
        if not image.numel():
            raise RunError(f"image has shape {list(image.shape)}, which holds no pixel to scale")
        width = width or max(1, round(columns * height / rows))
        height = height or max(1, round(rows * width / columns))
        check_size((width, height), "the size to scale to", len(image))
        if crop == "center":
            left = min((columns - 1) // 2, max(0, round((columns - rows * width / height) / 2)))
            top = min((rows - 1) // 2, max(0, round((rows - columns * height / width) / 2)))
            image = image[:, top : rows - top, left : columns - left]
        if upscale_method == "lanczos":
            return (torch.stack([_lanczos(picture, width, height) for picture in image]),)
        planes = image.movedim(-1, 1)
        return (torch.nn.functional.interpolate(planes, (height, width), mode=upscale_method).movedim(1, -1),)


def _lanczos(picture, width: int, height: int):
    import numpy as np
    import torch
    from PIL import Image

    pixels = (picture.clamp(0, 1) * 255).byte().numpy()
    scaled = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(scaled).astype(np.float32) / 255)


@stands_for("SolidMask", "SolidMask", ("MASK",), value=share(1.0), **SIZE)
class SolidMask:
    def run(self, value: float, width: int, height: int) -> tuple:
        import torch

        check_size((width, height), "the mask")
        return (torch.full((1, height, width), value),)


@stands_for(
    "MaskComposite",
    "MaskComposite",
    ("MASK",),
    destination=("MASK",),
    source=("MASK",),
    x=whole(0),
    y=whole(0),
    operation=(MASK_OPERATIONS,),
)
class MaskComposite:
    def run(self, destination, source, x: int, y: int, operation: str) -> tuple:
        result = destination.reshape(-1, *destination.shape[-2:]).clone()
        place = result[:, y : y + source.shape[-2], x : x + source.shape[-1]]
        part = source.reshape(-1, *source.shape[-2:])[:, : place.shape[1], : place.shape[2]]
        if len(part) not in (1, len(place)):
            accepted = "1" if len(place) == 1 else f"1 or {len(place)}"
            raise RunError(
                f"source holds {len(part)} masks and destination {len(place)}; expected {accepted} in source"
            )
        a, b = place.round().bool(), part.round().bool()
        values = {
            "multiply": place * part,
            "add": place + part,
            "subtract": place - part,
            "and": a & b,
            "or": a | b,
            "xor": a ^ b,
        }
        place.copy_(values[operation].float())
        return (result.clamp(0, 1),)


def with_values(conditioning: list, **values: Any) -> tuple:
    """The conditioning with these entries set on all its parts."""
    return ([[hidden, {**extra, **values}] for hidden, extra in conditioning],)


@stands_for(
    "ConditioningCombine",
    "Conditioning (Combine)",
    CONDITIONING,
    conditioning_1=CONDITIONING,
    conditioning_2=CONDITIONING,
)
class ConditioningCombine:
    def run(self, conditioning_1: list, conditioning_2: list) -> tuple:
        return (conditioning_1 + conditioning_2,)


@stands_for(
    "ConditioningConcat",
    "Conditioning (Concat)",
    CONDITIONING,
    conditioning_to=CONDITIONING,
    conditioning_from=CONDITIONING,
)
class ConditioningConcat:
    def run(self, conditioning_to: list, conditioning_from: list) -> tuple:
        import torch

        more = conditioning_from[0][0]
        return ([[torch.cat((hidden, more), 1), dict(extra)] for hidden, extra in conditioning_to],)


@stands_for(
    "ConditioningAverage",
    "ConditioningAverage",
    CONDITIONING,
    conditioning_to=CONDITIONING,
    conditioning_from=CONDITIONING,
    conditioning_to_strength=share(1.0),
)
class ConditioningAverage:
    def run(self, conditioning_to: list, conditioning_from: list, conditioning_to_strength: float) -> tuple:
        import torch

        hidden_from, extra_from = conditioning_from[0]
        pooled_from = extra_from.get("pooled_output")

        def mixed(to, other):
            return to * conditioning_to_strength + other * (1 - conditioning_to_strength)

        averaged = []
        for hidden, extra in conditioning_to:
            other = hidden_from[:, : hidden.shape[1]]
            other = torch.nn.functional.pad(other, (0, 0, 0, hidden.shape[1] - other.shape[1]))
            extra = dict(extra)
            if pooled_from is not None:
                extra["pooled_output"] = mixed(extra.get("pooled_output", pooled_from), pooled_from)
            averaged.append([mixed(hidden, other), extra])
        return (averaged,)


@stands_for("ConditioningZeroOut", "ConditioningZeroOut", CONDITIONING, conditioning=CONDITIONING)
class ConditioningZeroOut:
    def run(self, conditioning: list) -> tuple:
        def zeroed(extra: Json) -> Json:
            pooled = extra.get("pooled_output")
            return {**extra, **({} if pooled is None else {"pooled_output": pooled * 0})}

        return ([[hidden * 0, zeroed(extra)] for hidden, extra in conditioning],)


@stands_for(
    "ConditioningSetTimestepRange",
    "ConditioningSetTimestepRange",
    CONDITIONING,
    conditioning=CONDITIONING,
    start=share(0.0),
    end=share(1.0),
)
class ConditioningSetTimestepRange:
    def run(self, conditioning: list, start: float, end: float) -> tuple:
        return with_values(conditioning, start_percent=start, end_percent=end)


@stands_for(
    "ConditioningSetMask",
    "Conditioning (Set Mask)",
    CONDITIONING,
    conditioning=CONDITIONING,
    mask=("MASK",),
    strength=share(1.0, 10.0),
    set_cond_area=(["default", "mask bounds"],),
)
class ConditioningSetMask:
    def run(self, conditioning: list, mask, strength: float, set_cond_area: str) -> tuple:
        mask = mask.reshape(-1, *mask.shape[-2:])
        bounds = set_cond_area != "default"
        return with_values(conditioning, mask=mask, set_area_to_bounds=bounds, mask_strength=strength)


@stands_for(
    "ConditioningSetAreaPercentage",
    "Conditioning (Set Area with Percentage)",
    CONDITIONING,
    conditioning=CONDITIONING,
    width=share(1.0),
    height=share(1.0),
    x=share(0.0),
    y=share(0.0),
    strength=share(1.0, 10.0),
)
class ConditioningSetAreaPercentage:
    def run(self, conditioning: list, width: float, height: float, x: float, y: float, strength: float) -> tuple:
        area = ("percentage", height, width, y, x)
        return with_values(conditioning, area=area, strength=strength, set_area_to_bounds=False)


@stands_for(
    "ConditioningSetAreaStrength",
    "ConditioningSetAreaStrength",
    CONDITIONING,
    conditioning=CONDITIONING,
    strength=share(1.0, 10.0),
)
class ConditioningSetAreaStrength:
    def run(self, conditioning: list, strength: float) -> tuple:
        return with_values(conditioning, strength=strength)
