"""Settings of parts. What a value may be is declared with the field that holds it: the checks read it there, and so do
the widgets of the nodes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, Protocol, TypeVar

from .errors import MGTError, finite_number, whole_number
from .interval import check_interval
from .plain import plain_number, plain_whole

T = TypeVar("T")
ALLOWED, LABEL = "allowed", "label"  # entries of a field's metadata


class Allowed(Protocol):
    """What a setting may be."""

    def taken(self, label: str, value: Any) -> Any:
        """What the setting then holds: a number or text of Python's own. Raises MGTError, calling the setting
        `label`."""
        ...


@dataclass(frozen=True)
class Numbers:
    """From low to high. step: of a widget's arrows."""

    low: float
    high: float
    step: float = 0.1

    def taken(self, label: str, value: Any) -> float:
        return finite_number(label, value, self.low, self.high)


@dataclass(frozen=True)
class WholeNumbers:
    """From low to high."""

    low: int
    high: int
    step: int = 1

    def taken(self, label: str, value: Any) -> int:
        return whole_number(label, value, self.low, self.high)


@dataclass(frozen=True)
class Choices:
    values: tuple[str | int, ...]

    def taken(self, label: str, value: Any) -> str | int:
        value = plain_whole(value)
        if not isinstance(value, (str, int)) or value not in self.values:
            raise MGTError(f"{label} is {value!r}; accepted are {', '.join(map(str, self.values))}")
        return self.values[self.values.index(value)]


def number(default: float, low: float, high: float, label: str = "", step: float = 0.1, **options) -> Any:
    """A field for a number. label: what messages call it, by default its name."""
    return _field(default, Numbers(low, high, step), label, options)


def share(default: float, label: str = "", step: float = 0.05, **options) -> Any:
    """A field for a number from 0 to 1."""
    return _field(default, Numbers(0, 1, step), label, options)


def whole(default: int, low: int, high: int, label: str = "", **options) -> Any:
    """A field for a whole number."""
    return _field(default, WholeNumbers(low, high), label, options)


def choice(default: str | int, values: Sequence[str | int], label: str = "", **options) -> Any:
    """A field for one of some words or whole numbers."""
    return _field(default, Choices(tuple(values)), label, options)


def _field(default: Any, allowed: Allowed, label: str, options: dict) -> Any:
    return field(default=default, metadata={ALLOWED: allowed, LABEL: label}, **options)


class Settings:
    """Base of frozen dataclasses of settings.

    neutral: settings with which the part changes nothing, or None where there are none such; every registered part
    says so, and the identity tests hold it to that. interval_of: what messages call the part of the run in which it
    acts, where it has the fields start and end.
    """

    neutral: ClassVar[Mapping[str, Any] | None]
    interval_of: ClassVar[str] = ""

    def __post_init__(self):
        """Raises MGTError for a value that its field does not allow."""
        if self.interval_of:
            check_interval(self.interval_of, self.start, self.end)
        for f in fields(self):
            if metadata := declared(type(self), f.name):
                hold(self, **{f.name: metadata[ALLOWED].taken(metadata[LABEL] or f.name, getattr(self, f.name))})
            elif f.init:
                hold(self, **{f.name: plain_number(getattr(self, f.name))})  # a switch, of numpy

    def each_repeated(self, images: int, times: int) -> "Settings":
        """For a run of so many candidates of each of `images`, one below the other: with what it holds of every image
        as many times. Raises MGTError where that is of another number of images."""
        return self


def hold(part: Any, /, **values: Any) -> None:
    """Has a frozen dataclass hold these values, while it is made."""
    for name, value in values.items():
        object.__setattr__(part, name, value)


def declared(kind: type, name: str) -> Mapping[str, Any]:
    """What a dataclass declares of its field `name`: itself, or the one that it gives another default than."""
    found = (base.__dataclass_fields__.get(name) for base in kind.__mro__ if is_dataclass(base))
    return next((f.metadata for f in found if f is not None and ALLOWED in f.metadata), {})


def setting(kind: type, name: str) -> tuple[Any, Allowed | None]:
    """Default of the field `name` of a dataclass, and what it may be, where that is declared."""
    (default,) = (f.default for f in fields(kind) if f.name == name)
    return default, declared(kind, name).get(ALLOWED)


def in_words(part: Any, names: Collection[str] | None = None) -> str:
    """Settings of a dataclass as people write them, those of `names` or all: "ratio 0.5, known only off"."""
    shown = [f.name for f in fields(part) if f.init and f.repr and (names is None or f.name in names)]
    return ", ".join(f"{name.replace('_', ' ')} {value_in_words(getattr(part, name))}" for name in shown)


def value_in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple):
        return " and ".join(map(value_in_words, value)) or "none"
    return str(value)


def construct(kind: type[T], name: str, **settings) -> T:
    """An instance of the dataclass `kind`, called `name`; raises MGTError for settings that it does not have, and
    where one is missing."""
    known = {f.name: f for f in fields(kind) if f.init}
    if unknown := settings.keys() - known.keys():
        raise MGTError(f"{name} has no setting {', '.join(sorted(unknown))}; known are {', '.join(known)}")
    missing = [n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
    if lacking := [n for n in missing if n not in settings]:
        raise MGTError(f"{name} lacks its setting {', '.join(lacking)}")
    return kind(**settings)


def from_json(kind: type[T], name: str, settings: Any) -> T:
    """An instance of `kind` from what JSON holds."""
    if not isinstance(settings, Mapping):
        raise MGTError(f"{name} is {settings!r}; expected its settings by name, such as {{}}")
    return construct(kind, name, **{key: tuple(v) if isinstance(v, list) else v for key, v in settings.items()})
