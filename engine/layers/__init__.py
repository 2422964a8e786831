"""Opinions: a moment in, a score with its reasons out.

A layer is pure and is registered here by name; nothing is discovered.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol

from engine.layers.absences import absences
from engine.layers.correlation import Correlation
from engine.layers.ml import Ml
from engine.layers.onchain import Onchain
from engine.layers.sentiment import Sentiment
from engine.layers.technical import Condition, Technical, condition
from engine.records import LayerScore, Moment
from engine.settings.readers import Reader

__all__ = [
    "LAYERS",
    "Condition",
    "Correlation",
    "Layer",
    "MakeLayer",
    "Ml",
    "Onchain",
    "Sentiment",
    "Technical",
    "absences",
    "condition",
]

UNREAD: Final[Mapping[str, Reader]] = MappingProxyType({})


class Layer(Protocol):
    """One opinion of one moment: -100..+100, coverage 0..1, reasons; coverage 0 = nothing to say."""

    def __call__(self, moment: Moment) -> LayerScore: ...


class MakeLayer(Protocol):
    """Makes a layer for a decision interval, and for how each metric is read, where it reads any."""

    def __call__(self, interval: str, readers: Mapping[str, Reader] = UNREAD) -> Layer: ...


LAYERS: Final[Mapping[str, MakeLayer]] = MappingProxyType(
    {
        "technical": lambda interval, readers=UNREAD: Technical(interval),
        "correlation": lambda interval, readers=UNREAD: Correlation(),
        "onchain": lambda interval, readers=UNREAD: Onchain(readers),
        "sentiment": lambda interval, readers=UNREAD: Sentiment(readers),
        "ml": lambda interval, readers=UNREAD: Ml(),
    }
)
"""By name, what makes it."""
