"""LunarCrush: how much and how well people talk of each asset, who does, and how much of it is spam.

One list tells of all coins. Tickers are not unique there: of several coins the one with the best market
capitalisation rank is meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import inf
from types import MappingProxyType
from typing import Any, Final

from engine.errors import RateLimited, SourceError
from engine.providers.base import HOUR, Promise, Request, fault_of
from engine.providers.fields import Found, followed, in_order, number, rows, unix, within, words
from engine.records import Metric

COINS: Final[Mapping[str, str]] = MappingProxyType(
    {"BTC": "1", "ETH": "2"}
    | {asset: asset for asset in ("BNB", "SOL", "AVAX", "LINK", "DOT", "POL", "NEAR", "ARB", "OP")}
    | {asset: asset for asset in ("PEPE", "DOGE", "SHIB", "FLOKI", "BONK", "WIF")}
)
"""By what a coin is asked for alone: its id where the documentation prints it, else its symbol."""

TOPICS: Final[Mapping[str, str]] = MappingProxyType({"BTC": "bitcoin", "ETH": "ethereum"})
"""Topics that have a name; the others are asked for as $ and the symbol in lower case."""

LISTED: Final[Mapping[str, tuple[str, float]]] = MappingProxyType(
    {
        "galaxy_score": ("galaxy_score", 1.0),
        "alt_rank": ("alt_rank", 1.0),
        "sentiment": ("sentiment", 0.01),
        "social_volume": ("social_volume_24h", 1.0),
        "interactions": ("interactions_24h", 1.0),
        "social_dominance": ("social_dominance", 0.01),
    }
)
"""Our name of each number of the list, its key there, and what it is multiplied with."""

METRICS: Final[Mapping[str, Promise]] = MappingProxyType(
    {
        "galaxy_score": Promise("how well price and talk do together, 0..100, 50 = as always"),
        "alt_rank": Promise("place among all coins by price and talk, 1 = the best"),
        "sentiment": Promise("share of interactions with positive posts, fraction"),
        "social_volume": Promise("posts that had interactions in 24 h, count"),
        "interactions": Promise("interactions in 24 h, count"),
        "social_dominance": Promise("share of all social volume, fraction"),
        "spam": Promise("posts of an hour that are spam, count"),
        "spam_share": Promise("posts of an hour that are spam, fraction of those made"),
        "influencer_interactions": Promise("interactions in 24 h with the leading creators, count"),
        "influencer_followers": Promise("followers of the leading creators, count"),
    }
)

SPAM_EVERY: Final = 21_600.0
CREATORS_EVERY: Final = 43_200.0


class LunarCrush:
    """The list of coins at every poll; spam and creators of single coins more rarely.

    Examples
    --------
    >>> [request.path for request in LunarCrush().requests(["SOL"], 0)]
    ['/coins/list/v2', '/coins/SOL/time-series/v2', '/topic/$sol/creators/v1']
    """

    name = "lunarcrush"
    key = "LUNARCRUSH_API_KEY"
    needs_key = True
    metrics = METRICS

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {key}"} if key else {}

    def query(self, key: str | None) -> Mapping[str, str]:
        return {}

    def requests(self, assets: Iterable[str], now: int) -> Iterator[Request]:
        """One list for all assets, then the hours of the last day and the creators of each."""
        known = followed(assets, COINS)
        if known:
            yield Request(
                "/coins/list/v2", {"sort": "market_cap_rank", "limit": "1000"}, metric="list", at=now
            )
        for asset in known:
            path = f"/coins/{COINS[asset]}/time-series/v2"
            span = {"bucket": "hour", "interval": "1d"}
            yield Request(path, span, metric="spam", asset=asset, every=SPAM_EVERY, at=now)
        for asset in known:
            path = f"/topic/{topic(asset)}/creators/v1"
            yield Request(path, metric="creators", asset=asset, every=CREATORS_EVERY, at=now)

    def parse(self, request: Request, body: Any) -> list[Metric]:
        """The numbers of one answer, oldest first."""
        found = rows(f"lunarcrush {request.metric}", body, "data")
        match request.metric:
            case "spam":
                told = of_hours(request.asset, found)
            case "creators":
                told = of_creators(request.asset, found, request.at)
            case _:
                made = unix(within(body, "config", "generated"))
                told = of_list(found, request.at if made is None else made)
        return in_order(self.name, told)

    def fault(self, status: int, headers: Mapping[str, str], body: Any) -> SourceError:
        fault = fault_of(self.name, status, headers, words(body, "error", "message"))
        if isinstance(fault, RateLimited) and self.remaining(headers) == 0:
            # The day's calls are used up; the minute's comes back sooner.
            return RateLimited(str(fault), max(fault.retry_after, 3600.0))
        return fault

    def remaining(self, headers: Mapping[str, str]) -> float | None:
        return number(headers.get("x-rate-limit-day-remaining"))


def topic(asset: str) -> str:
    """What the talk about an asset is filed under.

    >>> topic("BTC"), topic("WIF")
    ('bitcoin', '$wif')
    """
    return TOPICS.get(asset, f"${asset.lower()}")


def of_list(found: Iterable[Mapping[str, Any]], time: int) -> Iterator[Found]:
    """All coins of one list that we know, each told by the best ranked of its ticker."""
    best: dict[str, tuple[float, Mapping[str, Any]]] = {}
    for row in found:
        symbol, rank = row.get("symbol"), number(row.get("market_cap_rank"))
        rank = inf if rank is None or rank < 1 else rank
        if isinstance(symbol, str) and symbol in COINS and rank < best.get(symbol, (inf, row))[0]:
            best[symbol] = rank, row
    for asset, (_, row) in best.items():
        for ours, (theirs, unit) in LISTED.items():
            value = number(row.get(theirs))
            if value is not None:
                yield ours, asset, time, value * unit


def of_hours(asset: str, found: Iterable[Mapping[str, Any]]) -> Iterator[Found]:
    """How much of what was posted in each hour is spam; a row carries its hour's beginning."""
    for row in found:
        begin, spam, made = unix(row.get("time")), number(row.get("spam")), number(row.get("posts_created"))
        if begin is not None and spam is not None:
            yield "spam", asset, begin + HOUR, spam
            if made is not None and made > 0:
                yield "spam_share", asset, begin + HOUR, min(spam / made, 1.0)


def of_creators(asset: str, found: list[Mapping[str, Any]], time: int) -> Iterator[Found]:
    """What the leading creators come to together; nothing where none is listed."""
    for ours, theirs in (
        ("influencer_interactions", "interactions_24h"),
        ("influencer_followers", "creator_followers"),
    ):
        told = [value for row in found if (value := number(row.get(theirs))) is not None]
        if told:
            yield ours, asset, time, sum(told)
