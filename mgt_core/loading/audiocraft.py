"""What checkpoints of audiocraft say of themselves: the config of their training as YAML, in a text beside the tensors,
or only the name of a repository that has these.

The text is read as anybody's: it is small, holds plain values alone, and nothing in it is computed. References in it,
`${a.b}`, stay texts (references.py follows them)."""

import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from ..errors import MGTError, reason, shortened
from .pickle_header import LONGEST_NOTE

CONFIG, POINTER = "xp.cfg", "pretrained"
DEEPEST = 32  # levels of lists and tables; published ones have five
PIECES = 20_000  # values, tables and lists; published ones have some 600
LONGEST = 4_000  # characters of a value


def config_in(file: Path, notes: Mapping[str, str]) -> dict[str, Any]:
    """What a file says by its `notes` (weights.py): the table in its config, empty where there is none.

    Raises MGTError naming the file where that is no YAML of ordinary size, or no table."""
    if (text := notes.get(CONFIG)) is None:
        return {}
    try:
        if len(text) > LONGEST_NOTE:
            raise MGTError(f"has more than {LONGEST_NOTE} characters")
        return table_of(text)
    except MGTError as error:
        raise MGTError(f"{CONFIG}, the config in {file}, {error}") from None


def table_of(text: str) -> dict[str, Any]:
    """The table in a YAML text, its values those that JSON has. Raises MGTError in words that follow its name."""
    try:
        import yaml
    except ImportError:
        raise MGTError("cannot be read without PyYAML, which is not installed (pip install pyyaml)") from None
    try:
        check_events(yaml.parse(text, yaml.SafeLoader), yaml)
        held = yaml.safe_load(text)
    except MGTError:
        raise
    except Exception as error:  # PyYAML's own, and whatever its constructors raise of odd values
        raise MGTError(f"is no readable YAML ({reason(error)})") from None
    if not isinstance(held, dict):
        raise MGTError(f"holds {'nothing' if held is None else type(held).__name__}; expected names with values")
    return plain(held)


def check_events(events, yaml) -> None:
    """Raises MGTError for what grows when it is built (references of YAML's own, which may double again and again), is
    nested deeply, or too much. Told while it is parsed, before anything is made of it."""
    depth = 0
    for number, event in enumerate(events):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise MGTError("holds anchors or aliases of YAML, which are not read")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.ScalarEvent) and len(event.value) > LONGEST:
            raise MGTError(f"holds a value of {len(event.value)} characters; accepted are up to {LONGEST}")
        if depth > DEEPEST or number > PIECES:
            raise MGTError(f"is nested deeper than {DEEPEST} levels, or holds more than {PIECES} values")


def plain(value: Any) -> Any:
    """With names that are texts. Raises MGTError for values that JSON does not have, but for dates, which are texts."""
    if isinstance(value, dict):
        return {str(plain(name)): plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, date):
        return str(value)
    if isinstance(value, int) and abs(value) > sys.float_info.max:  # as YAML may spell them in sixteens
        raise MGTError("holds a number of hundreds of digits")
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise MGTError(f"holds {shortened(repr(value), 40)}; expected texts, numbers, lists and tables of them")
