"""The nodes. Importing a module of this package registers the nodes it defines, and all of them are imported here."""

from ..mgt_core.registry import import_modules
from .types import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

import_modules(__name__, __path__)

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
