"""The TIE: how the news sounds and which of it is passed on. For enterprises, and sparsely documented.

Fields are those of its documentation; what holds the rows is not said there, so a list and `data` are taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import fsum
from types import MappingProxyType
from typing import Any, Final

from engine.errors import SourceError, Unreadable
from engine.providers.base import DAY, Promise, Request, fault_of
from engine.providers.fields import Found, in_order, instant, number, rows, within, words
from engine.records import Metric

Row = tuple[int, Mapping[str, Any]]

METRICS: Final[Mapping[str, Promise]] = MappingProxyType(
    {
        "news_sentiment": Promise("mean of the last day's news, -1..1", "market"),
        "news_disagreement": Promise(
            "mean variance of the scores, in points of its scale of 1 to 5", "market"
        ),
        "trending_news": Promise("articles that were trending within a day", "market"),
        "trending_tweets": Promise("tweets that passed them on", "market"),
        "social_score": Promise(
            "score of what is written about a coin",
            gone="no address of it is documented; LunarCrush and Santiment tell it, and our social feeds",
        ),
        "entities": Promise(
            "coins and people that an article names",
            gone="no address of it is documented; our own headlines are tagged with the coins they name",
        ),
    }
)


class TheTie:
    """News of the whole market: rows name no coin.

    Parameters
    ----------
    limit
        How many of the newest articles are asked for.
    news, trending
        Paths, for they may change; `trending` lies on another host.

    Examples
    --------
    >>> plug = TheTie()
    >>> asked = next(iter(plug.requests([], 0)))
    >>> body = [{"timestamp": "2026-10-07 12:30:00", "sentiment_score": 4}]
    >>> [(metric.name, metric.value) for metric in plug.parse(asked, body)]
    [('thetie.news_sentiment', 0.5)]
    """

    name = "thetie"
    key = "THETIE_API_KEY"
    needs_key = True
    metrics = METRICS

    def __init__(
        self, limit: int = 200, news: str = "/news_sentiment", trending: str = "/trending_news/historical"
    ) -> None:
        self.limit = limit
        self.news = news
        self.trending = trending

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {key}"} if key else {}

    def query(self, key: str | None) -> Mapping[str, str]:
        return {}

    def requests(self, assets: Iterable[str], now: int) -> Iterator[Request]:
        """The same two questions whatever the assets."""
        yield Request(self.news, {"limit": str(self.limit)}, metric="news")
        yield Request(self.trending, metric="trending", host="trending")

    def parse(self, request: Request, body: Any) -> list[Metric]:
        """One number of each kind, at the time of the newest row."""
        recent = last_day(dated(request.metric, body))
        return in_order(self.name, (of_news if request.metric == "news" else of_trending)(recent))

    def fault(self, status: int, headers: Mapping[str, str], body: Any) -> SourceError:
        return fault_of(self.name, status, headers, words(body, "message", "error", "detail"))

    def remaining(self, headers: Mapping[str, str]) -> float | None:
        return None


def dated(what: str, body: Any) -> list[Row]:
    """Rows with their times, ms UTC; raises `Unreadable` where there are rows and no time in any of them."""
    held = rows(f"thetie {what}", body) if isinstance(body, list) else rows(f"thetie {what}", body, "data")
    found = [(at, row) for row in held if (at := instant(row.get("timestamp"))) is not None]
    if held and not found:
        raise Unreadable(f"thetie {what}: {len(held)} rows, and no timestamp can be read")
    return found


def last_day(found: list[Row]) -> list[Row]:
    """Those within a day of the newest."""
    newest = max((at for at, _ in found), default=0)
    return [(at, row) for at, row in found if at > newest - DAY]


def of_news(recent: list[Row]) -> Iterator[Found]:
    """Scores run from 1 to 5 with 3 in the middle; another number is none."""
    scored = [
        (at, score, number(row.get("sentiment_variance")))
        for at, row in recent
        if (score := number(row.get("sentiment_score"))) is not None and 1 <= score <= 5
    ]
    if not scored:
        return
    newest = max(at for at, _, _ in scored)
    yield "news_sentiment", "", newest, fsum((score - 3) / 2 for _, score, _ in scored) / len(scored)
    spread = [variance for _, _, variance in scored if variance is not None and 0 <= variance <= 4]
    if spread:
        yield "news_disagreement", "", newest, fsum(spread) / len(spread)


def of_trending(recent: list[Row]) -> Iterator[Found]:
    """An article is told of several times while it trends: the largest count of its tweets is taken."""
    tweets: dict[str, float] = {}
    for _, row in recent:
        link, count = within(row, "link_hash"), number(row.get("tweet_count"))
        if isinstance(link, str) and count is not None and count >= 0:
            tweets[link] = max(count, tweets.get(link, 0.0))
    if tweets:
        newest = max(at for at, _ in recent)
        yield "trending_news", "", newest, float(len(tweets))
        yield "trending_tweets", "", newest, fsum(tweets.values())
