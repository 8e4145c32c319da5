"""The pack, for runs in this process: nothing of it is loaded for runs on a server."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
ALIAS = "mgt_pack"


def load_pack() -> ModuleType:
    """The pack under an alias, as a host loads it: its folder need not be importable by name."""
    if ALIAS not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            ALIAS, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
        )
        assert spec is not None and spec.loader is not None
        module = sys.modules[ALIAS] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[ALIAS]
            raise
    return sys.modules[ALIAS]


def part_of_pack(name: str) -> ModuleType:
    """A module of it, as "mgt_core.levels"."""
    load_pack()
    return importlib.import_module(f"{ALIAS}.{name}")
