"""Where the price is going: moving averages, directional movement, distance from them.

Recursive averages are seeded as TA-Lib seeds them; running sums are taken anew on a grid of time.
"""

from __future__ import annotations

from math import nan

from engine.indicators.base import Column, Indicator
from engine.indicators.past import Past
from engine.indicators.volatility import ATR


class EMA(Indicator):
    """Exponential moving average, weight 2 / (period + 1), seeded with the mean of the first `period` closes.

    `move` is by how much the newest candle moved it.

    >>> from engine.records import Candle
    >>> ema = EMA(period=2)
    >>> for close in (10, 12, 14):
    ...     print(ema.update(Candle.of(close)))
    {'ema_2': nan}
    {'ema_2': 11.0}
    {'ema_2': 13.0}
    """

    keeps = ("value",)

    def __init__(self, period: int = 9) -> None:
        self.period = period
        self.weight = 2 / (period + 1)
        self.columns = (Column(f"ema_{period}", period, "price"),)
        self.reach = period
        self.value = self.move = nan

    def step(self, past: Past) -> tuple[float, ...]:
        old = self.value
        if old == old:
            new = old + self.weight * (past.close - old)
            # A step too small to be taken: the average has arrived, from wherever it came.
            self.value = new = past.close if new == old else new
            self.move = new - old
            return (new,)
        if past.seen == self.period:
            self.value = sum(past.closes[-self.period :]) / self.period
        return (self.value,)


class SMA(Indicator):
    """Simple moving average: the mean of the last `period` closes, as a running sum.

    >>> from engine.records import Candle
    >>> sma = SMA(period=2)
    >>> for close in (10, 12, 14):
    ...     print(sma.update(Candle.of(close)))
    {'sma_2': nan}
    {'sma_2': 11.0}
    {'sma_2': 13.0}
    """

    keeps = ("total",)

    def __init__(self, period: int = 50) -> None:
        self.period = period
        self.columns = (Column(f"sma_{period}", period, "price"),)
        self.reach = period
        self.total = 0.0
        self.value = nan

    def step(self, past: Past) -> tuple[float, ...]:
        period = self.period
        if past.seen > period and not past.on_grid:
            self.total += past.close - past.closes[-1 - period]
        else:
            self.total = sum(past.closes[-period:])
            if past.seen < period:
                return (nan,)
        self.value = self.total / period
        return (self.value,)


class ADX(Indicator):
    """Average directional index with +DI and -DI, all 0..100.

    Wilder (1978), ch. 4; sums of `period` - 1 moves seed it, as in TA-Lib. Without any range, or where it has
    faded to a `SPECK`, all are 0.

    >>> from engine.records import Candle
    >>> adx = ADX(period=2)
    >>> for close in (10, 11, 12, 13):
    ...     values = adx.update(Candle.of(close))
    >>> values
    {'adx_2': 100.0, 'plus_di_2': 100.0, 'minus_di_2': 0.0}
    """

    keeps = ("ranged", "plus", "minus", "value")

    def __init__(self, period: int = 14) -> None:
        self.period = period
        self.columns = (
            Column(f"adx_{period}", 2 * period),
            Column(f"plus_di_{period}", period + 1),
            Column(f"minus_di_{period}", period + 1),
        )
        self.ranged = self.plus = self.minus = self.value = 0.0

    def step(self, past: Past) -> tuple[float, ...]:
        moves, period = past.seen - 1, self.period
        if not moves:
            return (nan, nan, nan)
        up = past.high - past.highs[-2]
        down = past.lows[-2] - past.low
        plus = up if up > down and up > 0 else 0.0
        minus = down if down > up and down > 0 else 0.0
        if moves < period:
            self.ranged += past.true_range
            self.plus += plus
            self.minus += minus
            return (nan, nan, nan)
        self.ranged = ranged = self.ranged - self.ranged / period + past.true_range
        self.plus = plus = self.plus - self.plus / period + plus
        self.minus = minus = self.minus - self.minus / period + minus
        if ranged > past.speck:
            self._smooth(plus, minus, moves - period)
            adx = self.value if moves >= 2 * period - 1 else nan
            return (adx, 100.0 * plus / ranged, 100.0 * minus / ranged)
        self.ranged = self.plus = self.minus = self.value = 0.0
        return (0.0 if moves >= 2 * period - 1 else nan, 0.0, 0.0)

    def _smooth(self, plus: float, minus: float, done: int) -> None:
        total = plus + minus
        if total > 0:
            index = 100.0 * (plus - minus if plus > minus else minus - plus) / total
        elif done < self.period:
            index = 0.0
        else:
            return
        self.value += (index - self.value) / (done + 1 if done < self.period else self.period)


class Distances(Indicator):
    """How far the close is from each average, in average true ranges.

    `averages` are parts with a `value` in price units and one column whose name is taken over.

    >>> from engine.records import Candle
    >>> distances = Distances((EMA(1),), ATR(1))
    >>> distances.update(Candle.of(5)), distances.update(Candle.of(6))
    ({'ema_1_distance': nan}, {'ema_1_distance': 0.0})
    """

    def __init__(self, averages: tuple[EMA | SMA, ...] | None = None, atr: ATR | None = None) -> None:
        self.averages = averages or (EMA(9), EMA(21), SMA(50), SMA(200))
        self.atr = atr or ATR()
        self.parts = (*self.averages, self.atr)
        least = self.atr.columns[0].first
        self.columns = tuple(
            Column(f"{name}_distance", max(first, least))
            for average in self.averages
            for name, first, _ in average.columns
        )

    def step(self, past: Past) -> tuple[float, ...]:
        close, unit = past.close, self.atr.unit
        return tuple([(close - average.value) / unit for average in self.averages])


class Slopes(Indicator):
    """By how much the averages moved at this candle, in average true ranges.

    >>> [column.name for column in Slopes().columns]
    ['ema_9_slope', 'ema_21_slope']
    """

    def __init__(self, averages: tuple[EMA, ...] | None = None, atr: ATR | None = None) -> None:
        self.averages = averages or (EMA(9), EMA(21))
        self.atr = atr or ATR()
        self.parts = (*self.averages, self.atr)
        least = self.atr.columns[0].first
        self.columns = tuple(
            Column(f"{name}_slope", max(first + 1, least))
            for average in self.averages
            for name, first, _ in average.columns
        )

    def step(self, past: Past) -> tuple[float, ...]:
        unit = self.atr.unit
        return tuple([average.move / unit for average in self.averages])
