"""Values of a parsed config in which some stand for others, `${a.b}`, as the YAML of audiocraft's solvers has them.

Plain dotted references from the root alone are followed, and of those values only that are read: nothing is computed,
and no environment is asked.
"""

import re
from collections.abc import Mapping
from typing import Any

from ..errors import MGTError, shortened

REFERENCE = re.compile(r"\$\{([^{}:\s]+)\}")
DEEPEST = 16  # references that may follow one another
REQUIRED = object()
MISSING = "???"  # what stands in such files for a value that was never given


def resolved(config: Mapping[str, Any], path: str, default: Any = REQUIRED) -> Any:
    """The value at `path`, names with dots between them; a reference, or a list's entries, followed to what they stand
    for. default: of a path that is not there, where one is given.

    Raises MGTError for a path or reference that leads nowhere or in circles, and for what is no plain reference."""
    value = at(config, path)
    if value is MISSING and default is not REQUIRED:
        return default
    if value is MISSING:
        raise MGTError(f"config has no {path}")
    if isinstance(value, (list, tuple)):
        return [followed(config, path, each) for each in value]
    return followed(config, path, value)


def followed(config: Mapping[str, Any], path: str, value: Any) -> Any:
    first = value
    for _ in range(DEEPEST):
        if not isinstance(value, str) or "${" not in value:
            return value
        reference = REFERENCE.fullmatch(value.strip())
        if reference is None:
            raise MGTError(f"config has {path} {shortened(repr(value), 80)}; only references such as ${{a.b}} are read")
        value = at(config, reference[1])
        if value is MISSING:
            raise MGTError(f"config has {path} {shortened(repr(first), 80)}, and no {reference[1]}")
    told = shortened(repr(first), 80)
    raise MGTError(f"config has {path} {told}, which leads through more than {DEEPEST} references")


def at(config: Mapping[str, Any], path: str) -> Any:
    """MISSING where nothing is."""
    value: Any = config
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return MISSING
        value = value[name]
    return MISSING if value == MISSING else value
