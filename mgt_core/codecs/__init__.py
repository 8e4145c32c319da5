"""One file an architecture; importing the package registers them all."""

from ..registry import import_modules

import_modules(__name__, __path__)
