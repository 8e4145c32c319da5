"""Pictures for the judge: what a bundle makes of prompts, and what its codec makes of real compositions."""

from __future__ import annotations

import functools

import numpy as np
import torch
import torch.nn.functional as F

import mgt_core

from ..data.scenes import Renderer, Scene
from ..data.subjects import load_sprites
from ..export import DEFAULTS

BATCH = 20


def model_settings(pipe: mgt_core.Pipeline) -> dict:
    """Steps, guidance, temperature and schedule that the bundle recommends, else those of the built-in model."""
    settings = {**DEFAULTS, **pipe.model.defaults}
    return settings | {"temperature": tuple(settings["temperature"])}


@functools.cache
def _renderer() -> Renderer:
    return Renderer(load_sprites())  # it keeps the sprites that it has resized


def render(scenes: list[Scene]) -> np.ndarray:
    """The real compositions, [B, 128, 128, 3] float32 in 0..1."""
    return np.stack([_renderer().render(scene) for scene in scenes])


def generate(pipe: mgt_core.Pipeline, scenes: list[Scene], *, seed: int = 0, **settings) -> np.ndarray:
    """One image per scene, [B, H, W, 3] float32; `settings` go to `mgt_core.sample`."""
    images = []
    size = pipe.size
    for start in range(0, len(scenes), BATCH):
        prompts = [scene.caption for scene in scenes[start : start + BATCH]]
        positive, negative = pipe.text.encode(prompts, size=size), pipe.text.encode([""] * len(prompts), size=size)
        state = mgt_core.empty_tokens(pipe, height=size[0], width=size[1], batch=len(prompts))
        state = mgt_core.sample(pipe.model, state, positive, negative, seed=seed + start, **settings)
        images.append(pipe.codec.decode(state).float().cpu().numpy())
    return np.concatenate(images)


@torch.inference_mode()
def reconstruct(pipe: mgt_core.Pipeline, images: np.ndarray) -> np.ndarray:
    """Through the codec and back."""
    height, width = pipe.size
    pixels = F.interpolate(torch.from_numpy(images).permute(0, 3, 1, 2), (height, width), mode="area")
    parts = pixels.permute(0, 2, 3, 1).split(BATCH)
    return np.concatenate([pipe.codec.decode(pipe.codec.encode(part)).float().cpu().numpy() for part in parts])
