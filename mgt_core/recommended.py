"""Sampling settings that go with the weights: what a run uses where nobody chooses. (Beside them a family may name the
settings of its "guidance" over the run, which loading attaches as a patch.)

A bundle's own come first (scheduler_config.json, "defaults"), then those that the authors of its family run it with
(`Backbone.published_settings`), then FALLBACK.
"""

import math
from collections.abc import Mapping
from typing import Any, Protocol

from .errors import MGTError, finite_number, whole_number
from .registry import SAMPLERS
from .samplers.temperature import draw_temperature, temperature_range
from .settings import in_words

FALLBACK: Mapping[str, Any] = {
    "steps": 48,
    "cfg": 9.0,
    "temperature": (2.0, 0.0),
    "temperature_shape": "linear",
    "draw_temperature": 1.0,
    "known_confidence": math.inf,
    "schedule": "cosine",
    "inpainting_schedule": "linear",  # of Meissonic's and aMUSEd's inpainting pipelines
    "sampler": "maskgit",
    "sampler_settings": {},  # where no sampler is chosen
}
NAMES = tuple(name for name, value in FALLBACK.items() if isinstance(value, str))


def checked_settings(held: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a file, as a run takes them. Raises MGTError for those that no run can have; names that are not known
    are let be."""
    held = dict(held)
    if "steps" in held:
        held["steps"] = whole_number("steps", held["steps"], 1, 100_000)
    if "cfg" in held:
        held["cfg"] = finite_number("cfg", held["cfg"], 0, 1000)
    temperature_range(held.get("temperature"))
    if "draw_temperature" in held:
        held["draw_temperature"] = draw_temperature(held["draw_temperature"])
    if "known_confidence" in held and held["known_confidence"] != math.inf:
        held["known_confidence"] = finite_number("known_confidence", held["known_confidence"], -1e30, 1e30)
    for name in NAMES:
        if not isinstance(held.get(name, ""), str):
            raise MGTError(f"{name} is {held[name]!r}; expected a name")
    if not isinstance(held.get("sampler_settings", {}), Mapping):
        raise MGTError(f"sampler_settings is {held['sampler_settings']!r}; expected settings by name")
    return held


class Recommending(Protocol):
    """A model: defaults are settings by the names of FALLBACK, some or none."""

    defaults: Mapping[str, Any]


def recommended(model: Recommending) -> dict[str, Any]:
    """Every setting of FALLBACK as the model's weights want it."""
    return {**FALLBACK, **model.defaults}


def told(settings: Mapping[str, Any]) -> str:
    """What a model recommends, in one line."""
    return (
        f"{settings['steps']} steps, cfg {settings['cfg']:g}, {settings['schedule']} schedule "
        f"({settings['inpainting_schedule']} for inpainting), sampler {settings['sampler']}{temperature_told(settings)}"
    )


def temperature_told(settings: Mapping[str, Any]) -> str:
    """That of the noise, or the sampler's own settings where it has a temperature that is no such range."""
    sampler = SAMPLERS.get(settings["sampler"])
    if isinstance(getattr(sampler, "temperature", None), float):
        return f" ({in_words(sampler(**settings['sampler_settings']))})"
    ends = zip(temperature_range(settings["temperature"]), FALLBACK["temperature"], strict=True)
    first, last = (other if end is None else end for end, other in ends)
    return f", temperature {first:g} to {last:g} ({settings['temperature_shape']})"
