"""Inputs of the models that are not candles: metrics and headlines, as far as they were known at a close.

They are optional: a version reads those of which enough had been recorded when it was fitted. How each is
read is fixed here and not in the settings, since a fitted version must go on reading what it was fitted on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal

from engine.news.moods import Moods
from engine.readings import Readings
from engine.records import NOT_YET, Frozen, Headline, Metric, Mood
from engine.settings.readers import Read, Reader

Family = Literal["positions", "sentiment", "capital"]

HOUR: Final = 3_600_000
HALF_LIFE: Final = 6.0
WINDOW: Final = 48.0
"""Hours after which a headline counts half in a mood, and not at all."""


@dataclass(frozen=True, slots=True)
class Extra(Frozen):
    """One optional input: a `metric` read over `over` hours, nan where its newest is `oldest` hours old."""

    family: Family
    metric: str
    read: Read = "level"
    over: float = 24.0
    oldest: float = 24.0

    @property
    def reader(self) -> Reader:
        return Reader(
            layer="onchain", component="model", read=self.read, over=self.over, half_life=self.oldest
        )


WEEK: Final = 168.0
METRICS: Final[Mapping[str, Extra]] = MappingProxyType(
    {
        "funding": Extra("positions", "binance.funding"),
        "funding_change": Extra("positions", "binance.funding", "difference"),
        "open_interest_change": Extra("positions", "binance.open_interest_usd", "change", oldest=2.0),
        "account_ratio": Extra("positions", "binance.account_ratio", oldest=2.0),
        "taker_ratio": Extra("positions", "binance.taker_ratio", oldest=2.0),
        "market_funding": Extra("positions", "binance.market_funding"),
        "fear_greed": Extra("sentiment", "alternative_me.fear_greed", oldest=48.0),
        "fear_greed_change": Extra("sentiment", "alternative_me.fear_greed", "difference", WEEK, 48.0),
        "stablecoins_change": Extra("capital", "defillama.stablecoin_cap", "change", WEEK, 72.0),
        "tvl_change": Extra("capital", "defillama.total_tvl", "change", WEEK, 72.0),
    }
)
"""By input, the metric it is made of; market-wide ones are the same for every symbol."""

MOODS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {"own_mood": ("news", "asset"), "market_mood": ("news", "market")}
)
"""By input, the kind and scope of the headlines it is the mood of."""

EXTRAS: Final = (*METRICS, *MOODS)
"""Every optional input, in the order of `Extras.at`."""

FAMILIES: Final[Mapping[str, Family]] = MappingProxyType(
    {**{name: one.family for name, one in METRICS.items()}, **dict.fromkeys(MOODS, "sentiment")}
)

NOTHING: Final = (NOT_YET,) * len(EXTRAS)


class Extras:
    """What of `EXTRAS` is known of one asset; the same object feeds a model live and in training.

    The `moods` of somebody who hears the same headlines are shared where they fade alike: a headline counts
    once, however often it is told.

    >>> extras = Extras("BTC")
    >>> extras.update(Metric("alternative_me.fear_greed", "", 0, 40.0, learned=HOUR))
    >>> extras.at(HOUR) == NOTHING, extras.at(2 * HOUR)[EXTRAS.index("fear_greed")]
    (True, 40.0)
    """

    __slots__ = ("_moods", "_readings")

    def __init__(self, asset: str, moods: Moods | None = None) -> None:
        self._readings = Readings({name: one.reader for name, one in METRICS.items()})
        alike = moods is not None and (moods.half_life_hours, moods.window_hours) == (HALF_LIFE, WINDOW)
        self._moods = moods if moods is not None and alike else Moods(asset, HALF_LIFE, WINDOW)

    def update(self, record: Metric | Headline) -> None:
        """Take in what was learned, in the order it was."""
        if isinstance(record, Headline):
            self._moods.update(record)
            return
        for name in READ_BY.get(record.name, ()):
            self._readings.update(replace(record, name=name))

    def at(self, time: int) -> tuple[float, ...]:
        """The inputs at the close at `time`, nan where nothing is known or all is too old."""
        readings = self._readings.at(time)
        moods: dict[tuple[str, str], Mood] = {(mood.kind, mood.scope): mood for mood in self._moods.at(time)}
        if not readings and not moods:
            return NOTHING
        values = []
        for name, extra in METRICS.items():
            reading = readings.get(name)
            old = reading is None or time - reading.time > extra.oldest * HOUR
            values.append(NOT_YET if old or reading is None else reading.value)
        return (*values, *(felt(moods.get((kind, scope))) for kind, scope in MOODS.values()))


def felt(mood: Mood | None) -> float:
    """A mood as a number: its mean sentiment, less where few headlines speak; none says nothing.

    >>> felt(None)
    nan
    """
    return NOT_YET if mood is None else mood.sentiment * mood.weight / (1.0 + mood.weight)


READ_BY: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        metric: tuple(name for name, one in METRICS.items() if one.metric == metric)
        for metric in dict.fromkeys(one.metric for one in METRICS.values())
    }
)
"""By metric, the inputs that are made of it."""
