"""What benches take from the tests: tiny models of every family, the table of techniques, the pretended device."""

import importlib
import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

SUPPORT = Path(__file__).resolve().parents[1] / "tests" / "support"
NAME = "bench_support"


@cache
def support(name: str) -> ModuleType:
    """The module `name` of tests/support, found by its place, as another package of that name may be installed."""
    if NAME not in sys.modules:
        places = [str(SUPPORT)]
        spec = importlib.util.spec_from_file_location(NAME, SUPPORT / "__init__.py", submodule_search_locations=places)
        sys.modules[NAME] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return importlib.import_module(f"{NAME}.{name}")
