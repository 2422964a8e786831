"""What single candles and small groups of them look like.

Signs are directions: +1 speaks for up, -1 for down, 0 for nothing; shares are of the candle's own range.
"""

from __future__ import annotations

from math import nan

from engine.indicators.base import Column, Indicator
from engine.indicators.past import Past


class Shape(Indicator):
    """One candle: `body` (close - open) and the shadows as shares of its range, all 0 where it has none.

    >>> from engine.records import Candle
    >>> Shape().update(Candle("BTCUSDT", "1m", 60_000, 10, 18, 10, 14, 1))
    {'body': 0.5, 'upper_shadow': 0.5, 'lower_shadow': 0.0}
    """

    def __init__(self) -> None:
        self.columns = (Column("body", 1), Column("upper_shadow", 1), Column("lower_shadow", 1))
        self.body = self.upper = self.lower = 0.0

    def step(self, past: Past) -> tuple[float, ...]:
        opened, high, low, close = past.open, past.high, past.low, past.close
        span = high - low
        if not span > 0:
            self.body = self.upper = self.lower = 0.0
            return (0.0, 0.0, 0.0)
        self.body = body = (close - opened) / span
        if body > 0:
            self.upper, self.lower = (high - close) / span, (opened - low) / span
        else:
            self.upper, self.lower = (high - opened) / span, (close - low) / span
        return (body, self.upper, self.lower)


class Patterns(Indicator):
    """Candlestick patterns, after Nison, Japanese Candlestick Charting Techniques (1991).

    engulfing   a body around the one before it, of the other colour: its own direction
    pin_bar     one shadow two thirds of the range or more: hammer +1, shooting star -1
    doji        a body of a tenth of the range or less: 1
    inside_bar  a range within the one before it, and smaller: 1
    three_line  three bodies of half their range or more, each closing beyond the last: soldiers +1, crows -1
    star        a body, a small one (three tenths of it or less), one back beyond its middle: its direction

    Groups need their candles in a row: after a hole they are 0.

    >>> from engine.records import Candle
    >>> patterns = Patterns()
    >>> for n, (opened, close) in enumerate([(10, 12), (12, 14), (14, 16)], start=1):
    ...     low, high = min(opened, close), max(opened, close)
    ...     values = patterns.update(Candle("BTCUSDT", "1m", n * 60_000, opened, high, low, close, 1))
    >>> values["three_line"]
    1.0
    """

    keeps = ("bodies",)

    def __init__(self, shape: Shape | None = None) -> None:
        self.shape = shape or Shape()
        self.parts = (self.shape,)
        names = "engulfing", "pin_bar", "doji", "inside_bar", "three_line", "star"
        self.columns = tuple(Column(name, 3) for name in names)
        self.depth = self.reach = 3
        self.bodies = (0.0, 0.0)

    def step(self, past: Past) -> tuple[float, ...]:
        first, second = self.bodies
        body = self.shape.body
        self.bodies = second, body
        if past.seen < 3:
            return (nan, nan, nan, nan, nan, nan)
        pin = self._pin()
        high, low = past.high, past.low
        doji = 1.0 if -0.1 <= body <= 0.1 and high > low else 0.0
        if past.run < 2:
            return (0.0, pin, doji, 0.0, 0.0, 0.0)
        before_high, before_low = past.highs[-2], past.lows[-2]
        inside = high <= before_high and low >= before_low and (high < before_high or low > before_low)
        engulfing = self._engulfing(past, body, second) if body * second < 0 else 0.0
        line = star = 0.0
        if past.run == 3:
            line = self._line(past, first, second, body)
            star = self._star(past) if first * body < 0 else 0.0
        return (engulfing, pin, doji, 1.0 if inside else 0.0, line, star)

    def _pin(self) -> float:
        if self.shape.lower >= 2 / 3:
            return 1.0
        return -1.0 if self.shape.upper >= 2 / 3 else 0.0

    @staticmethod
    def _engulfing(past: Past, body: float, before: float) -> float:
        opened, close, before_open, before_close = past.open, past.close, past.opens[-2], past.closes[-2]
        if abs(close - opened) <= abs(before_close - before_open):
            return 0.0
        if body > 0:
            return 1.0 if opened <= before_close and close >= before_open else 0.0
        return -1.0 if opened >= before_close and close <= before_open else 0.0

    @staticmethod
    def _line(past: Past, first: float, second: float, third: float) -> float:
        if first >= 0.5 and second >= 0.5 and third >= 0.5:
            return 1.0 if past.closes[-3] < past.closes[-2] < past.close else 0.0
        if first <= -0.5 and second <= -0.5 and third <= -0.5:
            return -1.0 if past.closes[-3] > past.closes[-2] > past.close else 0.0
        return 0.0

    @staticmethod
    def _star(past: Past) -> float:
        opens, closes = past.opens, past.closes
        start, end = opens[-3], closes[-3]
        if abs(closes[-2] - opens[-2]) > 0.3 * abs(end - start):
            return 0.0
        middle = start + (end - start) / 2
        if end < start:
            return 1.0 if past.close > middle else 0.0
        return -1.0 if past.close < middle else 0.0
