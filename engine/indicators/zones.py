"""Where the price has left something behind: order blocks and fair value gaps.

A zone lives until the price has gone through it or `MEMORY` intervals are over.
"""

from __future__ import annotations

from math import nan
from typing import Final

from engine.indicators.base import Column, Indicator
from engine.indicators.past import Past
from engine.indicators.structure import MEMORY, Swings
from engine.indicators.volatility import ATR

FAR: Final = 10.0
"""Average true ranges beyond which a zone is as far as none at all."""

Zone = tuple[float, float, int]
"""Bottom and top in price, and the number of the candle that made it."""


def below(zones: tuple[Zone, ...], close: float, unit: float) -> float:
    """Distance down to the nearest zone's top in `unit`s: 0 inside one, `FAR` if there is none.

    >>> below(((8.0, 9.0, 1),), 10.0, 2.0), below((), 10.0, 2.0)
    (0.5, 10.0)
    """
    away = FAR
    for _, top, _ in zones:
        distance = (close - top) / unit
        if distance < away:
            away = distance if distance > 0 else 0.0
    return away


def above(zones: tuple[Zone, ...], close: float, unit: float) -> float:
    """Distance up to the nearest zone's bottom in `unit`s: 0 inside one, `FAR` if there is none.

    >>> above(((11.0, 12.0, 1),), 10.0, 2.0), above((), 10.0, 2.0)
    (0.5, 10.0)
    """
    away = FAR
    for bottom, _, _ in zones:
        distance = (bottom - close) / unit
        if distance < away:
            away = distance if distance > 0 else 0.0
    return away


class OrderBlocks(Indicator):
    """Order blocks: the last opposite candle before the close breaks a swing.

    A close above the last swing high makes the newest falling candle among the `look` before it a bullish
    block, from its low to its high; a close below the last swing low makes the newest rising one a bearish
    block. A block dies when a close goes through its far edge, or of age. `order_block` is +1 or -1 at the
    candle that makes one; the distances are to the nearest living block in average true ranges: 0 inside,
    `FAR` where there is none.

    >>> [column.name for column in OrderBlocks().columns]
    ['order_block', 'order_block_bull_distance', 'order_block_bear_distance']
    """

    keeps = ("bulls", "bears", "fell", "rose", "broken_high", "broken_low")

    def __init__(
        self, look: int = 10, most: int = 2, swings: Swings | None = None, atr: ATR | None = None
    ) -> None:
        self.look = look
        self.most = most
        self.swings, self.atr = swings or Swings(), atr or ATR()
        self.parts = (self.swings, self.atr)
        first = self.atr.columns[0].first
        names = "order_block", "order_block_bull_distance", "order_block_bear_distance"
        self.columns = tuple(Column(name, first) for name in names)
        self.depth = look + 1
        self.bulls: tuple[Zone, ...] = ()
        self.bears: tuple[Zone, ...] = ()
        self.fell = self.rose = look  # candles since one fell, rose; `look`: too many
        self.broken_high = self.broken_low = 0

    def step(self, past: Past) -> tuple[float, ...]:
        close, unit = past.close, self.atr.unit
        self._bury(close, past.ordinal)
        made = self._break(past)
        look = self.look
        self.fell = 0 if close < past.open else min(self.fell + 1, look)
        self.rose = 0 if close > past.open else min(self.rose + 1, look)
        if not unit > 0:
            return (nan, nan, nan)
        return (made, below(self.bulls, close, unit), above(self.bears, close, unit))

    def _bury(self, close: float, ordinal: int) -> None:
        oldest = ordinal - MEMORY
        for bottom, _, made in self.bulls:
            if close < bottom or made < oldest:
                self.bulls = tuple([z for z in self.bulls if close >= z[0] and z[2] >= oldest])
                break
        for _, top, made in self.bears:
            if close > top or made < oldest:
                self.bears = tuple([z for z in self.bears if close <= z[1] and z[2] >= oldest])
                break

    def _break(self, past: Past) -> float:
        close, highs, lows = past.close, self.swings.highs, self.swings.lows
        if highs and close > highs[0][0] and highs[0][1] != self.broken_high:
            self.broken_high = highs[0][1]
            if self.fell < self.look:
                block = self._candle(past, self.fell)
                if block[0] <= close and block not in self.bulls:
                    self.bulls = (block, *self.bulls[: self.most - 1])
                    return 1.0
        if lows and close < lows[0][0] and lows[0][1] != self.broken_low:
            self.broken_low = lows[0][1]
            if self.rose < self.look:
                block = self._candle(past, self.rose)
                if block[1] >= close and block not in self.bears:
                    self.bears = (block, *self.bears[: self.most - 1])
                    return -1.0
        return 0.0

    @staticmethod
    def _candle(past: Past, since: int) -> Zone:
        """The range of the candle that was `since` candles before the previous one."""
        back = since + 2
        return past.lows[-back], past.highs[-back], past.ordinal - since - 1


class FairValueGaps(Indicator):
    """Fair value gaps: three candles in a row of which the outer two do not overlap.

    Bullish: low > high two candles before, the space between is open; bearish mirrored. Gaps under `least`
    average true ranges are noise. Price trading into a gap shrinks it, trading through it fills it; age
    forgets it. `fvg` is +1 or -1 at the candle that opens one; `fvg_filled` +1 where a bullish one is filled,
    -1 for a bearish one; then how many are open (at most `most`), and the distance from the close to the
    nearest in average true ranges: 0 inside, `FAR` where there is none.

    >>> from engine.records import Candle
    >>> gaps = FairValueGaps(atr=ATR(period=1))
    >>> for n, low in enumerate((10.0, 12.0, 14.0), start=1):
    ...     values = gaps.update(Candle("BTCUSDT", "1m", n * 60_000, low, low + 3, low, low + 3, 1.0))
    >>> values["fvg"], values["fvg_bull_open"], values["fvg_bull_distance"]
    (1.0, 1.0, 1.0)
    """

    keeps = ("bulls", "bears")

    def __init__(self, least: float = 0.1, most: int = 3, atr: ATR | None = None) -> None:
        self.least = least
        self.most = most
        self.atr = atr or ATR()
        self.parts = (self.atr,)
        first = max(3, self.atr.columns[0].first)
        names = "fvg", "fvg_filled", "fvg_bull_open", "fvg_bear_open"
        distances = "fvg_bull_distance", "fvg_bear_distance"
        self.columns = tuple(Column(name, first) for name in names + distances)
        self.depth = 3
        self.bulls: tuple[Zone, ...] = ()
        self.bears: tuple[Zone, ...] = ()

    def step(self, past: Past) -> tuple[float, ...]:
        unit = self.atr.unit
        if not unit > 0 or past.seen < 3:
            return (nan, nan, nan, nan, nan, nan)
        oldest = past.ordinal - MEMORY
        filled = self._trade_down(past.low, oldest) - self._trade_up(past.high, oldest)
        made = self._open(past, self.least * unit) if past.run == 3 else 0.0
        bulls, bears, close = self.bulls, self.bears, past.close
        return (
            made,
            filled,
            float(len(bulls)),
            float(len(bears)),
            below(bulls, close, unit),
            above(bears, close, unit),
        )

    def _trade_down(self, low: float, oldest: int) -> float:
        """Let the bullish ones meet this low; 1 when one of them is filled."""
        for _, top, made in self.bulls:
            if low < top or made < oldest:
                break
        else:
            return 0.0
        met = self.bulls
        self.bulls = tuple([(b, t if t < low else low, n) for b, t, n in met if b < low and n >= oldest])
        return 1.0 if any(b >= low for b, _, _ in met) else 0.0

    def _trade_up(self, high: float, oldest: int) -> float:
        """Let the bearish ones meet this high; 1 when one of them is filled."""
        for bottom, _, made in self.bears:
            if high > bottom or made < oldest:
                break
        else:
            return 0.0
        met = self.bears
        self.bears = tuple([(b if b > high else high, t, n) for b, t, n in met if t > high and n >= oldest])
        return 1.0 if any(t <= high for _, t, _ in met) else 0.0

    def _open(self, past: Past, least: float) -> float:
        before_high, before_low = past.highs[-3], past.lows[-3]
        if past.low - before_high > least:
            self.bulls = ((before_high, past.low, past.ordinal), *self.bulls[: self.most - 1])
            return 1.0
        if before_low - past.high > least:
            self.bears = ((past.high, before_low, past.ordinal), *self.bears[: self.most - 1])
            return -1.0
        return 0.0
