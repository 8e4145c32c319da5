"""Ends long work from outside, such as by a button: what works in parts calls `beat` between them.

    with mgt_core.interruptible(check):  # called often, and raises to end what is going on
        tokens = mgt_core.sample(...)

It is said around a call and holds in its thread alone, so that networks know no host and nothing is left of a run that
was ended. Between blocks, and not inside what has been compiled or recorded, which has no Python in it.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from torch import nn

from .kernels.now import Now

Check = Callable[[], None]

_check = Now()


def interruptible(check: Check | None) -> AbstractContextManager[None]:
    """Within, `check` is called between the parts of what takes long: blocks of a network, layers and strips of a
    codec, tensors of a file that is read.

    It has to be quick. What it raises ends the work; models are as they were. None: nothing is asked.
    """
    return _check.being(check)


def uninterrupted() -> AbstractContextManager[None]:
    """Within, nothing is asked: for what is traced or recorded, to be done again without its Python."""
    return _check.being(None)


def beat() -> None:
    """Between two parts of long work. Raises what the caller's check raises."""
    if _check.value is not None:
        try:
            _check.value()
        except BaseException as error:
            error.ends_work = True  # so that it is taken for no fault of a file, see `was_ended`
            raise


def was_ended(error: BaseException) -> bool:
    """Whether this is what a caller's check has raised."""
    return getattr(error, "ends_work", False)


def _before(module: nn.Module, inputs: tuple) -> None:
    beat()


def beat_before(modules: Iterable[nn.Module]) -> None:
    """Has each of them begin with a beat: for networks of other libraries, whose loops are not ours."""
    for module in modules:
        module.register_forward_pre_hook(_before)
