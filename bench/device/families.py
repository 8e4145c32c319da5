"""The tiny models of every family and the table of techniques that the tests have (tests/support/families.py)."""

from types import ModuleType

from ..support import support


def table() -> ModuleType:
    return support("families")
