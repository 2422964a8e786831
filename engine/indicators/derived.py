"""What follows from other indicators: position in the bands, crossings, divergence, the hour.

Each reads its parts' values of the same candle and computes none of them again.
"""

from __future__ import annotations

from math import cos, nan, pi, sin

from engine.indicators.base import Column, Indicator
from engine.indicators.momentum import RSI
from engine.indicators.past import DAY, Past
from engine.indicators.structure import Point, Swings
from engine.indicators.trend import EMA
from engine.indicators.volatility import ATR, Bollinger


class BandPosition(Indicator):
    """Where the close is in the Bollinger bands: 0 = lower, 1 = upper; and the bands' width / mid.

    %b and BandWidth, Bollinger (2001), ch. 8. Where nothing moved the position is 0.5 and the width 0.

    >>> from engine.records import Candle
    >>> position = BandPosition(Bollinger(period=2))
    >>> position.update(Candle.of(10)), position.update(Candle.of(12))
    ({'bb_position': nan, 'bb_width': nan}, {'bb_position': 0.75, 'bb_width': 0.36363636363636365})
    """

    def __init__(self, bands: Bollinger | None = None) -> None:
        self.bands = bands or Bollinger()
        self.parts = (self.bands,)
        first = self.bands.columns[0].first
        self.columns = (Column("bb_position", first), Column("bb_width", first))

    def step(self, past: Past) -> tuple[float, ...]:
        bands = self.bands
        reach = 2.0 * bands.width
        return (0.5 + bands.z / reach, reach * bands.deviation / bands.mid)


class EMACross(Indicator):
    """Two averages crossing: +1 at the candle where the fast one comes out above, -1 below, 0 otherwise.

    `ema_cross_age` counts candles since the last crossing, at most `most`, which also stands for "not since
    the start"; `ema_spread` is fast - slow as a share of the close.

    >>> from engine.records import Candle
    >>> cross = EMACross(EMA(1), EMA(2))
    >>> for close in (10, 9, 12, 13):
    ...     values = cross.update(Candle.of(close))
    ...     print(values["ema_cross"], values["ema_cross_age"])
    nan nan
    0.0 96.0
    1.0 0.0
    0.0 1.0
    """

    keeps = ("spread", "age")

    def __init__(self, fast: EMA | None = None, slow: EMA | None = None, most: int = 96) -> None:
        self.fast, self.slow = fast or EMA(9), slow or EMA(21)
        self.parts = (self.fast, self.slow)
        self.most = most
        first = max(part.columns[0].first for part in self.parts)
        self.columns = tuple(Column(name, first) for name in ("ema_cross", "ema_cross_age", "ema_spread"))
        self.spread = nan
        self.age = most

    def step(self, past: Past) -> tuple[float, ...]:
        before = self.spread
        self.spread = spread = self.fast.value - self.slow.value
        if spread != spread:
            return (nan, nan, nan)
        cross = 0.0
        if before <= 0 < spread:
            cross = 1.0
        elif before >= 0 > spread:
            cross = -1.0
        if cross:
            self.age = 0
        elif self.age < self.most:
            self.age += 1
        return (cross, float(self.age), spread / past.close)


class Divergence(Indicator):
    """Price and RSI disagreeing from swing to swing, and the slopes by which intervals are compared.

    A lower swing low with an RSI higher by `margin` points is bullish, a higher swing high with a lower RSI
    bearish (Wilder 1978, ch. 6); both swings within `span` intervals. `rsi_divergence` is +1 or -1 from the
    candle that confirms the second swing, for `hold` candles, else 0. `rsi_slope` is the RSI's change over
    `back` candles in points and `price_slope` the close's in average true ranges: an interval whose slopes
    differ in sign from another's is divergence between intervals.

    >>> [column.name for column in Divergence().columns]
    ['rsi_divergence', 'rsi_slope', 'price_slope']
    """

    keeps = ("strengths", "high", "low", "side", "left")

    def __init__(
        self,
        rsi: RSI | None = None,
        swings: Swings | None = None,
        atr: ATR | None = None,
        margin: float = 1.0,
        span: int = 60,
        hold: int = 12,
        back: int = 5,
    ) -> None:
        self.rsi, self.swings, self.atr = rsi or RSI(), swings or Swings(), atr or ATR()
        self.parts = (self.rsi, self.swings, self.atr)
        self.margin, self.span, self.hold, self.back = margin, span, hold, back
        first = max(self.rsi.columns[0].first + back, self.atr.columns[0].first)
        names = "rsi_divergence", "rsi_slope", "price_slope"
        self.columns = tuple(Column(name, first) for name in names)
        self.reach = back + 1
        self.strengths: tuple[float, ...] = ()
        self.high: tuple[float, float, int] = (0.0, nan, 0)
        self.low: tuple[float, float, int] = (0.0, nan, 0)
        self.side = 0.0
        self.left = 0

    def step(self, past: Past) -> tuple[float, ...]:
        strength = self.rsi.value
        if strength != strength:
            return (nan, nan, nan)
        swings, back = self.swings, self.back
        self.strengths = strengths = (*self.strengths[-back:], strength)
        if self.left:
            self.left -= 1
            if not self.left:
                self.side = 0.0
        if len(strengths) <= back:
            return (nan, nan, nan)
        if swings.new_low:
            self._low(swings.lows[0], strengths[-1 - swings.wing])
        if swings.new_high:
            self._high(swings.highs[0], strengths[-1 - swings.wing])
        slope = (past.close - past.closes[-1 - back]) / self.atr.unit
        return (self.side, strength - strengths[0], slope)

    def _low(self, point: Point, strength: float) -> None:
        price, ordinal = point
        before, was, then = self.low
        self.low = (price, strength, ordinal)
        if price < before and strength >= was + self.margin and ordinal - then <= self.span:
            self.side, self.left = 1.0, self.hold

    def _high(self, point: Point, strength: float) -> None:
        price, ordinal = point
        before, was, then = self.high
        self.high = (price, strength, ordinal)
        if price > before and strength <= was - self.margin and ordinal - then <= self.span:
            self.side, self.left = -1.0, self.hold


class Clock(Indicator):
    """The close's place in the UTC day and week, as points on a circle.

    >>> from engine.records import Candle
    >>> Clock().update(Candle.of(1.0, time=DAY // 4))["day_sin"]
    1.0
    """

    def __init__(self) -> None:
        names = "day_sin", "day_cos", "week_sin", "week_cos"
        self.columns = tuple(Column(name, 1) for name in names)

    def step(self, past: Past) -> tuple[float, ...]:
        day = 2 * pi * (past.time % DAY) / DAY
        week = 2 * pi * (past.time % (7 * DAY)) / (7 * DAY)
        return (sin(day), cos(day), sin(week), cos(week))
