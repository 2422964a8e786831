"""Santiment: social volume, development, whales, age of coins and MVRV, by GraphQL, all assets in one call.

Each call counts against a month's quota, so what changes once a day is asked for twice a day. The free plan
serves most metrics up to 30 days ago only: its rows are as old as they say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from engine.errors import NotServed, RateLimited, Refused, SourceError
from engine.providers.base import DAY, HOUR, Promise, Request, fault_of
from engine.providers.fields import instant, number, rows, within, words
from engine.records import Frozen, Metric

SLUGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "BTC": "bitcoin",
        "ETH": "ethereum",
        "BNB": "binance-coin",
        "SOL": "solana",
        "AVAX": "avalanche",
        "LINK": "chainlink",
        "DOT": "polkadot-new",
        "POL": "polygon-ecosystem-token",
        "NEAR": "near-protocol",
        "ARB": "arb-arbitrum",
        "OP": "o-optimism",
        "PEPE": "pepe",
        "DOGE": "dogecoin",
        "SHIB": "shiba-inu",
        "FLOKI": "floki-inu-v2",
        "BONK": "bonk1",
        "WIF": "dogwifhat",
    }
)
"""What it calls each asset; one that it does not know is missing from the answer, and no error."""

ASSETS: Final[Mapping[str, str]] = MappingProxyType({slug: asset for asset, slug in SLUGS.items()})

EVERY: Final = 4 * 3600.0
HALF_DAY: Final = 12 * 3600.0

LATER: Final = re.compile(r"try again in (\d{1,9}) second", re.IGNORECASE)
PLAN: Final = re.compile(r"subscription|upgrade|allowed interval|restricted", re.IGNORECASE)
KEY: Final = re.compile(r"apikey|api key|unauthori[sz]ed|credentials", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Series(Frozen):
    """One of its metrics: its own name, the unit, how often it is asked for in seconds, and its rows' span.

    `back` reaches behind the 30 days that the free plan keeps from its users.
    """

    metric: str
    unit: str
    every: float = HALF_DAY
    interval: str = "1d"
    back: str = "38d"


SERIES: Final[Mapping[str, Series]] = MappingProxyType(
    {
        "social_volume": Series("social_volume_total", "mentions an hour", EVERY, "1h", "4d"),
        "whale_tx_100k": Series("whale_transaction_count_100k_usd_to_inf", "transfers over 100 k USD a day"),
        "whale_tx_1m": Series("whale_transaction_count_1m_usd_to_inf", "transfers over 1 m USD a day"),
        "mvrv": Series("mvrv_usd", "market value over realised value of all coins, 1 = even"),
        "mvrv_30d": Series("mvrv_usd_30d", "the same of coins that moved in the last 30 days, 1 = even"),
        "token_age": Series("mean_age", "mean days since a coin last moved"),
        "token_age_invested": Series("mean_dollar_invested_age", "mean days since a dollar was invested"),
        "age_consumed": Series("age_consumed", "coins that moved times the days they had not, a day"),
        "dev_activity": Series("dev_activity", "events of development a day"),
    }
)
"""By metric, the most wanted first. In a month of 31 days: 186 calls of the first, 62 of each other, 682."""

SPANS: Final[Mapping[str, int]] = MappingProxyType({"1h": HOUR, "1d": DAY})

METRICS: Final[Mapping[str, Promise]] = MappingProxyType(
    {name: Promise(series.unit) for name, series in SERIES.items()}
)


class Santiment:
    """Nine metrics of up to seventeen assets in nine calls.

    Examples
    --------
    >>> request = next(iter(Santiment().requests(["BTC", "XYZ"], 0)))
    >>> print(request.body["query"])
    { getMetric(metric: "social_volume_total") { timeseriesDataPerSlugJson(selector: {slugs: ["bitcoin"]} \
from: "utc_now-4d" to: "utc_now" interval: "1h") } }
    """

    name = "santiment"
    key = "SANTIMENT_API_KEY"
    needs_key = True
    metrics = METRICS

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {"Authorization": f"Apikey {key}"} if key else {}

    def query(self, key: str | None) -> Mapping[str, str]:
        return {}

    def requests(self, assets: Iterable[str], now: int) -> Iterator[Request]:
        """One call a metric; more than one in a call would count as many."""
        wanted = set(assets)
        slugs = [slug for asset, slug in SLUGS.items() if asset in wanted]
        if not slugs:
            return
        for name, series in SERIES.items():
            yield Request(
                "/graphql", body={"query": asked(series, slugs)}, metric=name, every=series.every, at=now
            )

    def parse(self, request: Request, body: Any) -> list[Metric]:
        """The rows of one metric, oldest first. An error comes with status 200 and says so in its words."""
        who = f"santiment {request.metric}"
        if told := errors(body):
            raise meant(who, told)
        series = SERIES.get(request.metric)
        span = SPANS[series.interval] if series else DAY
        path = ("data", "getMetric", "timeseriesDataPerSlugJson")
        found = [
            Metric(f"santiment.{request.metric}", asset, began + span, value)
            for row in rows(who, body, *path)
            if (began := instant(row.get("datetime"))) is not None
            for asset, value in values(row)
        ]
        return sorted(found, key=lambda metric: metric.time)

    def fault(self, status: int, headers: Mapping[str, str], body: Any) -> SourceError:
        """A month's quota that is gone says in how many seconds to come again, as a minute's does."""
        text = errors(body) or words(body, "message", "error")
        found = LATER.search(text)
        wait = found[1] if found else headers.get("x-ratelimit-reset", "60")
        return fault_of(self.name, status, {"retry-after": wait, **headers}, text)

    def remaining(self, headers: Mapping[str, str]) -> float | None:
        """Calls of this month."""
        return number(headers.get("x-ratelimit-remaining-month"))


def asked(series: Series, slugs: list[str]) -> str:
    """The GraphQL of one metric for all slugs."""
    names = ", ".join(f'"{slug}"' for slug in slugs)
    span = f'from: "utc_now-{series.back}" to: "utc_now" interval: "{series.interval}"'
    data = f"timeseriesDataPerSlugJson(selector: {{slugs: [{names}]}} {span})"
    return f'{{ getMetric(metric: "{series.metric}") {{ {data} }} }}'


def values(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Asset and value of one time; each asset once."""
    told = {
        asset: value
        for one in rows("santiment row", row, "data")
        if isinstance(slug := one.get("slug"), str)
        and (asset := ASSETS.get(slug)) is not None
        and (value := number(one.get("value"))) is not None
    }
    yield from told.items()


def errors(body: Any) -> str:
    """What the errors of an answer say: a list of messages, or an object with details.

    >>> errors({"errors": {"details": "slow down"}}), errors({"errors": [{"message": "no"}]}), errors({})
    ('slow down', 'no', '')
    """
    told = within(body, "errors")
    if not told:
        return ""
    first = told[0] if isinstance(told, list) else told
    return words(first, "message", "details") or "an error without words"


def meant(who: str, text: str) -> SourceError:
    """What an error in words means.

    >>> type(meant("santiment mvrv", "outside the allowed interval you can query")).__name__
    'NotServed'
    """
    told = f"{who}: {text[:160]}"
    if found := LATER.search(text):
        return RateLimited(told, max(1.0, float(found[1])))
    if PLAN.search(text):
        return NotServed(told)
    return Refused(told, 401) if KEY.search(text) else SourceError(told)
