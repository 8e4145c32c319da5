"""Settings that go together, by name."""

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ..mgt_core.errors import MGTError, lookup
from ..mgt_core.loading.disk import MAX_JSON, read_whole
from ..mgt_core.presets import Preset
from . import host
from .inputs import judged
from .reported import reported
from .types import FLOAT, INT, MGT_MODEL, MGT_SAMPLER, MGT_SCHEDULE, STRING, combo, model_input, node


def descriptions() -> str:
    """What the presets that come with the pack are for."""
    told = []
    for name, path in host.presets(own=True).items():
        try:
            told.append(f"{name}: {Preset.read(path).description}")
        except MGTError:
            continue  # said when it is used
    return "; ".join(told)


def read(preset: str) -> Preset:
    """Raises MGTError where there is none of that name, and where it cannot be read."""
    return Preset.read(lookup("preset", preset, host.presets()))


def digest(paths: Iterable[Path]) -> str:
    """Of what small files hold; one that is not, or cannot be read, counts as empty, and says so when it is used."""
    held = hashlib.sha256()
    for path in paths:
        with suppress(MGTError):
            held.update(read_whole(path, MAX_JSON))
    return held.hexdigest()


@node("MGT Preset")
class MGTPreset:
    DESCRIPTION = (
        "Everything a run needs, set for a model and a purpose: the model with its patches, schedule, sampler, steps, "
        "cfg and negative prompt. Wire them to MGT Sample and MGT Text Encode."
    )
    CATEGORY = "MGT/presets"
    SEARCH_ALIASES = ["settings", "defaults", "recommended", "best", "fast", "template", "profile", "style"]
    RETURN_TYPES = (MGT_MODEL, MGT_SCHEDULE, MGT_SAMPLER, INT, FLOAT, STRING)
    RETURN_NAMES = ("model", "schedule", "sampler", "steps", "cfg", "negative_prompt")
    OUTPUT_TOOLTIPS = (
        "A copy of the model with the preset's patches attached after what was there; the weights are shared.",
        "The mask schedule, for MGT Sample.",
        "The sampler with its temperature, for MGT Sample.",
        "Number of steps, for MGT Sample.",
        "Guidance, for MGT Sample.",
        "The negative prompt, for the text of an MGT Text Encode; often empty.",
    )
    FUNCTION = "fit"
    HAS_INTERMEDIATE_OUTPUT = True  # newer hosts send its report again when it need not run

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": model_input(),
                "preset": combo(
                    list(host.presets()),
                    f"A file of the pack's folder presets or of models/mgt/presets, where you can put your own. "
                    f"{descriptions()}.",
                    default="built-in",
                ),
            },
        }

    @classmethod
    def VALIDATE_INPUTS(cls, preset=None):
        """Before anything runs: one that is gone or broken since the list was made."""
        return judged(read, preset)

    @classmethod
    def IS_CHANGED(cls, preset=None, **others):
        """What the file holds, so that a preset that was edited is read again; of all where another node names it."""
        known = host.presets()
        return digest(known[preset] for preset in ([preset] if preset in known else known))

    def fit(self, model, preset: str):
        found = read(preset)
        fitted = found.fitted(model)
        note = f"{fitted.note[0].upper()}{fitted.note[1:]}." if fitted.note else ""
        text = "\n".join(filter(None, (found.description, note)))
        made = (fitted.model, fitted.schedule, fitted.sampler, fitted.steps, fitted.cfg, fitted.negative)
        return reported(text, *made)
