"""How fast the price moves: RSI, MACD, returns.

Averages are seeded as TA-Lib seeds them, so the first value is already its value.
"""

from __future__ import annotations

from math import log, nan

from engine.indicators.base import Column, Indicator
from engine.indicators.past import Past
from engine.indicators.volatility import ATR


class RSI(Indicator):
    """Relative Strength Index: 100 x average gain / (average gain + average loss).

    Wilder, New Concepts in Technical Trading Systems (1978), ch. 6. A market that has not moved, or whose
    last moves have faded to a `SPECK`, is at 50: neither side is stronger (TA-Lib answers 0 there).

    >>> from engine.records import Candle
    >>> rsi = RSI(period=2)
    >>> for close in (10, 11, 12, 11):
    ...     print(rsi.update(Candle.of(close)))
    {'rsi_2': nan}
    {'rsi_2': nan}
    {'rsi_2': 100.0}
    {'rsi_2': 50.0}
    """

    keeps = ("gain", "loss")

    def __init__(self, period: int = 14) -> None:
        self.period = period
        self.columns = (Column(f"rsi_{period}", period + 1),)
        self.gain = self.loss = 0.0
        self.value = nan

    def step(self, past: Past) -> tuple[float, ...]:
        moves, move = past.seen - 1, past.move
        if not moves:
            return (nan,)
        span = moves if moves < self.period else self.period
        gain, loss = self.gain, self.loss
        up, down = (move, 0.0) if move > 0 else (0.0, -move)
        self.gain = gain = gain + (up - gain) / span
        self.loss = loss = loss + (down - loss) / span
        if moves >= self.period:
            total = gain + loss
            if total > past.speck:
                self.value = 100.0 * gain / total
            else:
                self.gain = self.loss = 0.0
                self.value = 50.0
        return (self.value,)


class MACD(Indicator):
    """Moving Average Convergence Divergence: EMA(fast) - EMA(slow), its EMA(signal), their difference.

    Appel, The Moving Average Convergence-Divergence Trading Method (1979). Both averages are seeded at
    candle `slow` and all three columns begin together, as in TA-Lib. In price units.

    >>> from engine.records import Candle
    >>> macd = MACD(fast=1, slow=2, signal=2)
    >>> for close in (10, 12, 14):
    ...     line = macd.update(Candle.of(close))
    >>> line
    {'macd': 1.0, 'macd_signal': 1.0, 'macd_histogram': 0.0}
    """

    keeps = ("fast", "slow", "signal")

    def __init__(self, fast: int = 12, slow: int = 26, signal: int = 9) -> None:
        self.periods = fast, slow, signal
        self.weights = 2 / (fast + 1), 2 / (slow + 1), 2 / (signal + 1)
        first = slow + signal - 1
        self.columns = tuple(Column(n, first, "price") for n in ("macd", "macd_signal", "macd_histogram"))
        self.reach = slow
        self.fast = self.slow = self.signal = 0.0
        self.value = self.histogram = nan

    def step(self, past: Past) -> tuple[float, ...]:
        late = past.seen - self.periods[1]
        if late < 0:
            return (nan, nan, nan)
        if not late:
            self._seed(past)
        else:
            self._follow(past.close)
        line = self.fast - self.slow
        count = self.periods[2]
        if late < count:
            self.signal += (line - self.signal) / (late + 1)
            if late < count - 1:
                return (nan, nan, nan)
        else:
            self.signal += self.weights[2] * (line - self.signal)
            if -past.speck < self.signal < past.speck and not line:
                self.signal = 0.0
        self.value, self.histogram = line, line - self.signal
        return (line, self.signal, self.histogram)

    def _seed(self, past: Past) -> None:
        fast, slow, _ = self.periods
        self.fast = sum(past.closes[-fast:]) / fast
        self.slow = sum(past.closes[-slow:]) / slow

    def _follow(self, close: float) -> None:
        fast, slow, _ = self.weights
        old_fast, old_slow = self.fast, self.slow
        self.fast = new_fast = old_fast + fast * (close - old_fast)
        self.slow = new_slow = old_slow + slow * (close - old_slow)
        # A step too small to be taken: the average has arrived, from wherever it came.
        if new_fast == old_fast:
            self.fast = close
        if new_slow == old_slow:
            self.slow = close


class Returns(Indicator):
    """Log returns over several spans of candles.

    >>> from engine.records import Candle
    >>> returns = Returns((1,))
    >>> returns.update(Candle.of(1.0)), returns.update(Candle.of(1.0))
    ({'return_1': nan}, {'return_1': 0.0})
    """

    def __init__(self, spans: tuple[int, ...] = (1, 3, 6, 12, 24)) -> None:
        self.spans = spans
        self.columns = tuple(Column(f"return_{span}", span + 1) for span in spans)
        self.reach = max(spans) + 1

    def step(self, past: Past) -> tuple[float, ...]:
        closes, close, seen = past.closes, past.close, past.seen
        return tuple([log(close / closes[-1 - span]) if seen > span else nan for span in self.spans])


class Impulse(Indicator):
    """MACD and its histogram in average true ranges.

    >>> Impulse().columns[0].name
    'macd_atr'
    """

    def __init__(self, macd: MACD | None = None, atr: ATR | None = None) -> None:
        self.macd, self.atr = macd or MACD(), atr or ATR()
        self.parts = (self.macd, self.atr)
        first = max(self.macd.columns[0].first, self.atr.columns[0].first)
        self.columns = (Column("macd_atr", first), Column("macd_histogram_atr", first))

    def step(self, past: Past) -> tuple[float, ...]:
        unit = self.atr.unit
        return (self.macd.value / unit, self.macd.histogram / unit)
