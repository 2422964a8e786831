"""Artemis: what happens on each chain day by day: users, transactions, fees, developers, its share.

A series that it does not have comes as a sentence where the list of days would be; paths end with a slash.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from math import fsum
from types import MappingProxyType
from typing import Any, Final

from engine.errors import NotServed, SourceError, Unreadable
from engine.providers.base import DAY, Promise, Request, fault_of
from engine.providers.fields import Found, day, followed, in_order, instant, kind, number, within, words
from engine.records import Metric

SYMBOLS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "BTC": "btc",
        "ETH": "eth",
        "BNB": "bnb",
        "SOL": "sol",
        "AVAX": "avax",
        "DOT": "dot",
        "POL": "pol",
        "NEAR": "near",
        "ARB": "arb",
        "OP": "op",
        "DOGE": "doge",
    }
)
"""Chains only: of a token on another's chain it has no activity of its own."""

DAILY: Final[Mapping[str, str]] = MappingProxyType(
    {
        "active_users": "DAU",
        "transactions": "TXNS",
        "fees": "FEES",
        "revenue": "REVENUE",
        "dex_volume": "DEX_VOLUMES",
        "tvl": "TVL",
    }
)
WEEKLY: Final[Mapping[str, str]] = MappingProxyType(
    {
        "developer_commits": "WEEKLY_COMMITS_CORE_ECOSYSTEM",
        "developers": "WEEKLY_DEVELOPERS_CORE_ECOSYSTEM",
    }
)
METRICS: Final[Mapping[str, Promise]] = MappingProxyType(
    {
        "active_users": Promise("addresses active in the day"),
        "transactions": Promise("transactions of the day"),
        "fees": Promise("paid by users in the day, USD"),
        "revenue": Promise("what of the fees is kept by the chain, USD a day"),
        "dex_volume": Promise("traded on its decentralised exchanges in the day, USD"),
        "tvl": Promise("locked in its applications, USD"),
        "developer_commits": Promise("commits of the week in its core and ecosystem"),
        "developers": Promise("developers of the week in its core and ecosystem"),
        "fee_share": Promise("its share in the fees of all chains asked about, fraction"),
        "user_share": Promise("its share in the active users of all chains asked about, fraction"),
    }
)
SHARES: Final[Mapping[str, str]] = MappingProxyType({"fees": "fee_share", "active_users": "user_share"})


class Artemis:
    """All chains in one question, the slow numbers of developers in another.

    Parameters
    ----------
    days, weeks
        How far back the daily and the weekly series are asked for.

    Examples
    --------
    >>> [request.path for request in Artemis().requests(["SOL", "PEPE"], 1_790_000_000_000)][0]
    '/data/api/DAU,TXNS,FEES,REVENUE,DEX_VOLUMES,TVL/'
    """

    name = "artemis"
    key = "ARTEMIS_API_KEY"
    needs_key = True
    metrics = METRICS

    def __init__(self, days: int = 14, weeks: int = 6) -> None:
        self.days = days
        self.weeks = weeks

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {}

    def query(self, key: str | None) -> Mapping[str, str]:
        return {"APIKey": key} if key else {}

    def requests(self, assets: Iterable[str], now: int) -> Iterator[Request]:
        """Two questions about all chains; a day is there when it is over, so every six hours will do."""
        symbols = ",".join(SYMBOLS[asset] for asset in followed(assets, SYMBOLS))
        if not symbols:
            return
        for names, span, every in ((DAILY, self.days, 21_600), (WEEKLY, 7 * self.weeks, 86_400)):
            params = {"symbols": symbols, "startDate": day(now - span * DAY), "endDate": day(now)}
            metric = "daily" if names is DAILY else "weekly"
            yield Request(f"/data/api/{','.join(names.values())}/", params, metric=metric, every=every)

    def parse(self, request: Request, body: Any) -> list[Metric]:
        """The days of all series, oldest first, and each chain's share of all.

        A week is told once it is over, as a day is: what the stamp of a week means is nowhere said, and its
        first day is the meaning under which nothing is told too early.
        """
        found = [*series(request.metric, body)]
        return in_order(self.name, [*found, *shares(found)])

    def fault(self, status: int, headers: Mapping[str, str], body: Any) -> SourceError:
        return fault_of(self.name, status, headers, words(body, "detail", "message", "error"))

    def remaining(self, headers: Mapping[str, str]) -> float | None:
        return None


def series(what: str, body: Any) -> Iterator[Found]:
    """Every number of an answer; raises `NotServed` where it holds sentences only."""
    chains = within(body, "data", "symbols")
    if not isinstance(chains, Mapping):
        raise Unreadable(f"artemis {what}: data.symbols is {kind(chains)}, not an object")
    names = {asked.lower(): name for name, asked in (WEEKLY if what == "weekly" else DAILY).items()}
    span = 7 * DAY if what == "weekly" else DAY
    assets = {symbol: asset for asset, symbol in SYMBOLS.items()}
    known = [
        (names[key.lower()], assets[symbol.lower()], days)
        for symbol, held in chains.items()
        if symbol.lower() in assets and isinstance(held, Mapping)
        for key, days in held.items()
        if key.lower() in names
    ]
    sentences = [days for _, _, days in known if isinstance(days, str)]
    if sentences and len(sentences) == len(known):
        raise NotServed(f"artemis {what}: {words(sentences[0])[:120]}")
    for name, asset, days in known:
        yield from ((name, asset, at + span, value) for at, value in points(days))


def points(days: Any) -> Iterator[tuple[int, float]]:
    """The days of one series; nothing for the sentence that stands there when it is missing."""
    for row in days if isinstance(days, list) else ():
        at, value = instant(within(row, "date")), number(within(row, "val"))
        if at is not None and value is not None:
            yield at, value


def shares(found: Iterable[Found]) -> Iterator[Found]:
    """Each chain's share, on the days that every chain has which has any.

    >>> list(shares([("fees", "ETH", 5, 3.0), ("fees", "SOL", 5, 1.0), ("fees", "SOL", 6, 1.0)]))
    [('fee_share', 'ETH', 5, 0.75), ('fee_share', 'SOL', 5, 0.25)]
    """
    tables: dict[str, dict[int, dict[str, float]]] = {name: defaultdict(dict) for name in SHARES}
    for name, asset, at, value in found:
        if name in tables and value >= 0:
            tables[name][at][asset] = value
    for name, days in tables.items():
        chains = {asset for row in days.values() for asset in row}
        for at, row in days.items():
            total = fsum(row.values())
            if len(row) == len(chains) > 1 and total > 0:
                yield from ((SHARES[name], asset, at, value / total) for asset, value in row.items())
