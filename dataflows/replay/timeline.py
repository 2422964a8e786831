"""What the exchange pushes next: closes as planned from the candles, delayed ones, and regular ticks.

Events come out in the order of exchange time; each symbol has its own phase within the cadence.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from dataflows.replay.candles import MINUTE, SPANS, Row
from dataflows.replay.instruments import Market
from dataflows.replay.subscriptions import Stream
from dataflows.replay.venue import Venue

CADENCE: Final[dict[Market, int]] = {"spot": 2_000, "um": 250}
"""Exchange ms between two pushes of one kline stream."""

PLANNED: Final = 64
"""How many candles of the shortest interval are planned at once."""

THINNED: Final = 250
"""Wall ms that at least lie between two forming pushes of one stream."""


@dataclass(frozen=True, slots=True)
class Close:
    """A closed candle, due at `time`; `told` names the fault that it has already suffered."""

    time: int
    symbol: str
    interval: str
    opened: int
    row: Row
    spoilt: tuple[str, object] | None = None
    told: str = ""


@dataclass(frozen=True, slots=True)
class Beat:
    """A regular push of one kind of stream; `symbol` empty = every symbol."""

    time: int
    kind: str
    symbol: str
    fast: bool
    period: int


Event = Close | Beat


def phase_of(symbol: str, cadence: int) -> int:
    """Where in the cadence a symbol's pushes lie, in ms.

    >>> 0 < phase_of("BTCUSDT", 2000) < 2000
    True
    """
    return 1 + crc32(symbol.encode()) % (cadence - 1)


class Timeline:
    """The events after `start` for the streams that somebody wants.

    `speed` thins regular pushes; `forming` is exchange ms between pushes of an open candle, None = the
    exchange's own cadence, thinned, and none at all where the clock is stepped.
    """

    def __init__(self, venue: Venue, start: int, speed: float, forming: int | None = None) -> None:
        self.venue = venue
        self.cadence = CADENCE[venue.market]
        self._speed = speed
        self._forming = forming
        self._at = start + 1
        self._planned = start + 1
        self._plan: deque[Close] = deque()
        self._heap: list[tuple[int, int, Event]] = []
        self._count = 0
        self._wanted: dict[tuple[str, str], int] = {}
        self._beats: set[tuple[str, str, bool]] = set()

    @property
    def wanted(self) -> bool:
        """Whether anything that exists is asked for."""
        return bool(self._wanted or self._beats)

    def want(self, streams: Iterable[Stream]) -> None:
        """From now on these streams are wanted and no others; what was delayed stays due."""
        streams = [s for s in streams if not s.symbol or self.venue.standing(s.symbol) is not None]
        klines = sorted({(s.symbol, s.interval) for s in streams if s.kind == "kline"})
        self._wanted = {key: phase_of(key[0], self.cadence) for key in klines}
        self._beats = {(s.kind, s.symbol, s.fast) for s in streams if s.kind != "kline"}
        self._beats |= {("kline", symbol, False) for symbol, _ in klines if self._pushes_forming()}
        self.replan()

    def replan(self) -> None:
        """Forget what was planned: streams, listings or holes have changed."""
        self._plan.clear()
        self._planned = self._at
        self._heap = [item for item in self._heap if isinstance(item[2], Close)]
        heapq.heapify(self._heap)
        for kind, symbol, fast in sorted(self._beats):
            period = self._period(kind, symbol, fast)
            phase = phase_of(symbol or kind, self.cadence) % period
            self.push(
                Beat((self._at - phase + period - 1) // period * period + phase, kind, symbol, fast, period)
            )

    def _pushes_forming(self) -> bool:
        return self._forming is not None or self._speed != float("inf")

    def _period(self, kind: str, symbol: str, fast: bool) -> int:
        """Exchange ms between two pushes of that kind."""
        if self._speed == float("inf") and self._forming is None:
            spans = [SPANS[interval] for name, interval in self._wanted if symbol in ("", name)]
            return min(spans, default=5 * MINUTE)
        own = {"kline": self.cadence, "markPrice": 1_000 if fast else 3_000}.get(kind, 1_000)
        if self._forming is not None:
            return max(own, self._forming)
        return -(-max(own, int(self._speed * THINNED)) // own) * own

    def push(self, event: Event) -> None:
        """Make an event due at its time."""
        self._count += 1
        heapq.heappush(self._heap, (event.time, self._count, event))

    def peek(self, end: int) -> int | None:
        """The time of the next event, not after `end`."""
        while not self._plan and self._planned <= end and self._wanted:
            if self._heap and self._heap[0][0] < self._planned:
                break
            self._refill()
        times = [self._plan[0].time] if self._plan else []
        times += [self._heap[0][0]] if self._heap else []
        return min(times) if times and min(times) <= end else None

    def pop(self, upto: int) -> list[Event]:
        """Every event up to and including `upto`, in order; closes before the ticks of the same instant."""
        out: list[Event] = []
        while (due := self.peek(upto)) is not None:
            if self._plan and self._plan[0].time == due:
                out.append(self._plan.popleft())
                continue
            event = heapq.heappop(self._heap)[2]
            out.append(event)
            if isinstance(event, Beat):
                missed = (upto - event.time) // event.period
                later = event.time + (missed + 1) * event.period
                self.push(Beat(later, event.kind, event.symbol, event.fast, event.period))
        self._at = max(self._at, upto + 1)
        self._planned = max(self._planned, self._at)
        return out

    def _refill(self) -> None:
        """Plan the closes of the next stretch."""
        shortest = min(SPANS[interval] for _, interval in self._wanted)
        until = self._planned + PLANNED * shortest
        closes: list[Close] = []
        for (symbol, interval), phase in self._wanted.items():
            closes += self._closes(symbol, interval, self._planned - phase, until - phase)
        closes.sort(key=lambda close: (close.time, SPANS[close.interval]))
        self._plan.extend(closes)
        self._planned = until

    def _closes(self, symbol: str, interval: str, start: int, end: int) -> list[Close]:
        """Closes at a grid time in [start, end)."""
        found = self.venue.standing(symbol)
        if found is None:
            return []
        span, phase = SPANS[interval], self._wanted[symbol, interval]
        candles = self.venue.scheduled(found, interval, start - span, end - span)
        rows = zip(candles.time.tolist(), candles.values.tolist(), strict=True)
        return [Close(opened + span + phase, symbol, interval, opened, row) for opened, row in rows]
