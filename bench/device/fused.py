"""comfy-kitchen's kernels: which of them are there, and the same without."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from types import ModuleType

from mgt_core.kernels import kitchen

BLOCKS, PACKED = ("adaln", "rms_rope_"), ("w4a8_int8_linear", "int8_linear", "mm_int8")  # what the library asks for


def installed() -> ModuleType | None:
    return kitchen.loaded()


def kernels() -> dict:
    """Figures; of the backends, what each says of itself."""
    found = installed()
    if found is None:
        return {"comfy_kitchen": None}
    try:
        version = metadata.version("comfy-kitchen")
    except metadata.PackageNotFoundError:  # its folder without its wheel's records
        version = "unknown"
    said = getattr(found, "list_backends", dict)()
    backends = {name: bool(told.get("available")) and not told.get("disabled") for name, told in said.items()}
    return {
        "comfy_kitchen": version,
        "kitchen_backends": [name for name, there in backends.items() if there],
        "kitchen_in_blocks": kitchen.kitchen(*BLOCKS) is not None,
        "kitchen_in_packed_layers": kitchen.kitchen(*PACKED) is not None,
    }


@contextmanager
def without_kitchen() -> Iterator[None]:
    """As where comfy-kitchen is not installed."""
    loaded = kitchen.loaded
    kitchen.loaded = lambda: None
    try:
        yield
    finally:
        kitchen.loaded = loaded
