"""Feeds in words and bytes, a hearing whose clock the test turns, and a source that runs inside a block."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from zlib import crc32

import numpy as np

from dataflows.connectors.background import Mailbox
from dataflows.connectors.binance.outbox import Outbox
from dataflows.connectors.clock import StreamClock
from dataflows.connectors.hearing import Hearing
from dataflows.connectors.news import NewsSource
from dataflows.connectors.news.feed import Pace
from dataflows.connectors.news.fetch import Fetch
from engine.records import Headline, Metric
from engine.settings import Settings
from tests.dataflows.connectors.news.names import trusting
from tests.dataflows.connectors.news.site import Reply, Site, page

NOW = 1_700_000_000_000
HOUR = 3_600_000
DEADLINE = 3.0
HASTY = Pace(floor=0.01, spread=0.0, again=0.02, most=30.0, jitter=0.0, look=0.01)

Item = tuple[str, int | None]


class Journal:
    """Takes records and keeps none."""

    def append(self, records: Iterable[Any]) -> list[int]:
        return [0 for _ in records]


class Ears(Hearing):
    """Hears into a list; the stream stands at `NOW` until the test moves it."""

    def __init__(self, *, ready: bool = True) -> None:
        self.wall = 0.0
        super().__init__(
            StreamClock(wall=lambda: self.wall, unix=lambda: self.wall),
            Outbox(Journal(), Mailbox()),
            lambda: 0,
        )
        self.heard: list[Headline] = []
        if ready:
            self.begin()

    def begin(self) -> None:
        self.clock.sample(self.wall, self.wall, NOW)

    def hand(self, records: Iterable[Metric | Headline]) -> None:
        for record in records:
            assert isinstance(record, Headline)
            self.heard.append(replace(record, learned=self.now()))

    @property
    def titles(self) -> list[str]:
        return [headline.title for headline in self.heard]


def rss(*items: Item, extra: str = "", built: int = NOW) -> bytes:
    """An RSS feed; each item is a title and when it was published, ms UTC, None = it does not say."""
    rows = "".join(
        f"<item><title>{title}</title><link>https://coin.example/{crc32(title.encode())}</link>"
        + ("" if at is None else f"<pubDate>{rfc822(at)}</pubDate>")
        + "</item>"
        for title, at in items
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><rss version="2.0"><channel><title>Coins</title>'
        f"<lastBuildDate>{rfc822(built)}</lastBuildDate>{extra}{rows}</channel></rss>"
    ).encode()


def rfc822(at: int) -> str:
    return format_datetime(datetime.fromtimestamp(at / 1000, UTC))


def feed(*items: Item, etag: str = "") -> Reply:
    return page(rss(*items), content_type="application/rss+xml", **({"etag": etag} if etag else {}))


def settings(one: Site, *names: str, feeds: Any = None, **news: Any) -> Settings:
    """Feeds of these names at paths of these names, every 60 s of stream time."""
    found = feeds or {name: {"url": one.url(f"/{name}")} for name in names}
    return Settings.model_validate({"news": {"local": True, "every": 60.0, "feeds": found, **news}})


@asynccontextmanager
async def running(
    settings: Settings,
    ears: Ears,
    known: Callable[[], Iterable[Headline]] = tuple,
    *,
    pace: Pace = HASTY,
    deadline: float = 1.0,
) -> AsyncIterator[NewsSource]:
    """A source that polls inside the block."""
    fetch = Fetch(deadline=deadline, largest=1 << 20, tls=trusting())
    source = NewsSource(settings, known, rng=np.random.default_rng(7), fetch=fetch, pace=pace)
    task = asyncio.create_task(source.run(ears))
    try:
        yield source
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()


async def until(condition: Callable[[], Any], why: Callable[[], Any] = lambda: "") -> None:
    """Wait for something to become true, and fail saying why it should have."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"never came: {why()}"
        await asyncio.sleep(0.002)


async def polled(source: NewsSource, name: str) -> dict[str, Any]:
    """How a feed is after its next answer or failure."""
    before = marks(source, name)
    await until(lambda: marks(source, name) != before, lambda: source.told())
    return dict(source.told()[f"news.{name}"])


def marks(source: NewsSource, name: str) -> Any:
    body = source.told()[f"news.{name}"]
    return body["last_success"], body["error"] and body["error"]["at"]
