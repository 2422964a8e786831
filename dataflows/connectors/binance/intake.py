"""What every frame and every answer of REST comes to: prices, closes, Ticks, and what is still to be asked.

It does no I/O of its own and never waits; the order in which it is told things is the order of the journal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from dataflows.connectors.background import Mailbox
from dataflows.connectors.binance import parse
from dataflows.connectors.binance.closes import Closes
from dataflows.connectors.binance.market import Ask
from dataflows.connectors.binance.outbox import Outbox
from dataflows.connectors.binance.ticks import Ticks
from dataflows.connectors.clock import StreamClock
from engine.errors import CorruptRecord
from engine.records import INTERVALS, Candle, Correction, Listing, Price

QUIET: Final = 10.0
"""Wall seconds without a frame of any symbol after which stream time is the clock's."""

AHEAD: Final = (60_000, 10_000)
"""Ms of stream time that an event may be ahead of the clock: at rest, and more per unit of its rate."""

MOST_WAITING: Final = 10_000

Verdict = Literal["read", "ends", "doubted"]
"""What a frame came to: read, the announced end of its connection, or a time that must be confirmed first."""

STALL: Final = 1.0
"""Wall seconds between two turns after which the machine, not the exchange, was quiet."""

REMEMBERED: Final = 60.0
"""Wall seconds for which a refused frame is named."""


@dataclass(slots=True)
class Refusals:
    """Frames and rows that could not be true."""

    count: int = 0
    last: str = ""
    wall: float = -1e9

    def note(self, error: Exception, wall: float) -> None:
        self.count += 1
        self.last, self.wall = str(error), wall


class Intake:
    """The feed's one state, told by sockets (`hear`), by REST (`answered`, `failed`) and by time (`turn`).

    `now` is the stream time, ms UTC: the largest event time heard, the clock's when nothing is heard.
    """

    def __init__(
        self,
        closes: Closes,
        ticks: Ticks,
        clock: StreamClock,
        outbox: Outbox,
        mailbox: Mailbox,
        *,
        wall: Callable[[], float] = time.monotonic,
    ) -> None:
        self.closes = closes
        self.ticks = ticks
        self.clock = clock
        self.now = 0
        self.refused = Refusals()
        self.seen: dict[tuple[str, str], int] = {}
        """When each market's newest kline event was, closed or forming, ms UTC."""
        self._outbox = outbox
        self._mailbox = mailbox
        self._wall = wall
        self._heard = self._turned = wall()
        self._proven = 0
        self._prices: dict[str, int] = {}
        self._listings: dict[str, Listing] = {}

    @property
    def crowded(self) -> bool:
        """So many closes wait for history or a Tick that the sockets should be read more slowly."""
        return self.closes.early >= MOST_WAITING or self.ticks.waiting >= MOST_WAITING

    @property
    def quiet(self) -> bool:
        return self._wall() - self._heard >= QUIET

    @property
    def proven(self) -> int:
        """A time that has certainly passed at the exchange, ms UTC: what closed before it is final."""
        return max(self._proven, self.clock.sampled_ms)

    def read(self, listings: Iterable[Listing]) -> None:
        """The markets whose frames are read from now on."""
        self._listings = {one.exchange_symbol: one for one in listings}

    def hear(self, raw: bytes, *, confirmed: bool = False) -> Verdict:
        """A frame came. One from ahead of the clock must be told again once the clock was `confirmed`."""
        wall = self._wall()
        try:
            heard = parse.frame(raw, self._listings)
            if heard is None:
                return "read"
            if self._ahead(heard.time):
                if not confirmed:
                    return "doubted"
                raise CorruptRecord(f"event of {heard.time} is ahead of the exchange's clock")
        except CorruptRecord as error:
            self.refused.note(error, wall)
            return "read"
        if isinstance(heard, parse.Shutdown):
            return "ends"
        self._heard = wall
        self._proven = max(self._proven, heard.time)
        self.now = max(self.now, heard.time)
        self._note(heard)
        if heard.candle is not None:
            self.hand(self.closes.arrived(heard.candle, self.now, wall))
        return "read"

    def hand(self, records: Iterable[Candle | Correction]) -> None:
        """Hand closes on, behind the Tick they belong behind."""
        self._outbox.add(self.ticks.admit(records))

    def answered(self, ask: Ask, candles: Iterable[Candle]) -> None:
        """REST answered `ask`."""
        self.hand(self.closes.answered(ask, candles, self.now, self._wall()))

    def failed(self, ask: Ask) -> None:
        """REST did not answer `ask`."""
        self.closes.failed(ask, self.now, self._wall())

    def open(self, symbol: str, interval: str, last: int | None, newest: Candle | None) -> None:
        """A market's history is handed on up to `last`, its candle being `newest`."""
        # Silence is counted from here for a market of which nothing has been heard.
        self.seen[symbol, interval] = self.now
        self.hand(self.closes.open(symbol, interval, last, newest, self.now, self._wall()))

    def stalled(self) -> None:
        """Frames may be waiting that nobody could read: that is no silence."""
        self._heard = self._wall()

    def turn(self) -> list[Ask]:
        """Time has passed: hand on what is due by now, and say what REST must be asked."""
        wall = self._wall()
        if wall - self._turned > STALL:
            self.stalled()
        self._turned = wall
        if self.quiet:
            self.now = max(self.now, self._time_told())
        self.hand(self.closes.expired(self.now, wall))
        asks = self.closes.asks(self.now, wall)
        self._outbox.add(self.ticks.advance(self.now, wall, self._pending))
        return asks

    def silent(self, after: int) -> dict[tuple[str, str], int]:
        """Ms since the last kline event, where that is too long ago.

        Under (symbol, "") where every interval of a symbol has been silent for `after` ms, else under
        (symbol, interval) of those that have been so for one interval longer.
        """
        newest: dict[str, int] = {}
        for (symbol, _), heard in self.seen.items():
            newest[symbol] = max(heard, newest.get(symbol, 0))
        out = {
            (symbol, ""): self.now - heard for symbol, heard in newest.items() if self.now - heard >= after
        }
        for (symbol, interval), heard in self.seen.items():
            if (symbol, "") not in out and self.now - heard >= after + INTERVALS[interval]:
                out[symbol, interval] = self.now - heard
        return out

    def drop(self, symbol: str) -> None:
        """Forget a symbol."""
        self.closes.drop(symbol)
        self._prices.pop(symbol, None)
        self._listings = {name: one for name, one in self._listings.items() if one.symbol != symbol}
        self.seen = {key: heard for key, heard in self.seen.items() if key[0] != symbol}

    def _time_told(self) -> int:
        """What the exchange says the time is; where it is lost, real time goes on and a replay may not."""
        lost = self.clock.rate == 1.0 and self.clock.sample_age >= QUIET
        return self.clock.now_ms() if lost else self.clock.sampled_ms

    def _pending(self, time: int) -> bool:
        return self.closes.pending(time, self.ticks.step)

    def _ahead(self, event: int) -> bool:
        limit = self.clock.now_ms() + AHEAD[0] + AHEAD[1] * self.clock.rate
        return event > max(limit, self.now + AHEAD[0])

    def _note(self, heard: parse.Heard) -> None:
        if heard.interval:
            self.seen[heard.symbol, heard.interval] = heard.time
        if heard.time >= self._prices.get(heard.symbol, 0):
            self._prices[heard.symbol] = heard.time
            self._mailbox.put_latest(("price", heard.symbol), Price(heard.symbol, heard.time, heard.price))
