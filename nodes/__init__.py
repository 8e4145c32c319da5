"""The nodes. Importing a module of this package registers the nodes it defines, and all of them are imported here."""

from ..mgt_core.registry import import_modules
from . import example_picture, host
from .types import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

import_modules(__name__, __path__)
example_picture.offer(host.input_folder())

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
