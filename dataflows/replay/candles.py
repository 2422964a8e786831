"""Candles in columns, and the arithmetic of intervals.

Times are open times in ms, as the exchange keys its candles; nothing here knows where candles come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

SPANS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "1s": 1_000,
        "1m": MINUTE,
        "3m": 3 * MINUTE,
        "5m": 5 * MINUTE,
        "15m": 15 * MINUTE,
        "30m": 30 * MINUTE,
        "1h": HOUR,
        "2h": 2 * HOUR,
        "4h": 4 * HOUR,
        "6h": 6 * HOUR,
        "8h": 8 * HOUR,
        "12h": 12 * HOUR,
        "1d": DAY,
        "3d": 3 * DAY,
        "1w": 7 * DAY,
    }
)
"""Intervals of a fixed length, in ms. The exchange's `1M` has none, and no candles here."""

WIDTH: Final = 9
"""Columns of a row: open, high, low, close, volume, quote volume, trades, taker base, taker quote."""

Row = Sequence[float]

# The first Monday after the epoch: weeks begin there.
WEEK_OFFSET: Final = 4 * DAY


@dataclass(frozen=True, slots=True)
class Candles:
    """Closed candles of one market: `time` (n,) open times ascending, `values` (n, 9) floats."""

    time: NDArray[np.int64]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.time)

    def between(self, start: int, end: int) -> Candles:
        """Those that open in [start, end)."""
        low, high = np.searchsorted(self.time, (start, end))
        return Candles(self.time[low:high], self.values[low:high])

    def where(self, keep: NDArray[np.bool_]) -> Candles:
        return self if keep.all() else Candles(self.time[keep], self.values[keep])

    def head(self, count: int) -> Candles:
        return Candles(self.time[:count], self.values[:count])

    def tail(self, count: int) -> Candles:
        return Candles(self.time[-count:], self.values[-count:]) if count else EMPTY


EMPTY: Final = Candles(np.empty(0, np.int64), np.empty((0, WIDTH)))


def floor(time: int, span: int) -> int:
    """The open time of the candle that holds `time`; weeks begin on Mondays.

    >>> floor(3_723_000, SPANS["1h"])
    3600000
    """
    offset = WEEK_OFFSET if span == 7 * DAY else 0
    return (time - offset) // span * span + offset


def aggregate(candles: Candles, span: int) -> Candles:
    """One candle per bucket of `span` that holds any; a bucket with holes gives the candle of what is there.

    >>> rows = np.array([[5, 9, 4, 6, 1, 5, 2, 0, 0], [6, 7, 3, 5, 2, 8, 3, 1, 1.0]])
    >>> two = Candles(np.array([0, 60_000]), rows)
    >>> aggregate(two, 300_000).values.tolist()
    [[5.0, 9.0, 3.0, 5.0, 3.0, 13.0, 5.0, 1.0, 1.0]]
    """
    if not len(candles):
        return EMPTY
    offset = WEEK_OFFSET if span == 7 * DAY else 0
    bucket = (candles.time - offset) // span * span + offset
    first = np.flatnonzero(np.diff(bucket, prepend=bucket[0] - 1))
    last = np.append(first[1:], len(bucket)) - 1
    values = np.add.reduceat(candles.values, first, axis=0)
    values[:, 0] = candles.values[first, 0]
    values[:, 1] = np.maximum.reduceat(candles.values[:, 1], first)
    values[:, 2] = np.minimum.reduceat(candles.values[:, 2], first)
    values[:, 3] = candles.values[last, 3]
    return Candles(bucket[first], values)


def merge(own: Candles, other: Candles) -> Candles:
    """All of `own`, and what `other` has at times that `own` lacks."""
    extra = other.where(~np.isin(other.time, own.time, assume_unique=True))
    if not len(extra):
        return own
    time = np.concatenate((own.time, extra.time))
    order = np.argsort(time, kind="stable")
    return Candles(time[order], np.concatenate((own.values, extra.values))[order])


def join(first: Row, second: Row) -> list[float]:
    """Two neighbouring rows as one."""
    sums = [a + b for a, b in zip(first[4:], second[4:], strict=True)]
    return [first[0], max(first[1], second[1]), min(first[2], second[2]), second[3], *sums]


def partial(row: Row, share: float, decimals: int) -> list[float]:
    """A candle after `share` (0..1) of its time, on a path that ends as `row`.

    The price goes open, low, high, close in a rising candle and open, high, low, close in a falling one,
    a third of the time each; volumes grow evenly.

    >>> partial([10, 14, 8, 12, 90, 900, 9, 0, 0], 1 / 3, 2)
    [10, 10, 8, 8, 30.0, 300.0, 3, 0.0, 0.0]
    >>> partial([10, 14, 8, 12, 90, 900, 9, 0, 0], 1.0, 2)
    [10, 14, 8, 12, 90, 900, 9, 0, 0]
    """
    if share >= 1.0:
        return list(row)
    open_, high, low, close = row[:4]
    turns = (open_, low, high, close) if close >= open_ else (open_, high, low, close)
    leg, along = divmod(share * 3.0, 1.0)
    at = int(leg)
    price = min(high, max(low, round(turns[at] + (turns[at + 1] - turns[at]) * along, decimals)))
    seen = (*turns[: at + 1], price)
    base, quote, trades, taker, taker_quote = (x * share for x in row[4:])
    return [open_, max(seen), min(seen), price, base, quote, int(trades), taker, taker_quote]
