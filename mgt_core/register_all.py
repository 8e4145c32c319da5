"""Imports the packages whose modules register what they hold, in the order of their names."""

from . import backbones, codecs, conditioning, modifiers, patches, rewards, samplers, schedules
from .registry import import_modules

for package in (backbones, codecs, conditioning, modifiers, patches, rewards, samplers, schedules):
    import_modules(package.__name__, package.__path__)
