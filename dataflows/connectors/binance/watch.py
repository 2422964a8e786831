"""Who is listed, asked on a timer: symbols join with their history and leave after their last moment."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from dataflows.connectors.binance.gathering import Gathering
from dataflows.connectors.binance.history import persist
from dataflows.connectors.binance.intake import Intake
from dataflows.connectors.binance.outbox import Outbox
from dataflows.connectors.binance.rest import Rest
from dataflows.connectors.binance.roster import Roster
from dataflows.connectors.binance.shards import Shards
from dataflows.connectors.binance.universe import Listed, asked, listed
from engine.errors import SourceError
from engine.records import INTERVALS, Listing, Universe
from engine.settings import Settings

NOTICE: Final = 60_000
"""Ms of stream time, beside the grace, between a change of the universe and the moment it counts for."""

NOBODY: Final = 10.0
"""Wall seconds until the exchange is asked again when it lists none of the symbols."""


class Watch:
    """Keeps the roster like the exchange's list; `listed` is its newest answer."""

    def __init__(
        self,
        settings: Settings,
        rest: Rest,
        intake: Intake,
        outbox: Outbox,
        gathering: Gathering,
        roster: Roster,
    ) -> None:
        self.listed = Listed((), {})
        self.info: Any = None
        self._market = settings.market
        self._segments = {symbol: settings.segment_of(symbol) for symbol in settings.all_symbols}
        self._step = INTERVALS[settings.decide.interval]
        self._notice = round(settings.gather.grace * 1000) + NOTICE
        self._every = settings.binance.check_every
        self._rest = rest
        self._intake = intake
        self._outbox = outbox
        self._gathering = gathering
        self._roster = roster

    async def first(self) -> Sequence[Listing]:
        """Ask until at least one of the symbols trades."""
        while not (await persist(self.ask)).listings:
            await asyncio.sleep(NOBODY)
        return self.listed.listings

    async def ask(self) -> Listed:
        """What the exchange lists now. Raises `SourceError`."""
        now = self._intake.clock.now_ms()
        names = asked(self._segments, self._market, now)
        self.info = await self._rest.exchange_info(names) if names else {"symbols": []}
        self.listed = listed(self.info, self._segments, self._market, now)
        return self.listed

    async def run(self, shards: Shards) -> None:
        """Look on the timer, in stream time but at most once a second, until cancelled."""
        clock = self._intake.clock
        while True:
            due = clock.now_ms() + self._every * 1000
            await asyncio.sleep(1.0)
            while (left := due - clock.now_ms()) > 0:
                await asyncio.sleep(min(1.0, left / 1000 / max(clock.rate, 1.0)) + 0.01)
            try:
                await self.ask()
            except SourceError:
                continue
            await self.follow(shards)

    async def follow(self, shards: Shards) -> None:
        """Make the roster what the exchange lists, with effect from a close that is still to come."""
        listings = self.listed.listings
        if listings == self._roster.expected:
            return
        if joining := self._roster.joining(listings):
            for one in joining:
                self._intake.drop(one.symbol)
            self._gathering.expect(joining)
            self._roster.join(joining)
            self.subscribe(shards)
            await self._gathering.join(joining)
        time = self._effective()
        self._outbox.add([Universe(time, listings)])
        self._roster.expect(listings, time)

    def leave(self, shards: Shards, ticked: int) -> None:
        """Stop reading who is not expected any more when the close `ticked` is over."""
        if gone := self._roster.gone(ticked):
            for symbol in gone:
                self._intake.drop(symbol)
            self.subscribe(shards)

    def subscribe(self, shards: Shards) -> None:
        """Read the frames of everybody on the roster."""
        self._intake.read(self._roster.reading.values())
        shards.read(self._roster.reading.values())

    def _effective(self) -> int:
        soonest = max(self._intake.now, self._intake.clock.now_ms()) + self._notice
        return max(-(-soonest // self._step) * self._step, self._intake.ticks.next or 0)
