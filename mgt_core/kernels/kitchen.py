"""comfy-kitchen's fused kernels, where the package is installed and loads.

What asks for them has a path of its own, in plain torch, that computes the same.
"""

import logging
from functools import cache
from types import ModuleType

log = logging.getLogger(__name__)


def kitchen(*functions: str) -> ModuleType | None:
    """comfy-kitchen where it has all of `functions`, which an older one may lack; else None."""
    module = loaded()
    return module if module is not None and all(hasattr(module, name) for name in functions) else None


@cache
def loaded() -> ModuleType | None:
    """comfy-kitchen, or None where it is not installed or does not load."""
    try:
        import comfy_kitchen
    except ImportError:
        return None
    except Exception as error:  # a build for another torch or driver fails in ways of its own
        log.warning("comfy-kitchen is installed but does not load (%s); plain torch is used instead", error)
        return None
    return comfy_kitchen
