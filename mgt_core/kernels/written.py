"""The kernels of triton_block.py, where Triton is installed and they run.

What asks for them has a path of its own, in plain torch, that computes the same.
"""

import logging
from functools import cache
from types import ModuleType

import torch

log = logging.getLogger(__name__)


@cache
def written() -> ModuleType | None:
    """The module, or None where Triton is not installed, has no GPU, or cannot compile. Tried out when it is first
    asked for."""
    if not torch.cuda.is_available():
        return None
    try:
        from . import triton_block

        triton_block.try_out(torch.device("cuda"))
    except ImportError:
        return None
    except Exception as error:  # it needs a C compiler, and fails in ways of its own without
        log.warning("Triton is installed but does not work (%s); plain torch is used instead", error)
        return None
    return triton_block
