"""What the exchange shows at a moment of its clock: listings, candles up to the open one, the last 24 hours.

Nothing of the source after the moment is visible, but for the path of the candle in progress.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from dataflows.replay.candles import DAY, EMPTY, SPANS, Candles, Row, aggregate, floor, join, partial
from dataflows.replay.faults import Fault
from dataflows.replay.instruments import Instrument, Market
from dataflows.replay.source import Source
from dataflows.replay.switches import Faults

FOREVER: Final = 1 << 62
LEAST_WINDOW: Final = 1000
"""Candles looked through at once: fewer, and a hole of years would be crossed in small steps."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A symbol as it stands.

    It is known in [since, gone) and trades until `until`; the candles it shows are those of `source` that
    open in [opens, until). All in ms.
    """

    symbol: str
    source: str
    since: int
    until: int
    opens: int = 0
    gone: int = FOREVER
    status: str = "TRADING"


@dataclass(frozen=True, slots=True)
class Ticker:
    """The 24 hours up to a moment. `first` is the open time of the first candle in it."""

    open: float
    high: float
    low: float
    close: float
    volume: float
    quote: float
    trades: int
    first: int


class Venue:
    """One market of the exchange, seen through its faults."""

    def __init__(self, market: Market, source: Source, faults: Faults) -> None:
        self.market = market
        self.source = source
        self.faults = faults
        self._known = frozenset(source.symbols)
        self._corrected: dict[tuple[str, str, int], Row] = {}
        self._running: dict[tuple[str, str], tuple[tuple[str, int], list[float] | None]] = {}

    def symbols(self, now: int) -> list[Listed]:
        """Every symbol listed at `now`, halted and delisted-but-known ones included."""
        names = [*self.source.symbols, *(f.to for f in self.faults.listings() if f.name == "rename")]
        return [found for name in dict.fromkeys(names) if (found := self.listed(name, now)) is not None]

    def listed(self, symbol: str, now: int) -> Listed | None:
        """How `symbol` stands at `now`; None where the exchange does not know it (yet, or any more)."""
        found = self.standing(symbol)
        if found is None or not found.since <= now < found.gone:
            return None
        if now >= found.until:
            return replace(found, status="BREAK" if self.market == "spot" else "SETTLING")
        if any(fault.name == "halt" and fault.spans(now) for fault in self.faults.listings(symbol)):
            return replace(found, status="HALT" if self.market == "spot" else "PENDING_TRADING")
        return found

    def standing(self, symbol: str) -> Listed | None:
        """The whole life of `symbol`, whatever the moment."""
        for fault in self.faults.listings():
            if fault.name == "rename" and fault.to == symbol and fault.symbol:
                since = (fault.at or 0) + int(fault.by * 1000)
                return Listed(symbol, fault.symbol, since, self.source.lifetime(fault.symbol)[1], opens=since)
        if symbol not in self._known:
            return None
        found = Listed(symbol, symbol, *self.source.lifetime(symbol))
        for fault in self.faults.listings(symbol):
            found = changed(found, fault)
        return found

    def instrument(self, symbol: str) -> Instrument:
        for fault in self.faults.listings():
            if fault.name == "rename" and fault.to == symbol and fault.symbol:
                old = self.source.instrument(fault.symbol)
                base = symbol.removesuffix(old.quote)
                return Instrument(symbol, base, old.quote, old.price_decimals, old.quantity_decimals)
        return self.source.instrument(symbol)

    def closed(self, symbol: str, interval: str, start: int, end: int, now: int) -> Candles:
        """Closed candles that open in [start, end) as they stand at `now`."""
        found = self.listed(symbol, now)
        if found is None or interval not in SPANS:
            return EMPTY
        return self.scheduled(found, interval, start, min(end, now - SPANS[interval] + 1))

    def scheduled(self, found: Listed, interval: str, start: int, end: int) -> Candles:
        """Candles of a listing that open in [start, end), whether their time has come or not."""
        start, end = max(start, found.opens), min(end, found.until)
        if end <= start:
            return EMPTY
        candles = self.source.candles(found.source, interval, start, end)
        hidden = self.faults.hidden(found.symbol, interval, candles.time)
        if hidden is not None and hidden.any():
            candles = candles.where(~hidden)
        return self._mended(found.symbol, interval, candles) if self._corrected else candles

    def correct(self, symbol: str, interval: str, opened: int, row: Row) -> None:
        """From now on this candle is known to have been `row`."""
        self._corrected[symbol, interval, opened] = row

    def _mended(self, symbol: str, interval: str, candles: Candles) -> Candles:
        values = candles.values
        for at, opened in enumerate(candles.time.tolist()):
            row = self._corrected.get((symbol, interval, opened))
            if row is not None:
                values = values.copy() if values is candles.values else values
                values[at] = row
        return Candles(candles.time, values)

    def klines(
        self, symbol: str, interval: str, start: int | None, end: int | None, limit: int, now: int
    ) -> Candles:
        """What `klines` answers: `limit` from `start` on, else the newest up to `end`; the open one last."""
        span = SPANS.get(interval)
        found = self.listed(symbol, now)
        if span is None or found is None:
            return EMPTY
        last = now if end is None else min(end, now)
        oldest = max(floor(found.since, span), 0 if start is None else start)
        page = self._newest if start is None else self._oldest
        return page(symbol, interval, oldest, last, limit, now)

    def _oldest(self, symbol: str, interval: str, oldest: int, last: int, limit: int, now: int) -> Candles:
        """The first `limit` of [oldest, last], window by window: a hole in the data does not end a page."""
        parts: list[Candles] = []
        width = max(limit, LEAST_WINDOW) * SPANS[interval]
        while oldest <= last and sum(map(len, parts)) < limit:
            parts.append(self._shown(symbol, interval, oldest, min(last + 1, oldest + width), now))
            oldest += width
        return chain(parts).head(limit)

    def _newest(self, symbol: str, interval: str, oldest: int, last: int, limit: int, now: int) -> Candles:
        parts: list[Candles] = []
        width = max(limit, LEAST_WINDOW) * SPANS[interval]
        while last >= oldest and sum(map(len, parts)) < limit:
            parts.insert(0, self._shown(symbol, interval, max(oldest, last + 1 - width), last + 1, now))
            last -= width
        return chain(parts).tail(limit)

    def _shown(self, symbol: str, interval: str, start: int, end: int, now: int) -> Candles:
        """Candles that open in [start, end): closed ones, and the one in progress."""
        closed = self.closed(symbol, interval, start, end, now)
        opened = floor(now, SPANS[interval])
        if not start <= opened < end:
            return closed
        row = self.forming(symbol, interval, now)
        return closed if row is None else chain([closed, Candles(np.array([opened]), np.array([row], float))])

    def forming(self, symbol: str, interval: str, now: int) -> list[float] | None:
        """The candle in progress at `now`; None where nothing trades."""
        found = self.listed(symbol, now)
        if found is None or found.status != "TRADING" or interval not in SPANS:
            return None
        opened = floor(now, SPANS[interval])
        base = self._base(found.source, opened, now)
        if base is None or SPANS[base] > SPANS[interval]:
            return None
        started = floor(now, SPANS[base])
        current = self.scheduled(found, base, started, started + 1)
        if not len(current):
            return None
        share = (now - started) / SPANS[base]
        row = partial(current.values[0].tolist(), share, self.source.instrument(found.source).price_decimals)
        before = self._before(found, interval, base, opened, started)
        return row if before is None else join(before, row)

    def _base(self, source: str, opened: int, now: int) -> str | None:
        """The finest interval with candles both now and where the longer candle began."""
        at_now, at_open = self.source.base(source, now), self.source.base(source, opened)
        if at_now is None or at_open is None:
            return at_now
        return max(at_now, at_open, key=lambda interval: SPANS[interval])

    def _before(
        self, found: Listed, interval: str, base: str, opened: int, started: int
    ) -> list[float] | None:
        """What the candle in progress gathered before its current base candle."""
        if started == opened:
            return None
        key, stamp = (found.symbol, interval), (base, started)
        if key not in self._running or self._running[key][0] != stamp:
            parts = aggregate(self.scheduled(found, base, opened, started), SPANS[interval])
            self._running[key] = (stamp, parts.values[0].tolist() if len(parts) else None)
        return self._running[key][1]

    def ticker(self, symbol: str, now: int) -> Ticker | None:
        """The last 24 hours; None where there were no trades."""
        found = self.listed(symbol, now)
        base = self.source.base(found.source, now) if found else None
        interval = base or "1h"
        interval = interval if SPANS[interval] >= SPANS["5m"] else "5m"
        day = self._shown(symbol, interval, now - DAY, now + 1, now)
        if not len(day):
            return None
        values = day.values
        sums = values[:, 4:7].sum(axis=0).tolist()
        high, low = float(values[:, 1].max()), float(values[:, 2].min())
        return Ticker(
            float(values[0, 0]),
            high,
            low,
            float(values[-1, 3]),
            sums[0],
            sums[1],
            int(sums[2]),
            int(day.time[0]),
        )


def changed(found: Listed, fault: Fault) -> Listed:
    """The listing with what `fault` does to its life."""
    at = fault.at or 0
    if fault.name == "list":
        return replace(found, since=max(found.since, at), opens=max(found.opens, at))
    if fault.name == "rename":
        return replace(found, until=min(found.until, at))
    return replace(found, until=min(found.until, at), gone=at) if fault.name == "delist" else found


def chain(parts: Sequence[Candles]) -> Candles:
    """Neighbouring runs of candles as one."""
    if len(parts) == 1:
        return parts[0]
    times, values = [part.time for part in parts], [part.values for part in parts]
    return Candles(np.concatenate(times), np.concatenate(values)) if parts else EMPTY
