"""What the layers that read the world beside the candles did not hear, in words for `degraded`.

It follows from the moment and the readers alone; a layer that says nothing at all is named by the composer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from engine.layers.components import Component, Readers
from engine.layers.onchain import COMPONENTS as ONCHAIN
from engine.layers.onchain import Onchain
from engine.layers.sentiment import COMPONENTS as SENTIMENT
from engine.layers.sentiment import Sentiment
from engine.readings import HOUR
from engine.records import LayerScore, Moment, Reading

COMPONENTS: Final[Mapping[str, Mapping[str, Component]]] = MappingProxyType(
    {Onchain.name: ONCHAIN, Sentiment.name: SENTIMENT}
)
"""What each of these layers could have heard."""

STALE: Final = 2.0
"""Half-lives after which a metric is told to be stale."""

NAMED: Final = 3
"""Stale metrics of one source that are named; the others are counted."""


def absences(moment: Moment, scores: Mapping[str, LayerScore], readers: Readers) -> tuple[str, ...]:
    """What `scores`, by layer, were made without, then what was heard and is stale, by source.

    >>> from engine.records import Listing, Reason
    >>> moment = Moment("BTCUSDT", "5m", 300_000, Listing("BTCUSDT", "BTCUSDT", "BTC", "majors"), {})
    >>> said = (Reason("news", 2.0, "good news"), Reason("social", 1.0, "people like it"))
    >>> absences(moment, {"sentiment": LayerScore("sentiment", "BTCUSDT", 300_000, 3.0, 0.65, said)}, {})
    ('sentiment without market_news, attention',)
    """
    return (*without(scores), *stale(moment, readers))


def without(scores: Mapping[str, LayerScore]) -> Iterator[str]:
    """For each layer that spoke, the components of which it heard nothing."""
    for layer, components in COMPONENTS.items():
        if layer in scores:
            spoken = {reason.component for reason in scores[layer].reasons}
            missing = [component for component in components if component not in spoken]
            if spoken and missing:
                yield f"{layer} without {', '.join(missing)}"


def stale(moment: Moment, readers: Readers) -> Iterator[str]:
    """For each source its metrics that count under a quarter, the oldest first."""
    found: dict[str, list[Reading]] = {}
    for name in sorted(moment.readings):
        reading, reader = moment.readings[name], readers.get(name)
        if reader is not None and moment.time - reading.time > STALE * reader.half_life * HOUR:
            found.setdefault(name.partition(".")[0], []).append(reading)
    for source, readings in found.items():
        old = sorted(readings, key=lambda reading: reading.time)
        texts = [hours(one, moment.time) for one in old[:NAMED]]
        if len(old) > NAMED:
            texts.append(f"{len(old) - NAMED} more")
        yield f"{source} stale: {', '.join(texts)}"


def hours(reading: Reading, time: int) -> str:
    """A metric and its age.

    >>> hours(Reading("glassnode.nupl", 0, 0, 0.4), 53 * HOUR)
    'nupl 53 h old'
    """
    return f"{reading.name.partition('.')[2]} {(time - reading.time) // HOUR} h old"
