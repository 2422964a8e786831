"""The sentiment layer: what is written about a symbol and about the market, and who looks at it.

It reads the moods of the headlines and what `metrics` in the settings maps to it; nothing of the candles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import tanh
from types import MappingProxyType
from typing import Final

from engine.layers.components import (
    FAINT,
    Component,
    Readers,
    Voice,
    aged,
    by_component,
    heard,
    plainly,
    scored,
)
from engine.readings import HOUR
from engine.records import LayerScore, Moment, Mood

COMPONENTS: Final[Mapping[str, Component]] = MappingProxyType(
    {
        "news": Component(40.0, "good news", "bad news", True),
        "market_news": Component(20.0, "good news for all", "bad news for all", True),
        "social": Component(25.0, "people like it", "people dislike it", True),
        "attention": Component(15.0, "attention speaks for a rise", "attention speaks for a fall", True),
    }
)
"""The components in the order they are told; their shares sum to 100."""

TOLD: Final = MappingProxyType(
    {
        ("news", "asset"): "news",
        ("news", "market"): "market_news",
        ("social", "asset"): "social",
        ("social", "market"): "social",
    }
)
"""Into which component a mood goes, by kind and scope."""

CLEAR: Final = 0.3
"""A mean sentiment that is 76 of 100 clear: single headlines spread over -1..1, means much less."""

ENOUGH: Final = 1.0
"""The weight of headlines that is worth half: two credible ones of the last hour."""

HALF_LIFE: Final = 6.0
"""Hours in which the newest headline's freshness halves."""

LONGEST: Final = 80
"""Characters of a title that a reason quotes."""


class Sentiment:
    """News of the symbol 40, social 25, news of the market 20, attention 15 points at most.

    The symbol's own news moves it soonest and is weighed by who tells it. What people write is more and
    noisier, and partly the price told again. News of the market move all symbols, which the correlation layer
    sees as well. Attention has no side of its own but by what history followed it.

    A mood counts tanh(mean sentiment / 0.3), as far as it rests on anything: weight / (weight + 1).

    Parameters
    ----------
    readers
        How each metric is read, by its full name; those of other layers are left alone.

    Raises `SettingsError` for a component that is none of these.
    """

    name = "sentiment"

    def __init__(self, readers: Readers) -> None:
        self._metrics = by_component(self.name, readers, COMPONENTS)

    def __call__(self, moment: Moment) -> LayerScore:
        """This layer's opinion of one moment."""
        voices: dict[str, Sequence[Voice]] = {}
        for component in COMPONENTS:
            moods = [one for one in moment.moods if TOLD[one.kind, one.scope] == component]
            spoken = [voice for mood in moods if (voice := felt(mood, moment.time)).fresh >= FAINT]
            voices[component] = [*spoken, *plainly(moment, heard(moment, self._metrics[component]))]
        return scored(self.name, moment, COMPONENTS, voices)


def felt(mood: Mood, time: int) -> Voice:
    """What the headlines of one kind and scope say."""
    side = tanh(mood.sentiment / CLEAR) * mood.weight / (mood.weight + ENOUGH)
    fresh = 0.5 ** (max(time - mood.newest, 0) / (HALF_LIFE * HOUR)) if mood.count else 0.0
    return Voice(side, fresh, mood.sentiment > 0, lambda: told(mood, time))


def told(mood: Mood, time: int) -> str:
    """A mood in words.

    >>> told(Mood("news", "asset", 0.42, 2.5, 7, 0, "Solana ETF approved", "coindesk"), 12 * 60_000)
    '7 headlines, mean +0.42, the newest 12 min old, above all "Solana ETF approved" (coindesk)'
    """
    title = mood.title if len(mood.title) <= LONGEST else f"{mood.title[: LONGEST - 3]}..."
    many = f"{mood.count} headline{'s' if mood.count != 1 else ''}"
    whose = "social " if mood.kind == "social" else ""
    age = aged(time - mood.newest)
    return f'{whose}{many}, mean {mood.sentiment:+.2f}, the newest {age}, above all "{title}" ({mood.source})'
