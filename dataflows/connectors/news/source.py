"""The news: each feed of the settings polled by a task of its own, a story told once over all of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dataflows.connectors.hearing import Hearing
from dataflows.connectors.news import status
from dataflows.connectors.news.desk import Desk, Known
from dataflows.connectors.news.feed import UNHURRIED, Feed, Pace
from dataflows.connectors.news.fetch import Fetch
from engine.settings import Settings


class NewsSource:
    """The feeds of `news` in the settings as one source.

    Parameters
    ----------
    known
        The headlines the journal still holds, oldest first: what a restart must not tell again. It is called
        at each start, in a thread of the source's own, and may raise `StorageError`.
    rng
        What delays are drawn from; None = from the system's.
    fetch
        What asks the feeds; None = within the limits of `Fetch`.
    pace
        How patiently they are asked.
    unix
        Seconds since 1970 on this machine.
    """

    def __init__(
        self,
        settings: Settings,
        known: Known,
        *,
        rng: np.random.Generator | None = None,
        fetch: Fetch | None = None,
        pace: Pace = UNHURRIED,
        unix: Callable[[], float] = time.time,
    ) -> None:
        news = settings.news
        rng = rng or np.random.default_rng()
        self._enabled = news.enabled
        self._desk = Desk(known, news.window)
        self._hearing: Hearing | None = None
        self._unix = unix
        asking = fetch or Fetch(news.contact)
        self._off = [name for name, feed in news.feeds.items() if not (news.enabled and feed.enabled)]
        self.feeds = [
            Feed(
                name,
                feed,
                feed.every or news.every,
                fetch=asking,
                desk=self._desk,
                rng=rng,
                local=news.local,
                pace=pace,
                unix=unix,
            )
            for name, feed in news.feeds.items()
            if name not in self._off
        ]

    async def run(self, hearing: Hearing) -> None:
        """Poll for ever. Raises `StorageError` when what is known cannot be read."""
        self._hearing = hearing
        await hearing.ready_wait()
        async with self._desk, asyncio.TaskGroup() as group:
            for feed in self.feeds:
                group.create_task(feed.run(hearing))
            # Without any feed there is nothing to do, for ever.
            await asyncio.Event().wait()

    def told(self) -> Mapping[str, Mapping[str, Any]]:
        """Each feed as news.<name>, and all of them as news."""
        now = self._hearing.now() if self._hearing else int(self._unix() * 1000)
        off = {f"news.{name}": status.blank("disabled", "switched off") for name in self._off}
        if not self.feeds:
            why = "no feed is switched on" if self._enabled else "switched off"
            return {"news": status.blank("disabled", why), **off}
        bodies = {f"news.{feed.name}": status.body(feed, now) for feed in self.feeds}
        return {"news": status.summary(self.feeds, now), **bodies, **off}
