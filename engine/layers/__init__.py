"""Opinions: a moment in, a score with its reasons out.

A layer is pure and is registered here by name; nothing is discovered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Protocol

from engine.layers.correlation import Correlation
from engine.layers.ml import Ml
from engine.layers.technical import Condition, Technical, condition
from engine.records import LayerScore, Moment

__all__ = ["LAYERS", "Condition", "Correlation", "Layer", "Ml", "Technical", "condition"]


class Layer(Protocol):
    """One opinion of one moment: -100..+100, coverage 0..1, reasons; coverage 0 = nothing to say."""

    def __call__(self, moment: Moment) -> LayerScore: ...


LAYERS: Final[Mapping[str, Callable[[str], Layer]]] = MappingProxyType(
    {
        "technical": Technical,
        "correlation": lambda interval: Correlation(),
        "ml": lambda interval: Ml(),
    }
)
"""By name, what makes a layer for a decision interval."""
