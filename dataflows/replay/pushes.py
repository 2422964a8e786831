"""What the exchange says in its streams: closed candles as the faults leave them, and the regular pushes.

An event comes in, frames go to the broadcast; the order of events is the timeline's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson

from dataflows.replay.broadcast import Broadcast
from dataflows.replay.candles import SPANS, Row, floor
from dataflows.replay.faults import Fault
from dataflows.replay.frames import Writers, spoil
from dataflows.replay.futures import Futures
from dataflows.replay.subscriptions import Stream
from dataflows.replay.timeline import Beat, Close, Event, Timeline
from dataflows.replay.venue import Venue

Body = dict[str, Any]


class Pushes:
    """Turns events of `timeline` into frames; what a fault delays goes back into it."""

    def __init__(
        self,
        venue: Venue,
        timeline: Timeline,
        broadcast: Broadcast,
        writers: Writers,
        futures: Futures,
        wall: Callable[[], float] = time.monotonic,
    ) -> None:
        self._venue = venue
        self._timeline = timeline
        self._broadcast = broadcast
        self._writers = writers
        self._futures = futures
        self._wall = wall
        self._klines: dict[str, list[Stream]] = {}

    def want(self, streams: list[Stream]) -> None:
        """From now on these streams are pushed."""
        self._klines = {}
        for stream in streams:
            if stream.kind == "kline":
                self._klines.setdefault(stream.symbol, []).append(stream)
        self._timeline.want(streams)

    def push(self, event: Event) -> None:
        if isinstance(event, Close):
            self._close(event)
        elif event.kind == "kline":
            self._forming(event)
        elif event.symbol:
            self._regular(event)
        else:
            self._all(event)

    def _close(self, close: Close) -> None:
        span = SPANS[close.interval]
        if close.told == "corrected":
            self._venue.correct(close.symbol, close.interval, close.opened, close.row)
        faults = self._venue.faults.closes(close.symbol, close.interval, close.opened + span, self._wall())
        for fault in () if close.told else faults:
            if not self._struck(close, fault, span):
                return
            if fault.name == "bad_price":
                close = replace(close, spoilt=(fault.field, fault.value))
        self._kline(close.symbol, close.interval, close.time, close.opened, close.row, True, close.spoilt)

    def _struck(self, close: Close, fault: Fault, span: int) -> bool:
        """Let one fault at a close; whether it is still pushed now."""
        by = int(fault.by * 1000)
        delay = {"late": by, "corrected": by, "out_of_order": span + 1}
        if fault.name not in ("missing_close", "bad_price"):
            row = corrected(close.row) if fault.name == "corrected" else close.row
            later = close.time + delay.get(fault.name, 0)
            self._timeline.push(replace(close, time=later, row=row, told=fault.name))
        return fault.name in ("duplicate", "corrected", "bad_price")

    def _kline(
        self,
        symbol: str,
        interval: str,
        now: int,
        opened: int,
        row: Row,
        closed: bool,
        spoilt: tuple[str, object] | None = None,
    ) -> None:
        writer = self._writers.of(symbol)

        def text(micro: bool) -> bytes:
            body = writer.kline(now, opened, SPANS[interval], interval, row, closed, micro)
            return (spoil(body, *spoilt) if spoilt else body).encode()

        self._broadcast.deliver(f"{symbol.lower()}@kline_{interval}", symbol, now, text)

    def _forming(self, beat: Beat) -> None:
        """The candles in progress; not those that have begun with this very tick."""
        for stream in self._klines.get(beat.symbol, ()):
            opened = floor(beat.time, SPANS[stream.interval])
            if beat.time - opened >= self._timeline.cadence:
                row = self._venue.forming(beat.symbol, stream.interval, beat.time)
                if row is not None:
                    self._kline(beat.symbol, stream.interval, beat.time, opened, row, False)

    def _regular(self, beat: Beat) -> None:
        name = f"{beat.symbol.lower()}@{beat.kind}{'@1s' if beat.fast else ''}"
        for body in self._bodies(beat, beat.symbol):
            self._broadcast.deliver(name, beat.symbol, beat.time, dumped([body], single=True))

    def _all(self, beat: Beat) -> None:
        """A stream of all symbols: one list a tick, but liquidations one by one."""
        name = f"!{beat.kind}@arr{'@1s' if beat.fast else ''}"
        listed = [entry.symbol for entry in self._venue.symbols(beat.time)]
        bodies = [body for symbol in listed for body in self._bodies(beat, symbol)]
        if beat.kind == "forceOrder":
            for body in bodies:
                self._broadcast.deliver(name, "", beat.time, dumped([body], single=True))
        elif bodies:
            self._broadcast.deliver(name, "", beat.time, dumped(bodies, single=False))

    def _bodies(self, beat: Beat, symbol: str) -> list[Body]:
        """The events of one symbol that such a tick brings."""
        found = self._venue.listed(symbol, beat.time)
        if found is None or found.status != "TRADING":
            return []
        writer = self._writers.of(symbol)
        if beat.kind == "forceOrder":
            since = beat.time - beat.period + 1
            orders = self._venue.source.liquidations(found.source, since, beat.time + 1)
            return [writer.force_order(*order) for order in orders]
        ticker = self._venue.ticker(symbol, beat.time)
        if ticker is None:
            return []
        if beat.kind == "miniTicker":
            return [writer.mini_ticker(beat.time, ticker, self._venue.market)]
        index = self._futures.index(symbol, ticker.close, beat.time)
        funding = self._futures.funding_now(symbol, beat.time)
        return [writer.mark_price(beat.time, ticker.close, index, *funding)]


def dumped(bodies: list[Body], *, single: bool) -> Callable[[bool], bytes]:
    """The JSON of one event or of a list, its event time in microseconds where asked."""

    def text(micro: bool) -> bytes:
        timed = [{**body, "E": body["E"] * 1000} for body in bodies] if micro else bodies
        return orjson.dumps(timed[0] if single else timed)

    return text


def corrected(row: Row) -> list[float]:
    """A candle as it is told later: its close, and what follows from it, a thousandth higher.

    >>> corrected([10.0, 11.0, 9.0, 10.0, 5.0, 50.0, 3.0, 2.0, 20.0])[:4]
    [10.0, 11.0, 9.0, 10.01]
    """
    close = round(row[3] * 1.001, 8)
    return [row[0], max(row[1], close), row[2], close, *row[4:]]
