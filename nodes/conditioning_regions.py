"""Where and when an entry of CONDITIONING counts, as ComfyUI's own conditioning nodes set it.

Conditioning (Set Mask), (Set Area), (Set Area with Percentage), ConditioningSetAreaStrength and
ConditioningSetTimestepRange write the keys that are read here.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..mgt_core.conditioning.parts import ConditionPart
from ..mgt_core.errors import MGTError, finite_number
from ..mgt_core.types import Condition
from .inputs import check_mask

LATENT_PIXELS = 8  # ComfyUI counts areas in squares of this many pixels
FADE_PIXELS = 64  # over which an area fades in, at most a quarter of its side, as ComfyUI has it
LARGEST = 16384.0  # of the numbers that say where and how much, as far as ComfyUI's own widgets go
# The value of each key that changes nothing.
NEUTRAL = {"area": None, "mask": None, "strength": 1.0, "start_percent": 0.0, "end_percent": 1.0}
PLACES = {"area": "an area", "mask": "a mask"}

Size = tuple[int, int] | None  # (height, width) of a picture in pixels


def is_everywhere(extra: dict) -> bool:
    """Whether the entry counts in the whole picture and the whole run, with weight 1."""
    return not any(is_set(extra.get(key, neutral), neutral) for key, neutral in NEUTRAL.items())


def is_set(value: object, neutral: float | None) -> bool:
    return isinstance(value, Tensor) or value != neutral


def part_from(condition: Condition, extra: dict, role: str, size: Size, unit: int) -> ConditionPart:
    """The condition with its place, weight and time. size: (height, width) in pixels, None of sound; unit: pixels a
    token."""
    if size is None:
        weight = weight_in_sound(extra, role)
    else:
        weight = weight_from(extra, role, (size[0] // unit, size[1] // unit), unit)
    return ConditionPart(
        condition,
        weight=weight,
        start=number_from(extra, "start_percent", role),
        end=number_from(extra, "end_percent", role),
    )


def number_from(extra: dict, key: str, role: str) -> float:
    """Raises MGTError for what is no number; the library knows in which range it lies."""
    value = extra.get(key, NEUTRAL.get(key, 1.0))
    return finite_number(f"{key} of the {role} conditioning", value, -LARGEST, LARGEST)


def weight_in_sound(extra: dict, role: str) -> float:
    """Raises MGTError for a place, which only pictures have."""
    if placed := [key for key in ("area", "mask") if extra.get(key) is not None]:
        raise MGTError(
            f"the {role} conditioning has {' and '.join(PLACES[key] for key in placed)}, which is a place in a "
            "picture, and this model makes sound; its strength and its time range count there"
        )
    return number_from(extra, "strength", role)


def weight_from(extra: dict, role: str, grid: tuple[int, int], unit: int) -> float | Tensor:
    """A number, or [B or 1, h, w]: the share of each token's square that the mask covers, times the strengths."""
    weight = number_from(extra, "strength", role)
    mask, area = extra.get("mask"), extra.get("area")
    if mask is not None:
        check_mask(f"mask of the {role} conditioning", mask)
        mask = mask.reshape(-1, 1, *mask.shape[-2:]).float().cpu()  # where the area's table is
        weight = F.adaptive_avg_pool2d(mask, grid)[:, 0] * (weight * number_from(extra, "mask_strength", role))
    if area is not None:
        weight = weight * area_weight(area, role, grid, unit, fades=mask is None)
    return weight


def area_weight(area: tuple, role: str, grid: tuple[int, int], unit: int, fades: bool) -> Tensor:
    """[1, h, w]: 1 in the area, fading in from those of its edges that lie inside the picture."""
    share = isinstance(area, (list, tuple)) and area[:1] in (("percentage",), ["percentage"])
    numbers = area[1:] if share else area
    if not isinstance(area, (list, tuple)):
        raise MGTError(f"the {role} conditioning has an area of {type(area).__name__}; expected four numbers")
    numbers = [finite_number(f"area of the {role} conditioning", number, 0, LARGEST) for number in numbers]
    if len(numbers) != 4:
        raise MGTError(f"the {role} conditioning has an area of {len(numbers) // 2} dimensions; expected 2")
    lines = []
    for cells, length, start in zip(grid, numbers[:2], numbers[2:], strict=True):
        scale = cells if share else LATENT_PIXELS / unit
        first = min(round(start * scale), cells)
        length = min(max(1, round(length * scale)), cells - first)
        line = torch.zeros(cells)
        line[first : first + length] = 1
        fade = min(FADE_PIXELS // unit, length // 4) if fades else 0
        for step in range(fade):
            if first:
                line[first + step] *= (step + 1) / fade
            if first + length < cells:
                line[first + length - 1 - step] *= (step + 1) / fade
        lines.append(line)
    return lines[0][None, :, None] * lines[1][None, None, :]
