"""One feed, polled for ever: when it is asked, what it answered, and how long it is left alone.

Polls are due in stream time, waiting after a failure is in wall time: a server's patience does not run faster
in a replay.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, Literal

import numpy as np

from dataflows.connectors.binance.backoff import Backoff
from dataflows.connectors.hearing import Hearing
from dataflows.connectors.news.desk import Desk, Found
from dataflows.connectors.news.fetch import Fetch, Validators
from engine.errors import RateLimited, Refused, SourceError, Unreadable
from engine.settings.sources import FeedSource

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a feed is asked at most, in wall seconds.

    `floor` lies between two questions in any replay; the first is put off by up to `spread`, so that a start
    is no burst. After a failure `again`, doubled with each further one up to `most`; after a refusal `most`.
    Up to the share `jitter` is taken off at random. The stream clock is looked at every `look` at
    least: a replay may change its speed.
    """

    floor: float = 1.0
    spread: float = 3.0
    again: float = 30.0
    most: float = 3600.0
    jitter: float = 0.3
    look: float = 0.5


UNHURRIED: Final = Pace()


@dataclass(slots=True)
class Standing:
    """How a feed is; times are ms of this machine, `newest` is of the stream."""

    failures: int = 0
    error: SourceError | None = None
    error_at: int | None = None
    last_success: int | None = None
    next: int | None = None
    retry_at: int | None = None
    seconds: float | None = None
    asking: bool = False
    items: int = 0
    newest: int | None = None
    assets: set[str] = field(default_factory=set)

    @property
    def refused(self) -> bool:
        return isinstance(self.error, Refused)


class Feed:
    """Asks one feed and hands on what is new in it; `standing` says how it is.

    `every` is in seconds of stream time; `local` whether it may be on this machine.
    """

    def __init__(
        self,
        name: str,
        source: FeedSource,
        every: float,
        *,
        fetch: Fetch,
        desk: Desk,
        rng: np.random.Generator,
        local: bool = False,
        pace: Pace = UNHURRIED,
        unix: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.source = source
        self.every = every
        self.standing = Standing()
        self._fetch = fetch
        self._desk = desk
        self._rng = rng
        self._local = local
        self._pace = pace
        self._unix = unix
        self._backoff = Backoff(pace.again, 2.0, pace.most, pace.jitter, rng=rng)
        self._validators = Validators()
        self._digest = b""

    @property
    def weight(self) -> float:
        return self.source.weight

    @property
    def kind(self) -> Literal["news", "social"]:
        return self.source.kind

    async def run(self, hearing: Hearing) -> None:
        """Ask until cancelled."""
        await asyncio.sleep(self._pace.spread * self._rng.random())
        while True:
            asked = hearing.now()
            await self.ask(hearing)
            if self.standing.error is None:
                await self._due(hearing, asked)
            else:
                await self._back_off(self.standing.error)

    async def ask(self, hearing: Hearing) -> None:
        """Ask once; what goes wrong stands in `standing`, and nothing is raised."""
        self.standing.asking = True
        try:
            await self._ask(hearing)
        except SourceError as error:
            self._failed(error)
        except Exception as error:
            # What strangers send may break anything; the other feeds go on.
            log.exception("feed %s could not be read", self.name)
            self._failed(Unreadable(f"it broke the reader: {type(error).__name__}"))
        else:
            self._succeeded()
        finally:
            self.standing.asking = False

    async def _ask(self, hearing: Hearing) -> None:
        page = await self._fetch.get(self.source.url, self._validators, local=self._local)
        self.standing.seconds = page.seconds
        if page.body is None:
            return
        digest = blake2b(page.body).digest()
        if digest == self._digest:
            # Many servers send the same again: reading it costs more than having it sent.
            return
        now = hearing.now()
        found = await self._desk.read(page.body, page.content_type, self, now)
        # Only now: of an answer that could not be read nothing is known that could be unchanged.
        self._validators, self._digest = page.validators, digest
        self._heard(found, hearing)

    def _heard(self, found: Found, hearing: Hearing) -> None:
        standing = self.standing
        standing.items = found.items
        dates = [time for time in (standing.newest, found.newest) if time is not None]
        standing.newest = max(dates, default=None)
        for headline in found.headlines:
            standing.assets.update(headline.assets)
        if found.headlines:
            hearing.hand(found.headlines)

    def _succeeded(self) -> None:
        if self.standing.failures:
            log.info("feed %s answers again", self.name)
        self.standing.failures = 0
        self.standing.error = self.standing.retry_at = None
        self.standing.last_success = self._now()

    def _failed(self, error: SourceError) -> None:
        if not self.standing.failures:
            log.warning("feed %s: %s", self.name, error)
        self.standing.failures += 1
        self.standing.error = error
        self.standing.error_at = self._now()

    async def _due(self, hearing: Hearing, asked: int) -> None:
        """Wait for the next question: `every` of stream time after the last was asked."""
        due = asked + int(self.every * 1000)
        rate = max(hearing.clock.rate, 1e-3)
        self.standing.next = self._now(max(self._pace.floor, (due - hearing.now()) / 1000 / rate))
        await asyncio.sleep(self._pace.floor)
        while (left := due - hearing.now()) > 0:
            await asyncio.sleep(min(self._pace.look, left / 1000 / rate))

    async def _back_off(self, error: SourceError) -> None:
        refused = self.standing.refused
        wait = self._pace.most if refused else self._backoff.delay(self.standing.failures - 1)
        if isinstance(error, RateLimited):
            wait = max(wait, error.retry_after)
        wait = max(wait, self._pace.floor)
        self.standing.next = self.standing.retry_at = self._now(wait)
        await asyncio.sleep(wait)

    def _now(self, ahead: float = 0.0) -> int:
        return int((self._unix() + ahead) * 1000)
