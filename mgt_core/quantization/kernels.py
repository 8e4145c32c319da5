"""comfy-kitchen's kernels, where they are installed and fit; without them the plain path computes the same.

Not run on a GPU by this project's tests: on a CPU they compare its eager backend with the plain path.
"""

import functools
import importlib
from types import ModuleType

from torch import Tensor


@functools.cache
def kitchen() -> ModuleType | None:
    """comfy_kitchen, or None where it is missing or too old for 4-bit weights."""
    try:
        module = importlib.import_module("comfy_kitchen")
    except Exception:  # a broken installation must not stop the plain path
        return None
    return module if hasattr(module, "w4a8_int8_linear") and hasattr(module, "int8_linear") else None


def usable(backend: str, x: Tensor) -> ModuleType | None:
    """The kernels for input `x`; torch's int8 product on a GPU refuses an empty one, as the text is between the
    refreshes of a token cache. backend: "auto" uses them on a GPU, where they were written for; the plain path
    needs less memory on a CPU. "kitchen" uses them wherever they run, "plain" never."""
    if not x.numel() or backend == "plain" or (backend == "auto" and x.device.type != "cuda"):
        return None
    return kitchen()
