"""What settings in a file say of a run: arguments of `sample`, attachments, a quantization."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from mgt_core.errors import MGTError, finite_number, join_some, whole_number
from mgt_core.plain import members, plain_number
from mgt_core.presets import Attachment, attachment_from, attachments, from_registry
from mgt_core.quantization.schemes import SCHEMES, Scheme
from mgt_core.registry import SAMPLERS, SCHEDULES
from mgt_core.samplers.base import ConfidenceSampler
from mgt_core.samplers.temperature import temperature_range

REGISTRIES = {"sampler": SAMPLERS, "schedule": SCHEDULES}
SAMPLE = (*REGISTRIES, "steps", "cfg", "temperature")
QUANTIZATION = "quantization"
LONGEST_NAME = 200  # characters, of which a contact sheet shows forty
LONGEST_SETTINGS = 10_000  # characters of JSON, since every row of a sweep holds its settings


def accepted() -> tuple[str, ...]:
    return (*SAMPLE, QUANTIZATION, *attachments())


def check_settings(name: str, values: Mapping) -> None:
    """Raises MGTError for settings that no run could use, before any work."""
    if not name or len(name) > LONGEST_NAME:
        raise MGTError(f"settings are called {name!r}; expected a name of 1 to {LONGEST_NAME} characters")
    if not isinstance(values, Mapping):
        raise MGTError(f"the settings {name!r} are {values!r}; expected values of {', '.join(accepted())}")
    if unknown := [key for key in values if key not in accepted()]:
        raise MGTError(f"the settings {name!r} have {join_some(unknown)}; accepted are {', '.join(accepted())}")
    if (length := len(json.dumps(values))) > LONGEST_SETTINGS:
        raise MGTError(f"the settings {name!r} have {length} characters; at most {LONGEST_SETTINGS} are accepted")
    whole_number(f"steps of the settings {name!r}", values.get("steps", 1), 1, 100_000)
    finite_number(f"cfg of the settings {name!r}", values.get("cfg", 1), 0, 1000)
    arguments(name, values)
    scheme_of(name, values)
    patches(name, values)


def plain_values(held: Any) -> Any:
    """As JSON holds them: numbers of any library as Python's, tuples and arrays as lists."""
    if isinstance(held, Mapping):
        return {name: plain_values(value) for name, value in held.items()}
    several = members(held)
    return plain_number(held) if several is None else [plain_values(value) for value in several]


def arguments(name: str, values: Mapping) -> dict:
    """Those of `sample`; what is left out is the model's own. A sampler or schedule is its name, or an object with its
    name and settings. Raises MGTError for what it cannot be."""
    found = {key: values[key] for key in SAMPLE if key in values}
    for key, registry in REGISTRIES.items():
        if isinstance(values.get(key), Mapping):
            found[key] = named(name, registry, values[key])
        elif key in values:
            registry.get(values[key])
    if "temperature" in found:
        found["temperature"] = temperature_range(found["temperature"])
        if isinstance(found.get("sampler"), ConfidenceSampler):
            found["sampler"] = replace(found["sampler"], temperature=found.pop("temperature"))
    return found


def scheme_of(name: str, values: Mapping) -> Scheme | None:
    """How the settings `name` quantize the transformer. Raises MGTError for a scheme that there is not."""
    return named(name, SCHEMES, values[QUANTIZATION]) if QUANTIZATION in values else None


def patches(name: str, values: Mapping) -> tuple[Attachment, ...]:
    """What the settings `name` attach. Raises MGTError for values that it does not take."""
    with of_settings(name):
        return tuple(attachment_from(key, values[key]) for key in values if key in attachments())


def named(name: str, registry, value):
    with of_settings(name):
        return from_registry(registry, value)


@contextmanager
def of_settings(name: str) -> Iterator[None]:
    """Whatever a part says of values that it does not take, with the name of the settings that hold them."""
    try:
        yield
    except Exception as error:
        raise MGTError(f"the settings {name!r}: {str(error) or type(error).__name__}") from None
