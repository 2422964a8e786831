"""The on-chain layer: what futures traders, holders and money do beside the candles.

It reads what `metrics` in the settings maps to it, and of the candles only moves, volatility and turnover.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from engine.layers.components import (
    Component,
    Readers,
    Voice,
    Voices,
    by_component,
    heard,
    percent,
    plainly,
    scored,
)
from engine.layers.positions import liquidations, open_interest
from engine.records import LayerScore, Moment

COMPONENTS: Final[Mapping[str, Component]] = MappingProxyType(
    {
        "funding": Component(18.0, "longs pay more than usual", "longs pay less than usual"),
        "open_interest": Component(14.0, "positions speak for a rise", "positions speak for a fall", True),
        "crowding": Component(14.0, "the crowd is long", "the crowd is short"),
        "liquidations": Component(10.0, "longs were forced out", "shorts were forced out", True),
        "flows": Component(14.0, "holders take in", "holders give out", True),
        "valuation": Component(8.0, "cheap", "dear", True),
        "capital": Component(8.0, "money comes in", "money leaves", True),
        "mood": Component(8.0, "greed", "fear"),
        "network": Component(6.0, "its use grows", "its use shrinks", True),
    }
)
"""The components in the order they are told; their shares sum to 100."""

HEARD: Final[Mapping[str, Voices]] = MappingProxyType(
    {"funding": percent, "open_interest": open_interest, "liquidations": liquidations}
)
"""How a component's metrics are heard, where each for itself is not the way."""


class Onchain:
    """Positions, holders and money, each component with its share of 100 points.

    funding 18, open interest 14, crowding 14   the positions themselves: there for every symbol, and settled
                                                within hours, as signals are
    flows 14                                    coins on their way to be sold, where anybody tells of them
    liquidations 10                             over within the hour, and a sample
    valuation 8, capital 8, mood 8              change by the day or slower
    network 6                                   its use moves by the week

    A component without a fresh metric is not made up for by the others: the layer says less, and its coverage
    tells how much less.

    Parameters
    ----------
    readers
        How each metric is read, by its full name; those of other layers are left alone.

    Raises `SettingsError` for a component that is none of these.
    """

    name = "onchain"

    def __init__(self, readers: Readers) -> None:
        self._metrics = by_component(self.name, readers, COMPONENTS)

    def __call__(self, moment: Moment) -> LayerScore:
        """This layer's opinion of one moment."""
        voices = {component: self._voices(moment, component) for component in COMPONENTS}
        return scored(self.name, moment, COMPONENTS, voices)

    def _voices(self, moment: Moment, component: str) -> Sequence[Voice]:
        known = heard(moment, self._metrics[component])
        speak: Voices = HEARD.get(component, plainly)
        return list(speak(moment, known)) if known else []
