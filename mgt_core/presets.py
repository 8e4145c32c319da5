"""Presets: the settings of a whole run in one JSON file. Only `description` must be there:

    {"description": "Fast and careful", "source": "found by trying", "models": ["meissonic"], "codes": 8192,
     "steps": 64, "cfg": 9.0, "temperature": [2.0, 0.0], "negative": "blurry",
     "schedule": {"name": "sigmoid", "tau": 0.5}, "sampler": {"name": "masked_zsampling", "inversion_cfg": 0.0},
     "patches": {"token_cache": {"share": 0.1, "every": 8}}}

Names are those of the registries; a schedule or sampler without settings may be its name alone. Steps, cfg, temperature
and schedule that are left out are as the model recommends (recommended.py).
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path

from .errors import MGTError, finite_number, join_some, lookup, whole_number
from .loading.disk import read_json
from .loading.layouts import BUILT_IN
from .loading.listing import files_in, one_list
from .model import MGTModel
from .modifiers.base import Modifier
from .patches.base import Patch
from .recommended import FALLBACK, recommended
from .registry import BACKBONES, MODIFIERS, PATCHES, SAMPLERS, SCHEDULES
from .samplers.base import ConfidenceSampler, Sampler
from .samplers.maskgit import MaskGIT
from .samplers.temperature import temperature_range
from .schedules.base import MaskSchedule
from .settings import from_json

log = logging.getLogger(__name__)

Attachment = Patch | Modifier


def patches() -> dict[str, type[Patch]]:
    """Those that settings in a file can attach, by their registered names."""
    return {name: PATCHES.get(name) for name in PATCHES if PATCHES.get(name).in_files}


def attachments() -> dict[str, type[Attachment]]:
    """All that settings in a file can attach, by its registered name."""
    return patches() | {name: MODIFIERS.get(name) for name in MODIFIERS}


@dataclass(frozen=True)
class Fitted:
    """What a preset makes of a model: the arguments of `mgt_core.sample`, and the negative prompt that goes with them.
    schedule: None where it is left to the model. note: one sentence where the preset was made for another model, else
    empty."""

    model: MGTModel
    schedule: MaskSchedule | None
    sampler: Sampler
    steps: int
    cfg: float
    negative: str
    note: str = ""


@dataclass(frozen=True)
class Preset:
    """Settings of a whole run. source: where they come from. models: backbones it is for, all when empty. codes: in
    the codebook of the models that it was found on. patches: in the order in which they are attached. What is None
    is the model's own."""

    name: str
    description: str
    source: str = ""
    models: tuple[str, ...] = ()
    codes: int | None = None
    steps: int | None = None
    cfg: float | None = None
    temperature: tuple[float, float] | None = None
    schedule: MaskSchedule | None = None
    sampler: Sampler = field(default_factory=MaskGIT)
    patches: tuple[Attachment, ...] = ()
    negative: str = ""

    @classmethod
    def read(cls, path: Path) -> "Preset":
        """Raises MGTError naming the file and what is wrong in it."""
        held = read_json(path)
        try:
            return cls(path.stem, **parsed(held))
        except MGTError as error:
            raise MGTError(f"the preset {path.name}: {error}") from None

    def fitted(self, model: MGTModel) -> Fitted:
        """Raises MGTError for a model of another family, or one that cannot take a patch."""
        family = BACKBONES.name_of(type(model.network))
        if self.models and family not in self.models:
            wanted = " and ".join(self.models)
            raise MGTError(f"the preset {self.name} is for {wanted} models, and this one is {family}")
        own, sampler = {**recommended(model), **self.sampler.recommends}, self.sampler
        if self.temperature:
            sampler = replace(sampler, temperature=self.temperature)
        note = ""
        if self.codes not in (None, model.codebook_size):
            note = f"the preset {self.name} was made for models of {self.codes} codes; "
            note += f"this one has {model.codebook_size}"
            log.warning("%s", note)
        return Fitted(
            attached(model, self.patches),
            self.schedule,
            sampler.fitted(own),
            self.steps or own["steps"],
            float(own["cfg"] if self.cfg is None else self.cfg),
            self.negative,
            note,
        )


def attached(model: MGTModel, parts: tuple[Attachment, ...]) -> MGTModel:
    """The model with all of them, in their order."""
    return reduce(MGTModel.with_part, parts, model)


def attachment_from(name: str, settings: Mapping) -> Attachment:
    """What goes by `name` in a file. Raises MGTError for another name, and for settings that it does not have."""
    return from_json(lookup("patch", name, attachments()), name, settings)


def from_registry(registry, value) -> object:
    """A registered part: its name, or {"name": its name, and settings}."""
    settings = dict(value) if isinstance(value, Mapping) else {"name": value}
    name = settings.pop("name", None)
    return from_json(registry.get(name), name, settings)


def text(key: str) -> Callable[[object], str]:
    def check(value) -> str:
        if not isinstance(value, str):
            raise MGTError(f"{key} is {value!r}; expected a text")
        return value

    return check


def whole(key: str, high: int) -> Callable[[object], int]:
    def check(value) -> int:
        whole_number(key, value, 1, high)
        return value

    return check


def families(value) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise MGTError(f"models is {value!r}; expected a list of {', '.join(BACKBONES)}")
    for name in value:
        BACKBONES.get(name)
    return tuple(value)


def guidance(value) -> float:
    finite_number("cfg", value, 0, 1000)
    return float(value)


def attached_in(value) -> tuple[Attachment, ...]:
    if not isinstance(value, Mapping):
        raise MGTError(f"patches is {value!r}; expected settings by name of {', '.join(attachments())}")
    return tuple(attachment_from(name, settings) for name, settings in value.items())


READERS: dict[str, Callable] = {
    "description": text("description"),
    "source": text("source"),
    "models": families,
    "codes": whole("codes", 2**31),
    "steps": whole("steps", 100_000),
    "cfg": guidance,
    "temperature": temperature_range,
    "schedule": lambda value: from_registry(SCHEDULES, value),
    "sampler": lambda value: from_registry(SAMPLERS, value),
    "patches": attached_in,
    "negative": text("negative"),
}


def parsed(held: Mapping) -> dict:
    """The fields of a Preset that a JSON object holds. Raises MGTError for anything else in it."""
    if unknown := [key for key in held if key not in READERS]:
        raise MGTError(f"it holds {join_some(unknown)}; accepted are {', '.join(READERS)}")
    if "description" not in held:
        raise MGTError("it has no description, which says in a sentence what the preset is for")
    found = {key: READERS[key](value) for key, value in held.items()}
    if "temperature" in found and not isinstance(found.get("sampler", MaskGIT()), ConfidenceSampler):
        raise MGTError(f"temperature is {held['temperature']!r}, and its sampler has none")
    return found


def built_in_settings() -> dict:
    """Steps, cfg, temperature and schedule that the built-in model names in its bundle (scheduler_config.json)."""
    path = BUILT_IN["demo"] / "scheduler" / "scheduler_config.json"
    return {**FALLBACK, **(read_json(path).get("defaults", {}) if path.is_file() else {})}


@one_list()
def preset_files(folders: list[Path]) -> dict[str, Path]:
    """Every preset by its name, the file's without .json; the first folder that has a name wins."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in files_in(folder, ".json"):
            found.setdefault(path.stem, path)
    return found
