"""Where and when an entry of CONDITIONING counts, as ComfyUI's own conditioning nodes set it.

Conditioning (Set Mask), (Set Area), (Set Area with Percentage), ConditioningSetAreaStrength and
ConditioningSetTimestepRange write the keys that are read here.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..mgt_core.conditioning.parts import ConditionPart
from ..mgt_core.errors import MGTError
from ..mgt_core.types import Condition

LATENT_PIXELS = 8  # ComfyUI counts areas in squares of this many pixels
FADE_PIXELS = 64  # over which an area fades in, at most a quarter of its side, as ComfyUI has it
# The value of each key that changes nothing.
NEUTRAL = {"area": None, "mask": None, "strength": 1.0, "start_percent": 0.0, "end_percent": 1.0}


def is_everywhere(extra: dict) -> bool:
    """Whether the entry counts in the whole picture and the whole run, with weight 1."""
    return not any(extra.get(key, neutral) != neutral for key, neutral in NEUTRAL.items())


def part_from(condition: Condition, extra: dict, role: str, size: tuple[int, int], unit: int) -> ConditionPart:
    """The condition with its place, weight and time. size: (height, width) in pixels; unit: pixels a token."""
    return ConditionPart(
        condition,
        weight=weight_from(extra, role, (size[0] // unit, size[1] // unit), unit),
        start=float(extra.get("start_percent", 0.0)),
        end=float(extra.get("end_percent", 1.0)),
    )


def weight_from(extra: dict, role: str, grid: tuple[int, int], unit: int) -> float | Tensor:
    """A number, or [B or 1, h, w]: the share of each token's square that the mask covers, times the strengths."""
    weight = float(extra.get("strength", 1.0))
    mask, area = extra.get("mask"), extra.get("area")
    if mask is not None:
        mask = mask.reshape(-1, 1, *mask.shape[-2:]).float().cpu()  # where the area's table is
        weight = F.adaptive_avg_pool2d(mask, grid)[:, 0] * (weight * float(extra.get("mask_strength", 1.0)))
    if area is not None:
        weight = weight * area_weight(area, role, grid, unit, fades=mask is None)
    return weight


def area_weight(area: tuple, role: str, grid: tuple[int, int], unit: int, fades: bool) -> Tensor:
    """[1, h, w]: 1 in the area, fading in from those of its edges that lie inside the picture."""
    share = area[0] == "percentage"
    numbers = area[1:] if share else area
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
