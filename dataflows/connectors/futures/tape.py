"""What one connection of the market stream tells, in 5-minute buckets of stream time.

No data is not zero: a bucket is told only of a contract that was heard in it and again after its end, over a
connection that had been open since before it began.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from dataflows.connectors.futures.frames import Forced, Mark
from engine.records import Metric

BUCKET: Final = 300_000
GRACE: Final = 5_000
"""Ms of stream time behind a bucket's end in which its orders may still come."""

MOST: Final = 8
"""Buckets open at once; more means that time jumped."""


@dataclass(slots=True)
class Bucket:
    """Forced orders of one contract: `seen` are those counted, for each may come twice, over two sockets."""

    long_usd: float = 0.0
    short_usd: float = 0.0
    count: int = 0
    marked: bool = False
    seen: set[Forced] = field(default_factory=set)

    def add(self, order: Forced) -> None:
        if order in self.seen:
            return
        self.seen.add(order)
        self.count += 1
        if order.long:
            self.long_usd += order.usd
        else:
            self.short_usd += order.usd

    def metrics(self, asset: str, end: int) -> Iterator[Metric]:
        yield Metric("binance.liquidated_long_usd", asset, end, self.long_usd)
        yield Metric("binance.liquidated_short_usd", asset, end, self.short_usd)
        yield Metric("binance.liquidations", asset, end, float(self.count))


class Tape:
    """Buckets by their end. `opened` and `broken` say how the connection is, `due` tells what is complete.

    >>> tape = Tape(grace=0)
    >>> tape.opened(0)
    >>> tape.order(Forced("BTC", 1_000, True, 50.0, 100.0))
    >>> for time in (2_000, 300_000):
    ...     tape.mark(Mark("BTC", time, 100.0, 100.0))
    >>> [metric.value for metric in tape.due(300_000)], tape.due(300_000)
    ([50.0, 0.0, 1.0], [])
    """

    def __init__(self, grace: int = GRACE) -> None:
        self.grace = grace
        self.since: int | None = None
        self._well = 0
        self._heard: dict[str, int] = {}
        self._buckets: dict[int, dict[str, Bucket]] = {}
        self._told = 0
        self._ready: list[Metric] = []

    def opened(self, now: int) -> None:
        """The connection is well at `now`, stream time in ms UTC; the first of these is when it began."""
        if self.since is None:
            self.since = now
        self._well = now

    def broken(self) -> None:
        """The connection was lost since it was well last: what was under way then is not told."""
        self._ready += self._complete(self._well)
        self._buckets.clear()
        self._heard.clear()
        self.since = None

    def mark(self, mark: Mark) -> None:
        """The contract is alive."""
        self._heard[mark.asset] = max(mark.time, self._heard.get(mark.asset, 0))
        bucket = self._bucket(mark.asset, mark.time)
        if bucket is not None:
            bucket.marked = True

    def order(self, order: Forced) -> None:
        """A position was closed by force."""
        bucket = self._bucket(order.asset, order.time)
        if bucket is not None:
            bucket.add(order)

    def due(self, now: int, late: int = 0) -> list[Metric]:
        """The metrics of buckets that are over at `now`; orders may come `late` ms later than usual."""
        ready, self._ready = self._ready + self._complete(now - self.grace - late), []
        return ready

    def _bucket(self, asset: str, time: int) -> Bucket | None:
        """None for a bucket that has been told, or while the connection does not count."""
        end = (time // BUCKET + 1) * BUCKET
        if self.since is None or end <= self._told:
            return None
        if end not in self._buckets and len(self._buckets) >= MOST:
            return None
        return self._buckets.setdefault(end, {}).setdefault(asset, Bucket())

    def _complete(self, upto: int) -> list[Metric]:
        found: list[Metric] = []
        for end in sorted(end for end in self._buckets if end <= upto):
            whole = self.since is not None and self.since <= end - BUCKET
            self._told = end
            for asset, bucket in sorted(self._buckets.pop(end).items()):
                if whole and bucket.marked and self._heard[asset] >= end:
                    found += bucket.metrics(asset, end)
        return found
