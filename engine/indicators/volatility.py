"""How much the price moves: true range, bands, realised volatility.

A market that stands still has volatility 0 and sits in the middle of everything.
"""

from __future__ import annotations

from math import dist, fsum, hypot, nan, sqrt

from engine.indicators.base import SLIVER, Column, Indicator
from engine.indicators.past import Past


class ATR(Indicator):
    """Average true range, Wilder's smoothing, in price units.

    Wilder (1978), ch. 3; seeded with the mean of the first `period` true ranges that have a previous close,
    as in TA-Lib. `unit` is what distances are measured in: the average range, at least `SLIVER` of the price.

    >>> from engine.records import Candle
    >>> atr = ATR(period=2)
    >>> for close in (10, 11, 13, 13):
    ...     print(atr.update(Candle.of(close)))
    {'atr_2': nan}
    {'atr_2': nan}
    {'atr_2': 1.5}
    {'atr_2': 0.75}
    """

    keeps = ("average",)

    def __init__(self, period: int = 14) -> None:
        self.period = period
        self.columns = (Column(f"atr_{period}", period + 1, "price"),)
        self.average = 0.0
        self.value = self.unit = nan

    def step(self, past: Past) -> tuple[float, ...]:
        moves = past.seen - 1
        if not moves:
            return (nan,)
        old, period = self.average, self.period
        self.average = new = old + (past.true_range - old) / (moves if moves < period else period)
        if moves < period:
            return (nan,)
        if new < past.speck:
            self.average = new = 0.0
        least = SLIVER * past.close
        self.value = new
        self.unit = new if new > least else least
        return (new,)


class Bollinger(Indicator):
    """Bollinger bands: the mean of the last `period` closes and `width` population deviations either side.

    Bollinger, Bollinger on Bollinger Bands (2001), ch. 7. Squares are taken of distances from the newest
    close, so a spread of a millionth of the price loses nothing. `deviation` is in price units, `z` is
    (close - mean) / deviation, 0 where nothing moved.

    >>> from engine.records import Candle
    >>> bands = Bollinger(period=2)
    >>> bands.update(Candle.of(10))
    {'bb_upper': nan, 'bb_mid': nan, 'bb_lower': nan}
    >>> bands.update(Candle.of(12))
    {'bb_upper': 13.0, 'bb_mid': 11.0, 'bb_lower': 9.0}
    """

    def __init__(self, period: int = 20, width: float = 2.0) -> None:
        self.period = period
        self.width = width
        self.columns = tuple(Column(name, period, "price") for name in ("bb_upper", "bb_mid", "bb_lower"))
        self.reach = period
        self.mid = self.deviation = self.z = nan

    def step(self, past: Past) -> tuple[float, ...]:
        period = self.period
        if past.seen < period:
            return (nan, nan, nan)
        close, closes = past.close, past.closes[-period:]
        total = fsum(closes)
        offset = (period * close - total) / period
        spread = dist(closes, (close,) * period)
        # The newest close is one of them, so the square is at most `period` variances: little cancels.
        variance = spread * spread / period - offset * offset
        self.deviation = deviation = sqrt(variance) if variance > 0 else 0.0
        self.z = offset / deviation if deviation else 0.0
        self.mid = mid = total / period
        reach = self.width * deviation
        return (mid + reach, mid, mid - reach)


class Volatility(Indicator):
    """Realised volatility: root mean square log return a candle, over short, middle and long spans.

    `volatility_ratio` is short over long, 1 where nothing moved; `efficiency` is Kaufman's ratio (Smarter
    Trading, 1995) over the middle span: net move over path, 0..1, 0 where nothing moved.

    >>> [column.name for column in Volatility().columns]
    ['volatility_6', 'volatility_24', 'volatility_96', 'volatility_ratio', 'efficiency_24']
    """

    def __init__(self, short: int = 6, middle: int = 24, long: int = 96) -> None:
        self.spans = short, middle, long
        self.roots = sqrt(short), sqrt(middle), sqrt(long)
        self.reach = long + 1
        self.columns = (
            *(Column(f"volatility_{span}", span + 1) for span in self.spans),
            Column("volatility_ratio", long + 1),
            Column(f"efficiency_{middle}", middle + 1),
        )

    def step(self, past: Past) -> tuple[float, ...]:
        moves = past.seen - 1
        short, middle, long = self.spans
        if moves < short:
            return (nan, nan, nan, nan, nan)
        recent = past.returns[-middle:]
        low = hypot(*recent[-short:]) / self.roots[0]
        if moves < middle:
            return (low, nan, nan, nan, nan)
        mid = hypot(*recent) / self.roots[1]
        path = sum(map(abs, recent))
        efficiency = abs(sum(recent)) / path if path else 0.0
        if moves < long:
            return (low, mid, nan, nan, efficiency)
        high = hypot(*past.returns[-long:]) / self.roots[2]
        return (low, mid, high, low / high if high else 1.0, efficiency)


class Channel(Indicator):
    """Where the close is between the lowest low and the highest high of the last candles, 0..1.

    Donchian's channel; `low` and `high` are its edges in price. 0.5 where they are the same.

    >>> from engine.records import Candle
    >>> channel = Channel(period=2)
    >>> channel.update(Candle.of(10)), channel.update(Candle.of(12))
    ({'channel_2': nan}, {'channel_2': 1.0})
    """

    def __init__(self, period: int = 20) -> None:
        self.period = period
        self.columns = (Column(f"channel_{period}", period),)
        self.depth = period
        self.low = self.high = nan

    def step(self, past: Past) -> tuple[float, ...]:
        period = self.period
        if past.seen < period:
            return (nan,)
        self.low = low = min(past.lows[-period:])
        self.high = high = max(past.highs[-period:])
        return ((past.close - low) / (high - low) if high > low else 0.5,)


class Ranges(Indicator):
    """The average range as a share of the price, and this candle's true range in average ranges.

    >>> [column.name for column in Ranges().columns]
    ['atr_ratio', 'true_range_atr']
    """

    def __init__(self, atr: ATR | None = None) -> None:
        self.atr = atr or ATR()
        self.parts = (self.atr,)
        first = self.atr.columns[0].first
        self.columns = (Column("atr_ratio", first), Column("true_range_atr", first))

    def step(self, past: Past) -> tuple[float, ...]:
        atr = self.atr
        return (atr.value / past.close, past.true_range / atr.unit)
