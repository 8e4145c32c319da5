"""Loads the pack as ComfyUI does, under a name of its own, and makes `import mgt_core` mean the pack's library.

A node pack is a package under whatever name the host gives it, and its nodes import the library
relatively; scripts and tests import it as `mgt_core`. Both must be the same modules, or classes and
registries would exist twice.
"""

import importlib
import importlib.abc
import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ALIAS = "mgt_pack"
LIBRARY = f"{ALIAS}.mgt_core"


class LibraryAlias(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Answers an import of `mgt_pack.mgt_core` or below with the module `mgt_core` or below."""

    def find_spec(self, name, path=None, target=None):
        if name == LIBRARY or name.startswith(f"{LIBRARY}."):
            return importlib.util.spec_from_loader(name, self)
        return None

    def create_module(self, spec):
        module = importlib.import_module(spec.name.removeprefix(f"{ALIAS}."))
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module):
        module.__spec__ = module.__spec__.loader_state  # the import system has just put the alias's there


def load_pack():
    """The pack's top module, under ALIAS."""
    if ALIAS in sys.modules:
        return sys.modules[ALIAS]
    sys.path.insert(0, str(ROOT))  # this checkout, installed or not
    sys.meta_path.insert(0, LibraryAlias())
    spec = importlib.util.spec_from_file_location(ALIAS, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    module = importlib.util.module_from_spec(spec)
    sys.modules[ALIAS] = module
    spec.loader.exec_module(module)
    return module
