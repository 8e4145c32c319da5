"""What stands between a file that may say anything and the classes that are built from it."""

import inspect
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch.nn.modules import module as registration

from ..errors import MGTError, reason, shortened
from ..pulse import was_ended

PIECES = 10  # modules and parameters that a network may have for every tensor of its file; real ones have up to 3
ROOM = 1000  # and beside these, for what is refused more precisely once tensors are compared by name
MOST = 50_000  # in any case: they take a second to build, and the largest real networks have a tenth of them
LARGEST = 2**31  # of whole numbers in a config: larger than any size of a network
LONGEST = 1000  # entries of a list in a config


@contextmanager
def told_of(place: object, what: str = "does not describe a network that can be built") -> Iterator[None]:
    """Whatever goes wrong within is said of `place`, a file or folder: what other libraries raise becomes an MGTError,
    and one that does not name the place does then. Panics of libraries in Rust are no Exceptions. Running out of a
    GPU's memory is left to the host, and so is the end of the work by its wish."""
    try:
        yield
    except MGTError as error:
        if str(place) in str(error) or was_ended(error):
            raise
        raise MGTError(f"{place}: {error}") from error
    except BaseException as error:
        foreign = isinstance(error, Exception) or type(error).__name__ == "PanicException"
        if not foreign or is_full(error) or was_ended(error):
            raise
        raise MGTError(f"{place} {what} ({reason(error)})") from error


def is_full(error: BaseException) -> bool:
    """Whether a device other than the CPU has no memory left; Apple's says so in a plain RuntimeError."""
    return type(error).__name__ == "OutOfMemoryError" or str(error).startswith("MPS backend out of memory")


@contextmanager
def as_many_as(stored: int) -> Iterator[None]:
    """Networks built within are not much larger than a file of `stored` tensors, whatever counts their config holds.

    Raises MGTError as soon as they are."""
    watch()
    before = getattr(counted, "left", None)
    counted.left, counted.stored = min(PIECES * stored + ROOM, MOST), stored
    try:
        yield
    finally:
        counted.left = before


counted = threading.local()  # what the thread may still build
lock, watching = threading.Lock(), []


def watch() -> None:
    """From the first network on, for good: other threads go through torch's hooks while they build."""
    with lock:
        if not watching:
            watching.append(registration.register_module_parameter_registration_hook(count))
            watching.append(registration.register_module_module_registration_hook(count))


def count(*registered: Any) -> None:
    if (left := getattr(counted, "left", None)) is None:
        return
    counted.left = left - 1
    if left <= 0:
        raise MGTError(
            f"it describes a network of many more layers than the {counted.stored} tensors of its weights, or of more "
            f"than {MOST} pieces"
        )


def like(examples: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a config that `examples` names, each of the kind of its example: a truth value, a whole number, a
    number, a text, a list of one of these; where that is None, None or a whole number.

    Raises MGTError for one of another kind, for numbers that are not finite, and beyond the limits above."""
    known = {name: config[name] for name in examples if name in config}
    for name, value in known.items():
        listed, is_list = isinstance(examples[name], tuple), isinstance(value, (list, tuple))
        fits, wanted = KINDS[type(examples[name][0] if listed else examples[name])]
        if listed:
            wanted = f"a list of up to {LONGEST}, each {wanted}"
        values = [as_kind(fits, one) for one in (value if listed and is_list else [value])]
        known[name] = values if listed and is_list else values[0]
        if listed != is_list or not 0 < len(values) <= LONGEST or not all(map(fits, values)):
            raise MGTError(f"config has {name} {shortened(repr(value), 80)}; expected {wanted}")
    return known


def without_odd(names: Iterable[str], examples: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` without those of `names`, by which nothing is built, that `like` would refuse."""

    def is_odd(name: str) -> bool:
        try:
            like({name: examples[name]}, config)
        except MGTError:
            return True
        return False

    return {name: value for name, value in config.items() if name not in names or not is_odd(name)}


def as_kind(fits: Callable[[object], bool], value: Any) -> Any:
    """The same number as another type where only that fits: 4.0 as 4, 1 as true."""
    if isinstance(value, float) and value.is_integer() and not fits(value):
        return int(value)
    if type(value) is int and value in (0, 1) and not fits(value):
        return bool(value)
    return value


def is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST


def is_finite(value: object) -> bool:
    """In float32, which networks compute in."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -1e30 < value < 1e30


KINDS = {
    bool: (lambda value: isinstance(value, bool), "true or false"),
    int: (is_whole, f"a whole number from 0 to {LARGEST}"),
    float: (is_finite, "a number below 1e30"),
    str: (lambda value: isinstance(value, str), "a text"),
    type(None): (lambda value: value is None or is_whole(value), f"null or a whole number from 0 to {LARGEST}"),
}


def defaults_of(kind: type) -> dict[str, Any]:
    """What the parameters of a constructor are where nothing is given."""
    parameters = inspect.signature(kind.__init__).parameters
    return {name: p.default for name, p in parameters.items() if p.default is not p.empty}
