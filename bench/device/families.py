"""The tiny models of every family and the table of techniques that the tests have (tests/support/families.py)."""

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

SUPPORT = Path(__file__).resolve().parents[2] / "tests" / "support"
NAME = "bench_device_support"


@cache
def table() -> ModuleType:
    """tests/support/families.py, found by its place, as another package of that name may be installed."""
    spec = importlib.util.spec_from_file_location(
        NAME, SUPPORT / "__init__.py", submodule_search_locations=[str(SUPPORT)]
    )
    sys.modules[NAME] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return importlib.import_module(f"{NAME}.families")
