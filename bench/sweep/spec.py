"""What a sweep asks for: prompts, seeds and settings, checked before any work, and the job of each picture."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

from mgt_core.errors import MGTError, finite_number, join_some, whole_number
from mgt_core.placement import FLOAT_DTYPES
from mgt_core.presets import Attachment, attachment_from, attachments
from mgt_core.registry import SAMPLERS, SCHEDULES
from mgt_core.samplers.temperature import temperature_range

DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in FLOAT_DTYPES}
SAMPLE = ("sampler", "schedule", "steps", "cfg", "temperature")


@dataclass(frozen=True)
class Spec:
    """A sweep. settings: by name. size: (height, width) in pixels, the model's own by default."""

    prompts: list[str]
    settings: dict[str, dict] = field(default_factory=lambda: {"default": {}})
    seeds: list[int] = field(default_factory=lambda: [0])
    model: str = "demo"
    dtype: str | None = None
    negative: str = ""
    size: list[int] | None = None

    def __post_init__(self):
        if not isinstance(self.prompts, list) or not self.prompts or not all(isinstance(p, str) for p in self.prompts):
            raise MGTError(f"the sweep's prompts are {self.prompts!r}; expected a list of one or more texts")
        if not isinstance(self.seeds, list) or not self.seeds:
            raise MGTError(f"the sweep's seeds are {self.seeds!r}; expected a list of one or more whole numbers")
        for seed in self.seeds:
            whole_number("a seed of the sweep", seed, 0, 2**64 - 1)
        if not isinstance(self.negative, str):
            raise MGTError(f"the sweep's negative prompt is {self.negative!r}; expected a text")
        if self.dtype is not None and self.dtype not in DTYPES:
            raise MGTError(f"the sweep's dtype is {self.dtype!r}; accepted are {', '.join(DTYPES)}")
        if not isinstance(self.settings, dict) or not self.settings:
            raise MGTError(f"the sweep's settings are {self.settings!r}; expected settings by name")
        for name, values in self.settings.items():
            check_settings(name, values)
        if self.size is not None:
            if not isinstance(self.size, list) or len(self.size) != 2:
                raise MGTError(f"the sweep's size is {self.size!r}; expected [height, width] in pixels")
            for side in self.size:
                whole_number("the sweep's size", side, 1, 16384)

    @classmethod
    def read(cls, file: Path) -> "Spec":
        """Raises MGTError for a file that is missing or holds something else."""
        try:
            values = json.loads(file.read_text("utf-8"))
        except OSError:
            raise MGTError(f"the sweep {file} cannot be read; give a JSON file") from None
        except ValueError as error:
            raise MGTError(f"the sweep {file} is not valid JSON ({error})") from None
        known = list(cls.__dataclass_fields__)
        if not isinstance(values, dict) or "prompts" not in values:
            raise MGTError(f"the sweep {file} has no prompts; expected a JSON object with {', '.join(known)}")
        if unknown := [name for name in values if name not in known]:
            raise MGTError(f"the sweep {file} has {join_some(unknown)}; accepted are {', '.join(known)}")
        return cls(**values)

    def jobs(self) -> Iterator["Job"]:
        """Seeds of a prompt lie side by side, settings last: neighbours in the contact sheet."""
        for prompt in dict.fromkeys(self.prompts):
            for seed in dict.fromkeys(self.seeds):
                for name, values in self.settings.items():
                    yield Job(self.model, self.dtype, prompt, self.negative, seed, self.size, name, values)


def check_settings(name: str, values: dict) -> None:
    """Raises MGTError for settings that no run could use, before any work."""
    accepted = (*SAMPLE, *attachments())
    if not name or not isinstance(values, dict):
        raise MGTError(f"the settings {name!r} are {values!r}; expected values of {', '.join(accepted)}")
    if unknown := [key for key in values if key not in accepted]:
        raise MGTError(f"the settings {name!r} have {join_some(unknown)}; accepted are {', '.join(accepted)}")
    for key, registry in (("sampler", SAMPLERS), ("schedule", SCHEDULES)):
        if key in values:
            registry.get(values[key])
    whole_number(f"steps of the settings {name!r}", values.get("steps", 1), 1, 100_000)
    finite_number(f"cfg of the settings {name!r}", values.get("cfg", 1), 0, 1000)
    temperature_range(values.get("temperature", 1.0))
    patches(name, values)


def patches(name: str, values: dict) -> tuple[Attachment, ...]:
    """What the settings `name` attach. Raises MGTError for values that it does not take."""
    try:
        return tuple(attachment_from(key, values[key]) for key in values if key in attachments())
    except (MGTError, TypeError) as error:
        raise MGTError(f"the settings {name!r}: {error}") from None


@dataclass(frozen=True)
class Job:
    """One picture."""

    model: str
    dtype: str | None
    prompt: str
    negative: str
    seed: int
    size: list[int] | None
    settings_name: str
    settings: dict

    @cached_property
    def name(self) -> str:
        """Of its files: to be recognized by people, and unlike that of any other job."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]
        words = "".join(c if c.isalnum() else "-" for c in f"{self.settings_name}_{self.prompt}"[:48])
        return f"{words}_{self.seed}_{digest}"
