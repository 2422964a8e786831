"""Where the price has turned: swings, and the support and resistance that they leave.

Everything forgets after `MEMORY` intervals, so that the answer never depends on where the history begins.
"""

from __future__ import annotations

from math import inf, nan
from typing import Final

from engine.indicators.base import Column, Indicator
from engine.indicators.past import Past
from engine.indicators.volatility import ATR, Channel

MEMORY: Final = 200
"""Intervals after which a swing or a zone is forgotten."""

Point = tuple[float, int]
"""A price and the number of its candle."""


class Swings(Indicator):
    """Swing highs and lows: extremes among `wing` candles either side, known `wing` candles later.

    Williams' fractals (Trading Chaos, 1995) with a wing of 3; of equal highs the first counts. `highs` and
    `lows` hold the last `most`, newest first; `new_high` and `new_low` say that this candle confirmed one.
    Columns: the last ones in price, or the channel's edge while none is remembered.

    >>> from engine.records import Candle
    >>> swings = Swings(wing=1, channel=Channel(period=1))
    >>> for close in (10, 12, 11, 13):
    ...     values = swings.update(Candle.of(close))
    >>> values, swings.new_low
    ({'swing_high': 12.0, 'swing_low': 11.0}, True)
    """

    keeps = ("highs", "lows")

    def __init__(self, wing: int = 3, most: int = 4, channel: Channel | None = None) -> None:
        self.wing = wing
        self.most = most
        self.channel = channel or Channel()
        self.parts = (self.channel,)
        first = self.channel.columns[0].first
        self.columns = (Column("swing_high", first, "price"), Column("swing_low", first, "price"))
        self.depth = 2 * wing + 1
        self.highs: tuple[Point, ...] = ()
        self.lows: tuple[Point, ...] = ()
        self.new_high = self.new_low = False

    def step(self, past: Past) -> tuple[float, ...]:
        wing = self.wing
        self.new_high = self.new_low = False
        if past.seen > 2 * wing:
            left, right = -2 * wing - 1, -wing
            high, low = past.highs[right - 1], past.lows[right - 1]
            # Its neighbours are asked first: they rule out most candles.
            if past.highs[right - 2] < high >= past.highs[right]:
                self.new_high = max(past.highs[left : right - 1]) < high >= max(past.highs[right:])
            if past.lows[right - 2] > low <= past.lows[right]:
                self.new_low = min(past.lows[left : right - 1]) > low <= min(past.lows[right:])
            self._remember(high, low, past.ordinal)
        high = self.highs[0][0] if self.highs else self.channel.high
        low = self.lows[0][0] if self.lows else self.channel.low
        return (high, low)

    def _remember(self, high: float, low: float, ordinal: int) -> None:
        if self.new_high:
            self.highs = ((high, ordinal - self.wing), *self.highs[: self.most - 1])
        if self.new_low:
            self.lows = ((low, ordinal - self.wing), *self.lows[: self.most - 1])
        if self.highs and ordinal - self.highs[-1][1] > MEMORY:
            self.highs = tuple(point for point in self.highs if ordinal - point[1] <= MEMORY)
        if self.lows and ordinal - self.lows[-1][1] > MEMORY:
            self.lows = tuple(point for point in self.lows if ordinal - point[1] <= MEMORY)


class Levels(Indicator):
    """The nearest remembered swing under the close and over it, in price and in average true ranges.

    A broken high supports and a broken low resists, so both kinds count both ways. Where there is none, the
    channel's edge: support <= close <= resistance always.

    >>> [column.name for column in Levels().columns]
    ['support', 'resistance', 'support_distance', 'resistance_distance']
    """

    def __init__(self, swings: Swings | None = None, atr: ATR | None = None) -> None:
        self.swings, self.atr = swings or Swings(), atr or ATR()
        self.channel = self.swings.channel
        self.parts = (self.swings, self.atr)
        first = self.swings.columns[0].first
        both = max(first, self.atr.columns[0].first)
        self.columns = (
            Column("support", first, "price"),
            Column("resistance", first, "price"),
            Column("support_distance", both),
            Column("resistance_distance", both),
        )

    def step(self, past: Past) -> tuple[float, ...]:
        close, unit = past.close, self.atr.unit
        channel, swings = self.channel, self.swings
        if not channel.low > 0:
            return (nan, nan, nan, nan)
        support = 0.0
        resistance = inf
        for price, _ in swings.highs + swings.lows:
            if price < close:
                if price > support:
                    support = price
            elif close < price < resistance:
                resistance = price
        if not support:
            support = channel.low
        if resistance == inf:
            resistance = channel.high
        return (support, resistance, (close - support) / unit, (resistance - close) / unit)
