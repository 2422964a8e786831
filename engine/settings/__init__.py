"""The settings: `load` them once at the top, hand them down as values."""

from engine.settings.blocks import Settings
from engine.settings.reading import load

__all__ = ["Settings", "load"]
