"""The recent candles of one market, kept once for all its indicators.

Read it from the newest backwards ([-1], [-2], ...): how much lies further back is not promised.
"""

from __future__ import annotations

from array import array
from itertools import islice, pairwise
from math import log
from typing import Final

from engine.records import INTERVALS, Candle

SLACK: Final = 64
"""Candles kept beyond what is promised, so that old ones are dropped in one go."""

OPENS: Final = 3
"""Opens that can be looked back at: patterns are of three candles."""

GRID: Final = 64
"""Running sums are taken anew when the candle's number is a multiple of this, whenever the start was."""

DAY: Final = 86_400_000
SESSION: Final = {interval: DAY if ms >= 180_000 else DAY // 3 for interval, ms in INTERVALS.items()}
"""Length of a session in ms: the UTC day; for 1m, of which a day holds 1,440, a third of it, from 00, 08 and
16 h, the funding times: a sum over more candles than a warm-up has would depend on where it began."""

SPECK: Final = 1e-15
"""Share of the price below which an average move is none: the last trace of a market that stands still.
Without this a halted market would show, for ever, how it once moved, and so how long its history is."""

Carried = tuple[int, int, int, int, bool]


class Past:
    """The newest candle's numbers as attributes, and lists of the last ones, oldest first.

    Parameters
    ----------
    reach
        How many closes can be looked back at.
    depth
        How many highs, lows, volumes and flows can be looked back at. Of opens there are three.

    `move` is close - previous close, `true_range` Wilder's (1978), `ordinal` counts intervals since 1970,
    `seen` candles since the start, `run` candles since the last hole (at most 3), `returns` are log returns,
    `flows` volumes with the sign of their move. `on_grid` is true once every `GRID` intervals. `session` is
    the number of the UTC session (`SESSION`), `opening` true at its first candle here, `whole` false until a
    session was seen from its beginning. `speck` is the price's `SPECK`.

    >>> past = Past()
    >>> for close in (10.0, 12.0):
    ...     past.push(Candle.of(close))
    >>> past.move, past.true_range, past.closes[-2]
    (2.0, 2.0, 10.0)
    """

    __slots__ = (
        "close",
        "closes",
        "depth",
        "flows",
        "high",
        "highs",
        "low",
        "lows",
        "move",
        "on_grid",
        "open",
        "opening",
        "opens",
        "ordinal",
        "reach",
        "returns",
        "run",
        "seen",
        "session",
        "speck",
        "time",
        "true_range",
        "volume",
        "volumes",
        "whole",
    )

    def __init__(self, reach: int = 2, depth: int = 2) -> None:
        self.reach = max(reach, depth + 1)  # a flow needs the close before it
        self.depth = depth
        self.seen = self.ordinal = self.run = self.time = 0
        self.session = -1
        self.open = self.high = self.low = self.close = self.volume = 0.0
        self.move = self.true_range = self.speck = 0.0
        self.on_grid = self.opening = self.whole = False
        self.opens: list[float] = []
        self.highs: list[float] = []
        self.lows: list[float] = []
        self.closes: list[float] = []
        self.volumes: list[float] = []
        self.returns: list[float] = []
        self.flows: list[float] = []

    def push(self, candle: Candle) -> None:
        """Let this candle be the newest."""
        if len(self.closes) >= self.reach + SLACK:
            self._drop()
        previous = self.close
        self.time = candle.time
        self.open = float(candle.open)
        self.high = high = float(candle.high)
        self.low = low = float(candle.low)
        self.close = close = float(candle.close)
        self.volume = volume = float(candle.volume)
        self.speck = SPECK * close
        self._count(candle.time, INTERVALS[candle.interval], SESSION[candle.interval])
        if self.seen > 1:
            self.move = move = close - previous
            self.true_range = (high if high > previous else previous) - (low if low < previous else previous)
            self.returns.append(log(close / previous))
            self.flows.append(volume if move > 0 else -volume if move < 0 else 0.0)
        else:
            self.true_range = high - low
            self.flows.append(0.0)
        self.opens.append(self.open)
        self.highs.append(high)
        self.lows.append(low)
        self.closes.append(close)
        self.volumes.append(volume)

    def _count(self, time: int, interval: int, length: int) -> None:
        ordinal = time // interval
        if ordinal - self.ordinal == 1:
            if self.run < 3:
                self.run += 1
        else:
            self.run = 1
        self.ordinal = ordinal
        self.on_grid = ordinal % GRID == 0
        session = (time - 1) // length
        if session != self.session:
            self.opening = True
            self.whole = self.whole or self.seen > 0 or (time - interval) % length == 0
            self.session = session
        else:
            self.opening = False
        self.seen += 1

    def _drop(self) -> None:
        # One candle more than promised stays, so that taking the newest back leaves enough.
        del self.closes[: -self.reach - 1], self.returns[: -self.reach]
        del self.opens[: -OPENS - 1]
        for ring in (self.highs, self.lows, self.volumes, self.flows):
            del ring[: -self.depth - 1]

    def carried(self) -> Carried:
        """What one candle hands to the next besides the lists."""
        return self.seen, self.ordinal, self.run, self.session, self.whole

    def take_back(self, carried: Carried) -> None:
        """Forget the newest candle; `carried` is what `carried()` answered before it."""
        for ring in (self.opens, self.highs, self.lows, self.closes, self.volumes, self.flows):
            ring.pop()
        if self.returns:
            self.returns.pop()
            self.close = self.closes[-1]
        self.seen, self.ordinal, self.run, self.session, self.whole = carried

    def __getstate__(self) -> tuple[object, ...]:
        rings = array("d", self.closes[-self.reach :])
        rings.extend(self.opens[-OPENS:])
        for ring in (self.highs, self.lows, self.volumes):
            rings.extend(ring[-self.depth :])
        return (self.reach, self.depth, self.carried(), rings.tobytes())

    def __setstate__(self, state: tuple[int, int, Carried, bytes]) -> None:
        reach, depth, carried, packed = state
        Past.__init__(self, reach, depth)
        self.seen, self.ordinal, self.run, self.session, self.whole = carried
        values = iter(array("d", packed))
        self.closes, self.opens, self.highs, self.lows, self.volumes = (
            list(islice(values, min(self.seen, most))) for most in (reach, OPENS, depth, depth, depth)
        )
        self.close = self.closes[-1] if self.closes else 0.0
        self.returns = [log(close / previous) for previous, close in pairwise(self.closes)]
        moves = [0.0, *(close - previous for previous, close in pairwise(self.closes))]
        newest = moves[len(moves) - len(self.volumes) :]
        self.flows = [
            volume if move > 0 else -volume if move < 0 else 0.0
            for volume, move in zip(self.volumes, newest, strict=True)
        ]
