"""One provider asked again and again: due questions out, new numbers in, whatever the other side does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from pydantic import SecretStr

from dataflows.connectors.hearing import Hearing
from dataflows.connectors.http.polite import Polite
from dataflows.connectors.providers.due import Due
from dataflows.connectors.providers.newest import Newest
from dataflows.connectors.providers.plug import Plug
from dataflows.connectors.providers.status import Standing, Trouble, body
from engine.errors import NotServed, RateLimited, SourceError, StorageError, Unreadable
from engine.providers.base import Provider, Request
from engine.records import Metric
from engine.settings.sources import Polled

LOOK: Final = 0.25
"""Wall seconds between two looks at the stream clock, which may stand still or leap."""

AHEAD: Final = 1.0
"""Wall seconds by which another clock may be ahead of the stream's without its numbers being held back."""

LONGEST_PAUSE: Final = 3600.0


class Poller:
    """Asks `provider` about `assets` every `polled.every` seconds of stream time, and hands on what is new.

    Between polls, what failed is asked again after pauses of wall time that grow from `again` seconds. The
    cache of answers (`Due`) spares questions whose answer is still fresh; a failing one leaves the newest
    numbers and their age as they are.

    Parameters
    ----------
    key
        Shown to the provider only, in the headers or the query that it asks for.
    floor
        Fewest wall seconds between the beginnings of two polls.
    """

    def __init__(
        self,
        name: str,
        provider: Provider,
        polled: Polled,
        key: SecretStr | None,
        polite: Polite,
        assets: Sequence[str],
        *,
        floor: float = 1.0,
        again: float = 60.0,
        wall: Callable[[], float] = time.monotonic,
        unix: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._plug = Plug(name, provider, polled, key)
        self._every_ms = 1000 * polled.every
        self._polite = polite
        self._assets = tuple(assets)
        self._floor = floor
        self._pause = again
        self._wall = wall
        self._unix = unix
        self._due = Due(polled.every)
        self._newest = Newest(name, provider.metrics, self._assets)
        self._standing = Standing(polled.every)
        self._told: dict[bytes, list[Any]] = {}
        self._hearing: Hearing | None = None
        self._began = 0.0
        self._at = 0
        self._again: float | None = None
        self._unfinished = 0
        self._troubled = False

    async def run(self, hearing: Hearing) -> None:
        """Poll for ever; see `Source`."""
        self._hearing = hearing
        try:
            await asyncio.to_thread(self._polite.budget.load)
        except StorageError as error:
            self._note(SourceError(str(error)))
        await hearing.ready_wait()
        whole = True
        while True:
            await self._poll(hearing, whole)
            whole = await self._rest(hearing)

    def told(self) -> Mapping[str, Mapping[str, Any]]:
        """How it is; see `Source`."""
        hearing = self._hearing
        now = hearing.now() if hearing and hearing.ready() else self._at
        unix = self._unix()
        return {
            self.name: body(
                self._standing, self._polite, self._newest.told(now), now, self._next(now, unix), unix
            )
        }

    async def _poll(self, hearing: Hearing, whole: bool) -> None:
        """Ask what is due, one question after another; `whole` False: only what was left open."""
        now = hearing.now()
        self._began, self._troubled = self._wall(), False
        self._at = now if whole else self._at
        self._polite.begin()
        try:
            asked = self._plug.requests(self._assets, now)
        except SourceError as error:
            self._note(error)
            self._over(hearing, max(1, self._due.open))
            return
        for key, request in self._due.of(asked, now, self._wall(), whole=whole):
            if self._polite.breaker.wait > 0:
                break
            await self._ask(hearing, key, request, now)
        await self._follow(hearing)
        self._over(hearing, self._due.open)

    async def _follow(self, hearing: Hearing) -> None:
        """Hand on what follows from the last answers together."""
        if not self._told:
            return
        try:
            rows = self._plug.derive([row for rows in self._told.values() for row in rows])
        except SourceError as error:
            self._note(error)
            return
        fresh, strange = self._newest.sift(rows, hearing.now())
        self._newest.keep(fresh)
        hearing.hand(fresh)
        if strange:
            self._note(Unreadable(strange))

    def _over(self, hearing: Hearing, unanswered: int) -> None:
        """A poll is over; what is unanswered will be asked again before the next."""
        due, now = self._due, hearing.now()
        self._standing.polled(due.known, unanswered, due.absent, now, troubled=self._troubled)
        self._unfinished = self._unfinished + 1 if unanswered else 0
        self._again = self._wall() + self._breath() if unanswered else None

    async def _ask(self, hearing: Hearing, key: bytes, request: Request, now: int) -> None:
        try:
            read = partial(self._read, hearing, key, request)
            call = self._plug.call(request)
            fresh, strange = await self._polite.ask(call, request.cost, self._plug, read)
        except NotServed as error:
            self._due.not_served(key, self._wall())
            self._note(error)
        except SourceError as error:
            if not isinstance(error, RateLimited):
                self._due.failed(key)
            self._note(error)
        else:
            rows = await self._past(hearing, fresh)
            self._newest.keep(rows)
            hearing.hand(rows)
            self._due.answered(key, len(rows), now)
            self._standing.succeeded_at = int(self._unix() * 1000)
            self._standing.heard_at = hearing.now()
            if strange:
                self._note(Unreadable(strange))

    def _read(
        self, hearing: Hearing, key: bytes, request: Request, content: bytes
    ) -> tuple[list[Metric], str]:
        rows = self._plug.parse(request, content)
        if self._plug.derives:
            self._told[key] = rows
        ahead = 1000 * AHEAD * max(1.0, hearing.clock.rate)
        return self._newest.sift(rows, hearing.now() + int(ahead))

    async def _past(self, hearing: Hearing, fresh: Sequence[Metric]) -> list[Metric]:
        """Those whose time has come, in a moment: no two clocks agree."""
        until = self._wall() + AHEAD
        while any(row.time > hearing.now() for row in fresh) and self._wall() < until:
            await asyncio.sleep(LOOK / 10)
        now = hearing.now()
        return [row for row in fresh if row.time <= now]

    def _note(self, error: SourceError) -> None:
        self._troubled = True
        self._standing.trouble = Trouble(type(error).__name__, str(error), int(self._unix() * 1000))

    def _breath(self) -> float:
        """Wall seconds until what is open is asked again."""
        growing = min(LONGEST_PAUSE, self._pause * 2.0 ** min(self._unfinished - 1, 32))
        return self._polite.breaker.wait or growing

    async def _rest(self, hearing: Hearing) -> bool:
        """Return when it is time to ask: True for a whole poll, False for what was left open."""
        while True:
            if self._wall() >= self._began + self._floor:
                if hearing.now() >= self._at + self._every_ms:
                    return True
                if self._again is not None and self._wall() >= self._again:
                    return False
            await asyncio.sleep(min(LOOK, self._floor))

    def _next(self, now: int, unix: float) -> int | None:
        """When it will be asked next, ms of this machine; None where the stream's time stands still."""
        hearing = self._hearing
        rate = hearing.clock.rate if hearing else 0.0
        if not self._at:
            return None
        waits = [(self._at + self._every_ms - now) / 1000 / rate] if rate > 0 else []
        if self._again is not None:
            waits.append(self._again - self._wall())
        return int((unix + max(0.0, min(waits))) * 1000) if waits else None
