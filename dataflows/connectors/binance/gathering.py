"""Catching up: the journal's past and REST's history joined, so that the live stream can go on from there.

A first start, a restart after a crash and a symbol that comes back are the same thing with another beginning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from dataflows.connectors.activations import Activations
from dataflows.connectors.binance.history import History, Span
from dataflows.connectors.binance.intake import Intake
from dataflows.connectors.binance.market import Ask
from dataflows.connectors.binance.outbox import Outbox
from dataflows.connectors.binance.ticks import ordered
from dataflows.connectors.journal import Journal
from engine.errors import StorageError
from engine.records import INTERVALS, Activation, Candle, Feed, Listing, Live, Tick, Universe
from engine.settings import Settings

CHUNK: Final = 2_000
MINUTE: Final = 60_000

Found = dict[tuple[str, str], list[Candle]]


@dataclass(frozen=True, slots=True)
class Past:
    """What the journal holds already: the newest close of each market, Tick, Universe, and what serves."""

    newest: dict[tuple[str, str], int]
    tick: int | None
    universe: Universe | None
    activations: dict[str, Activation]

    @classmethod
    def of(cls, journal: Journal) -> Past:
        """Read it; this is disk work."""
        return cls(
            journal.newest_all(), journal.newest_tick(), journal.last_universe(), journal.last_activations()
        )

    @property
    def newest_close(self) -> int:
        """The newest close of all."""
        return max(self.newest.values(), default=0)


class Gathering:
    """Fetches what is missing and hands it on in its one order; `told` hears the share that has come."""

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        history: History,
        intake: Intake,
        outbox: Outbox,
        activations: Activations,
        told: Callable[[float], None],
    ) -> None:
        self._journal = journal
        self._history = history
        self._intake = intake
        self._outbox = outbox
        self._activations = activations
        self._told = told
        self._intervals = settings.binance.intervals
        self._warm_up = settings.decide.warm_up
        self._decide = settings.decide.interval
        self._step = INTERVALS[settings.decide.interval]
        self._grace = round(settings.gather.grace * 1000)
        self._cross_check = round(settings.binance.cross_check_after * 1000)
        self._catch_up = round(settings.gather.catch_up * 1000)
        self.begun = asyncio.Event()
        """Set once it is journaled who is expected: what comes then has somebody to hear it."""

    async def start(self, listings: Sequence[Listing], server_ms: int, feed: Feed) -> Universe:
        """Journal who is expected, then everything up to `server_ms` (exchange time); open the markets."""
        past = await asyncio.to_thread(Past.of, self._journal)
        self._check(past, server_ms)
        self._intake.now = max(self._intake.now, server_ms)
        until = server_ms - self._cross_check
        asks = self._asks(listings, until, past.newest)
        universe = self._universe(listings, asks, past)
        live = Live((server_ms - self._catch_up) // MINUTE * MINUTE, feed)
        # A restart may be quicker than `catch_up`: what has closed already keeps the version that it had.
        serving = max(live.time, past.newest_close // self._step * self._step)
        activations = await self._activations.begin(past.activations, serving)
        self._outbox.add(
            [live, *activations] if universe is past.universe else [universe, live, *activations]
        )
        self.begun.set()
        found = await self._history.gather(asks, self._told)
        first = self._first_tick(asks, found, past)
        until = min(until, server_ms - self._grace) // self._step * self._step
        for chunk in chunks(ordered(found.values(), self._step, first, until)):
            self._outbox.add(chunk)
            await self._outbox.room()
        self._intake.ticks.start(max(until + self._step, first or 0))
        await self._open(listings, found, past.newest)
        return universe

    async def join(self, listings: Sequence[Listing]) -> None:
        """Bring symbols up to the others: their candles, without Ticks for what has been ticked."""
        await self._outbox.drained()
        newest = (await asyncio.to_thread(Past.of, self._journal)).newest
        asks = self._asks(listings, self._intake.proven - self._cross_check, newest)
        found = await self._history.gather(asks, self._told)
        for chunk in chunks(ordered(found.values(), self._step, None, 0)):
            self._intake.hand(one for one in chunk if isinstance(one, Candle))
            await self._outbox.room()
        await self._open(listings, found, newest)

    def _check(self, past: Past, server_ms: int) -> None:
        """Refuse to go on with a journal of another time: nothing the exchange says would be new to it."""
        if past.tick is not None and past.tick > server_ms + self._step:
            raise StorageError(
                f"{self._journal.database.path}: the journal knows {stamp(past.tick)}, the exchange's clock "
                f"says {stamp(server_ms)}: move the data folder away or point storage.folder elsewhere"
            )

    def expect(self, listings: Iterable[Listing]) -> None:
        """Keep what is heard of these until their history is there."""
        for one in listings:
            for interval in self._intervals:
                self._intake.closes.expect(one.symbol, interval)

    def _asks(
        self, listings: Iterable[Listing], until: int, newest: Mapping[tuple[str, str], int]
    ) -> list[Ask]:
        span = Span(self._warm_up, until, newest)
        asks = [span.ask(one.symbol, interval) for one in listings for interval in self._intervals]
        return [ask for ask in asks if ask is not None]

    def _universe(self, listings: Sequence[Listing], asks: Sequence[Ask], past: Past) -> Universe:
        """The journal's own where it still holds, else one for every moment that is to come."""
        known = past.universe
        if known is not None and known.listings == tuple(listings):
            return known
        if known is not None and past.tick is not None:
            return Universe(max(past.tick, known.time), tuple(listings))
        oldest = min((ask.first for ask in asks), default=self._step)
        return Universe((oldest - 1) // self._step * self._step, tuple(listings))

    def _first_tick(self, asks: Sequence[Ask], found: Found, past: Past) -> int | None:
        """The first close to tick: after the newest ticked one, but not before decision candles begin."""
        if past.tick is not None:
            asked = [ask.first for ask in asks if ask.interval == self._decide]
            return max(past.tick + self._step, min(asked, default=0))
        begun = [rows[0].time for (_, interval), rows in found.items() if interval == self._decide and rows]
        return min(begun, default=None)

    async def _open(
        self, listings: Iterable[Listing], found: Found, newest: Mapping[tuple[str, str], int]
    ) -> None:
        keys = [(one.symbol, interval) for one in listings for interval in self._intervals]
        lasts = {key: await self._last(key, found.get(key), newest.get(key)) for key in keys}
        # Opened together: a Tick must not find some of them closed.
        for key, last in lasts.items():
            self._intake.open(*key, last.time if last else newest.get(key), last)

    async def _last(
        self, key: tuple[str, str], rows: Sequence[Candle] | None, newest: int | None
    ) -> Candle | None:
        if rows:
            return rows[-1]
        return None if newest is None else await asyncio.to_thread(self._journal.candle, *key, newest)


def stamp(time: int) -> str:
    """ms UTC as people read it."""
    return datetime.fromtimestamp(time / 1000, UTC).isoformat(timespec="seconds")


def chunks(records: Iterable[Candle | Tick], size: int = CHUNK) -> Iterable[list[Candle | Tick]]:
    """Records in lists of at most `size`.

    >>> [len(chunk) for chunk in chunks([Tick(time) for time in range(5)], 2)]
    [2, 2, 1]
    """
    records = iter(records)
    while chunk := list(islice(records, size)):
        yield chunk
