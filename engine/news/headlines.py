"""An entry of a feed as the record that travels: what it is about, how it sounds, how far to believe it."""

from __future__ import annotations

from typing import Literal

from engine.news.feeds import Entry
from engine.news.sentiment import sentiment
from engine.news.tagging import assets_of
from engine.records import Headline


def headline(
    entry: Entry, feed_name: str, weight: float, kind: Literal["news", "social"], story_id: str, at: int
) -> Headline:
    """The headline of an entry read at `at` (ms UTC); a date a little ahead of `at` is `at`.

    >>> told = headline(Entry("Solana outage halts trading", ""), "wire", 0.8, "news", "0" * 16, at=5_000)
    >>> told.assets, told.sentiment < 0, told.time, told.dated
    (('SOL',), True, 5000, False)
    """
    return Headline(
        id=story_id,
        source=feed_name,
        time=at if entry.published is None else min(entry.published, at),
        title=entry.title,
        url=entry.link,
        assets=assets_of(entry.title, entry.summary),
        sentiment=sentiment(entry.title),
        weight=weight,
        kind=kind,
        dated=entry.published is not None,
        learned=at,
    )
