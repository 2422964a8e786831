"""One market's indicators advanced together, and the one schema of what they give.

A value at a candle depends on that candle and those before it, and not on how far back those go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final, Self, TypeVar

from engine.errors import CorruptRecord, StorageError
from engine.indicators import Column, Panel, standard
from engine.records import INTERVALS, Candle, Features

Other = TypeVar("Other")

VERSION: Final = 1
"""Raised whenever a column keeps its name and changes its meaning."""

LONGEST_GAP: Final = 1000
"""Missing candles after which everything known is too old to go on from."""


@dataclass(frozen=True, slots=True)
class FeatureSchema:
    """The names of `Features.values`, in order.

    `index` finds a name's place, `hash` (16 hex digits) is over the names and `VERSION`, `first_valid` says
    from which candle on a column is not nan at the latest, `ratios` which columns are free of price and
    volume scale: the ones for models.

    >>> SCHEMA.names[SCHEMA.index["rsi_14"]], SCHEMA.first_valid["sma_200"], "sma_200" in SCHEMA.ratios
    ('rsi_14', 200, False)
    """

    names: tuple[str, ...]
    index: Mapping[str, int]
    hash: str
    first_valid: Mapping[str, int]
    ratios: tuple[str, ...]

    @classmethod
    def of(cls, columns: Sequence[Column]) -> Self:
        """Raises `ValueError` when two columns have one name."""
        names = tuple(column.name for column in columns)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two feature columns have the name {', '.join(twice)}")
        return cls(
            names,
            MappingProxyType({name: place for place, name in enumerate(names)}),
            sha256("\n".join((str(VERSION), *names)).encode()).hexdigest()[:16],
            MappingProxyType({column.name: column.first for column in columns}),
            tuple(column.name for column in columns if column.unit == "ratio"),
        )


SCHEMA: Final = FeatureSchema.of(Panel(standard()).columns)


class FeatureSet:
    """Every feature of one market and interval, candle by candle.

    State is bounded, pickles to under 3 kB and tells no machine or start apart: 1,000 candles give the same
    bytes as a longer history. Raises `CorruptRecord` for a candle of another market or not after the last.

    >>> features = FeatureSet("BTCUSDT", "1m")
    >>> features.update(Candle.of(10.0, time=60_000)).seen
    1
    >>> later = features.update(Candle.of(11.0, time=240_000))
    >>> later.seen, later.gap, later.values[SCHEMA.index["body"]]
    (2, 2, 0.0)
    """

    __slots__ = ("_interval_ms", "_last", "_panel", "interval", "symbol")

    def __init__(self, symbol: str, interval: str) -> None:
        if interval not in INTERVALS:
            raise CorruptRecord(f"features of {symbol}: {interval!r} is not one of {', '.join(INTERVALS)}")
        self.symbol = symbol
        self.interval = interval
        self._interval_ms = INTERVALS[interval]
        self._last = 0
        self._panel = Panel(standard())

    @property
    def last(self) -> int:
        """When the last candle closed, ms UTC; 0 before the first."""
        return self._last

    def update(self, candle: Candle) -> Features:
        """Advance by one closed candle."""
        gap = self._gap(candle)
        if gap > LONGEST_GAP:
            self._panel = Panel(standard())
        values = self._panel.update(candle)
        self._last = candle.time
        return Features(self.symbol, self.interval, candle.time, candle, values, self._panel.past.seen, gap)

    def peek(self, candle: Candle) -> Features:
        """What `update` would answer for this forming candle; nothing changes."""
        gap = self._gap(candle)
        panel = self._panel if gap <= LONGEST_GAP else Panel(standard())
        seen = panel.past.seen + 1
        values = panel.peek(candle)
        return Features(self.symbol, self.interval, candle.time, candle, values, seen, gap)

    def _gap(self, candle: Candle) -> int:
        if candle.symbol != self.symbol or candle.interval != self.interval:
            other = f"{candle.symbol} {candle.interval}"
            raise CorruptRecord(f"features of {self.symbol} {self.interval} were given a candle of {other}")
        if not self._last:
            return 0
        ahead = candle.time - self._last
        if ahead <= 0:
            late = f"candle closing at {candle.time} came after the one closing at {self._last}"
            raise CorruptRecord(f"{self.symbol} {self.interval} {late}")
        return ahead // self._interval_ms - 1

    def __getstate__(self) -> tuple[Any, ...]:
        # Values only, no classes: 30 class names would cost more than the numbers.
        panel = self._panel
        return SCHEMA.hash, self.symbol, self.interval, self._last, panel.past.__getstate__(), panel.kept()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        schema, symbol, interval, last, past, kept = state
        if schema != SCHEMA.hash:
            raise StorageError(f"saved {symbol} {interval} features have schema {schema}, not {SCHEMA.hash}")
        FeatureSet.__init__(self, symbol, interval)
        self._last = last
        self._panel.past.__setstate__(past)
        self._panel.put_back(kept)


class Intervals:
    """One symbol's candles of every interval in, their features out; what is no candle passes through.

    A candle that is not after the last one of its interval cannot be used any more and is dropped.

    >>> intervals = Intervals()
    >>> [features.interval for features in intervals.update(Candle.of(10.0, time=60_000))]
    ['1m']
    >>> list(intervals.update(Candle.of(10.0, time=60_000))), list(intervals.update("anything else"))
    ([], ['anything else'])
    """

    def __init__(self) -> None:
        self._sets: dict[str, FeatureSet] = {}

    def update(self, record: Other | Candle) -> tuple[()] | tuple[Other | Features]:
        """Take in one record; answer its features, itself, or nothing."""
        if not isinstance(record, Candle):
            return (record,)
        features = self._sets.get(record.interval)
        if features is None:
            features = self._sets[record.interval] = FeatureSet(record.symbol, record.interval)
        elif record.time <= features.last:
            return ()
        return (features.update(record),)
