"""The rounds of questions: the premium of all contracts, each contract's statistics, its settled rates.

Rounds keep stream time, with a second of wall time at least between two. What one question meets ends no
round; what the exchange forbids makes all of them wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from dataflows.connectors.binance.backoff import Backoff
from dataflows.connectors.futures.client import Client
from dataflows.connectors.futures.market import Marks
from dataflows.connectors.futures.sieve import MINUTE, Sieve
from dataflows.connectors.hearing import Hearing
from engine.errors import SourceError
from engine.liquidations import LiquidationLevels
from engine.providers.base import DAY, HOUR, Request
from engine.providers.binance import INTEREST, MOST_ROWS, PERIOD, STATISTICS, Binance
from engine.records import Metric
from engine.settings import Settings

LAG: Final = 30_000
"""Ms of stream time behind a full period at which it is asked for: it must have been counted."""

HISTORY: Final = 48 * HOUR
"""How far back the past is handed on at the start, one number an hour: readers compare with it."""

OLDER: Final = 1
"""Pages of open interest before the newest one that the levels are built from: three days and a half."""

FLOOR: Final = 1.0

SETTLED: Final = 7 * DAY + HOUR
"""How far back settled rates are asked for at the start: no reader looks further."""


class Polls:
    """Asks for `assets`, hands on what is new; `next` is when it asks again, ms UTC of this machine."""

    def __init__(
        self,
        settings: Settings,
        assets: Sequence[str],
        provider: Binance,
        client: Client,
        sieve: Sieve,
        marks: Marks,
        backoff: Backoff,
        *,
        floor: float = FLOOR,
    ) -> None:
        self.listed: frozenset[str] = frozenset()
        self.next: int | None = None
        self.levels = {asset: LiquidationLevels() for asset in assets}
        self._futures = settings.futures
        self._assets = tuple(assets)
        self._provider = provider
        self._client = client
        self._sieve = sieve
        self._marks = marks
        self._backoff = backoff
        self._floor = floor
        self._known = asyncio.Event()

    async def premium(self, hearing: Hearing) -> None:
        """Ask for mark, index and gathering rate of every contract, for ever."""
        failed = 0
        while True:
            if await self._patiently(partial(self._premium, hearing)):
                failed = 0
                await self._rest(hearing, round(self._futures.premium_every * 1000), 0)
            else:
                await asyncio.sleep(self._backoff.delay(failed))
                failed += 1

    async def statistics(self, hearing: Hearing) -> None:
        """Ask for the statistics of every contract, for ever."""
        await self._known.wait()
        while True:
            for asset in self._listed:
                for path in STATISTICS:
                    await self._patiently(partial(self._statistic, hearing, path, asset))
            await self._rest(hearing, round(self._futures.every * 1000), LAG)

    async def funding(self, hearing: Hearing) -> None:
        """Ask for the settled rates of every contract, for ever: some settle every hour."""
        await self._known.wait()
        while True:
            for asset in self._listed:
                await self._patiently(partial(self._funding, hearing, asset))
            await self._rest(hearing, HOUR, LAG)

    @property
    def _listed(self) -> list[str]:
        """The assets that have a contract, in their order."""
        return [asset for asset in self._assets if asset in self.listed]

    async def _patiently(self, ask: Callable[[], Awaitable[None]]) -> bool:
        """Ask, after the time that the exchange wants to be left alone; False where it was in vain."""
        while True:
            try:
                await ask()
            except SourceError:
                if (wait := self._client.retry_in) <= 0:
                    return False
                await asyncio.sleep(wait)
            else:
                return True

    async def _premium(self, hearing: Hearing) -> None:
        found = await self._read(self._provider.premium(hearing.now()))
        mine = [metric for metric in found if metric.asset in self.levels]
        self.listed = frozenset(metric.asset for metric in mine)
        self._hand(hearing, mine)
        self._known.set()

    async def _funding(self, hearing: Hearing, asset: str) -> None:
        now = hearing.now()
        newest = self._sieve.newest("binance.funding", asset)
        # The one before the first new one tells how long its interval was.
        since = now - SETTLED if newest is None else newest - MINUTE
        request = self._provider.funding(asset, now, since)
        if request is not None:
            self._hand(hearing, await self._read(request))

    async def _statistic(self, hearing: Hearing, path: str, asset: str) -> None:
        now = hearing.now()
        name = f"binance.{next(iter(STATISTICS[path].values()))}"
        newest = self._sieve.newest(name, asset)
        request = self._provider.statistic(path, asset, now, rows_since(newest, now))
        if request is None:
            return
        found = await self._read(request)
        if path == INTEREST:
            if newest is None:
                found = await self._older(asset, now, found)
            found += self._levels(asset, found)
        self._hand(hearing, thinned(found, now - HISTORY) if newest is None else found)

    async def _older(self, asset: str, now: int, found: list[Metric]) -> list[Metric]:
        """Open interest from before what was found, as far as it is to be had."""
        for _ in range(OLDER):
            if not found:
                break
            until = found[0].time - 1
            request = self._provider.statistic(INTEREST, asset, now, MOST_ROWS, until)
            if request is not None:
                found = await self._read(request) + found
        return found

    def _levels(self, asset: str, found: Sequence[Metric]) -> list[Metric]:
        """The estimated levels after these numbers of open interest."""
        levels = self.levels[asset]
        coins = {metric.time: metric.value for metric in found if metric.name == "binance.open_interest"}
        usd = {metric.time: metric.value for metric in found if metric.name == "binance.open_interest_usd"}
        times = sorted(at for at in coins if coins[at] > 0 and at in usd)
        new = [at for at in times if levels.time is None or at > levels.time]
        for at in new:
            low, high = self._marks.range(asset) if at == new[-1] else (None, None)
            levels.update(at, coins[at], usd[at] / coins[at], low, high)
        if not new or levels.time is None:
            return []
        above, below = levels.nearest()
        told = {"liquidation_level_above": above, "liquidation_level_below": below}
        return [
            Metric(f"binance.{name}", asset, levels.time, value)
            for name, value in told.items()
            if value is not None
        ]

    async def _read(self, request: Request) -> list[Metric]:
        body = await self._client.get(request)
        try:
            return list(self._provider.parse(request, body))
        except SourceError as error:
            self._client.unreadable(error)
            raise

    def _hand(self, hearing: Hearing, found: Sequence[Metric]) -> None:
        hearing.hand(list(self._sieve.new(found, hearing.now())))

    async def _rest(self, hearing: Hearing, every: int, lag: int) -> None:
        """Wait for the next full `every` ms of stream time, and `lag` longer."""
        lag = min(lag, every // 2)
        due = ((hearing.now() - lag) // every + 1) * every + lag
        self.next = int(time.time() * 1000 + max(due - hearing.now(), 0) / max(hearing.clock.rate, 1e-3))
        await asyncio.sleep(self._floor)
        while (left := due - hearing.now()) > 0:
            await asyncio.sleep(min(1.0, left / 1000 / max(hearing.clock.rate, 1.0)) + 0.01)


def rows_since(newest: int | None, now: int) -> int:
    """How many rows have come since `newest`, with one to compare; as many as there are at first.

    >>> rows_since(None, HOUR), rows_since(0, HOUR)
    (500, 14)
    """
    return MOST_ROWS if newest is None else min((now - newest) // PERIOD + 2, MOST_ROWS)


def thinned(found: Sequence[Metric], since: int) -> list[Metric]:
    """Of a long past only full hours after `since`, and the newest."""
    newest = max((metric.time for metric in found), default=0)
    return [
        metric
        for metric in found
        if metric.time == newest or (metric.time > since and metric.time % HOUR == 0)
    ]
