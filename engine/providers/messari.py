"""Messari: asset profiles, token unlocks, governance, what networks earn, and what is said of them on X.

Time series are read by the column names that come with them, never by position. Ids are slugs, or a UUID
where one is documented; the slugs of BTC, ETH, SOL and AVAX are documented too, the others unconfirmed.
Unlocks need an enterprise plan. Governance comes from the list of events `/intel/v1`, which Messari means
to replace.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from engine.errors import SourceError, Unreadable
from engine.providers.base import DAY, HOUR, Promise, Request, fault_of
from engine.providers.fields import (
    Found,
    day,
    followed,
    in_order,
    instant,
    kind,
    number,
    rows,
    stamp,
    unix,
    within,
    words,
)
from engine.records import Metric

SLUGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "BTC": "bitcoin",
        "ETH": "ethereum",
        "BNB": "bnb",
        "SOL": "solana",
        "AVAX": "avalanche",
        "LINK": "chainlink",
        "DOT": "polkadot",
        "POL": "polygon",
        "NEAR": "near-protocol",
        "ARB": "arbitrum",
        "OP": "optimism",
        "PEPE": "pepe",
        "DOGE": "dogecoin",
        "SHIB": "shiba-inu",
        "FLOKI": "floki",
        "BONK": "bonk",
        "WIF": "dogwifhat",
    }
)

UUIDS: Final[Mapping[str, str]] = MappingProxyType(
    {"SOL": "b3d5d66c-26a2-404c-9325-91dc714a722b", "AVAX": "2db6b38a-681a-4514-9d67-691e319597ee"}
)
"""Documented ids of assets with unlocks; of the others the slug is given."""

NETWORKS: Final = frozenset({"BTC", "ETH", "BNB", "SOL", "AVAX", "DOT", "POL", "NEAR", "ARB", "OP", "DOGE"})
"""Assets with a chain of their own: those have fees and revenue."""

VESTING: Final = frozenset({"SOL", "AVAX", "LINK", "DOT", "POL", "NEAR", "ARB", "OP"})
"""Assets that were allocated to somebody and are unlocked by a schedule."""

COLUMNS: Final[Mapping[str, str]] = MappingProxyType(
    {"revenue24HourUsd": "protocol_revenue", "feesTotal24HourUsd": "protocol_fees"}
)
"""The columns of the dataset `financial` that are read."""

PROFILE: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "rank": ("rank",),
        "volume_24h": ("marketData", "volume24Hour"),
        "market_cap": ("marketData", "marketcap", "circulatingUsd"),
        "market_cap_fully_diluted": ("marketData", "marketcap", "fullyDilutedUsd"),
    }
)

METRICS: Final[Mapping[str, Promise]] = MappingProxyType(
    {
        "sentiment": Promise("mean sentiment of an hour's posts on X, -1..1"),
        "mindshare": Promise("share of the talk of leading voices in an hour, fraction"),
        "posts": Promise("posts of an hour that name it, count"),
        "unlock_7d": Promise("what is unlocked at once within 7 days, fraction of all that was allocated"),
        "unlock_usd_7d": Promise("what is unlocked at once within 7 days, USD"),
        "governance_events": Promise("open governance events of more than low importance, count"),
        "protocol_revenue": Promise("what the network keeps of a day's fees, USD"),
        "protocol_fees": Promise("what users of the network paid in a day, USD"),
        "rank": Promise("place by market capitalisation, 1 = the largest"),
        "volume_24h": Promise("traded in 24 h, USD"),
        "market_cap": Promise("circulating market capitalisation, USD"),
        "market_cap_fully_diluted": Promise("fully diluted market capitalisation, USD"),
    }
)

OPEN: Final = frozenset({"upcoming", "active", "in progress", "ongoing", "live", "pending"})
SIX_HOURS: Final = 21_600.0
ONE_DAY: Final = 86_400.0
WEEK: Final = 7 * DAY


class Messari:
    """Sentiment of all assets at every poll; the rest once or four times a day.

    Examples
    --------
    >>> [request.metric for request in Messari().requests(["ARB"], 10 * DAY)]
    ['signal', 'events', 'profile', 'unlocks', 'revenue']
    """

    name = "messari"
    key = "MESSARI_API_KEY"
    needs_key = True
    metrics = METRICS

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {"X-Messari-API-Key": key} if key else {}

    def query(self, key: str | None) -> Mapping[str, str]:
        return {}

    def requests(self, assets: Iterable[str], now: int) -> Iterator[Request]:
        """Three requests for all assets; then unlocks and revenue, an asset a request."""
        known = followed(assets, SLUGS)
        slugs = ",".join(SLUGS[asset] for asset in known)
        if known:
            span = {"assetIds": slugs, "start": stamp(now - 6 * HOUR), "end": stamp(now)}
            yield Request("/signal/v1/assets/time-series/1h", span, metric="signal", at=now)
            events = {"category": "Governance", "limit": "100"}
            yield Request("/intel/v1/events", events, metric="events", every=SIX_HOURS, at=now)
            path = "/metrics/v2/assets/details"
            yield Request(path, {"assets": slugs}, metric="profile", every=SIX_HOURS, at=now)
        for asset in followed(known, VESTING):
            path = f"/token-unlocks/v1/assets/{UUIDS.get(asset, SLUGS[asset])}/events"
            span = {"startTime": stamp(now), "endTime": stamp(now + WEEK), "unlockType": "CLIFF"}
            yield Request(path, span, metric="unlocks", asset=asset, every=ONE_DAY, at=now)
        for asset in followed(known, NETWORKS):
            path = f"/metrics/v2/networks/{SLUGS[asset]}/metrics/financial/time-series/1d"
            span = {"start": day(now - 4 * DAY), "end": day(now)}
            yield Request(path, span, metric="revenue", asset=asset, every=SIX_HOURS, at=now)

    def parse(self, request: Request, body: Any) -> list[Metric]:
        """The numbers of one answer, oldest first; the error of an envelope that came with 200 is raised."""
        where = f"messari {request.metric}"
        if error := words(within(body, "error"), "message") or words(body, "error"):
            raise SourceError(f"{where}: {error[:120]}")
        match request.metric:
            case "signal":
                found = of_signal(rows(where, body, "data"))
            case "profile":
                found = of_profiles(rows(where, body, "data"), request.at)
            case "events":
                found = of_events(rows(where, body, "data"), request.at)
            case "unlocks":
                found = of_unlocks(request.asset, unlocks(where, body), request.at)
            case _:
                found = of_series(request.asset, *series(where, body))
        return in_order(self.name, found)

    def fault(self, status: int, headers: Mapping[str, str], body: Any) -> SourceError:
        return fault_of(self.name, status, headers, words(body, "error", "message"))

    def remaining(self, headers: Mapping[str, str]) -> float | None:
        return None


ASSETS: Final[Mapping[str, str]] = MappingProxyType({slug: asset for asset, slug in SLUGS.items()})


def named(row: Mapping[str, Any]) -> str | None:
    """The asset that an object is about, by its slug: symbols are not unique."""
    slug = row.get("slug")
    return ASSETS.get(slug) if isinstance(slug, str) else None


def of_signal(found: Iterable[Mapping[str, Any]]) -> Iterator[Found]:
    """Hours of several assets; a point carries its hour's beginning."""
    for row in found:
        asset, points = named(row), row.get("points")
        for point in points if asset is not None and isinstance(points, list) else ():
            begin = unix(within(point, "time"))
            if asset is not None and begin is not None:
                yield from of_point(asset, begin + HOUR, point)


def of_point(asset: str, time: int, point: Any) -> Iterator[Found]:
    """One hour of one asset."""
    for ours, unit, path in (
        ("sentiment", 1.0, ("sentiment", "score")),
        ("mindshare", 0.01, ("mindshare", "percentage")),
        ("posts", 1.0, ("postMetrics", "totalPosts")),
    ):
        value = number(within(point, *path))
        if value is not None:
            yield ours, asset, time, value * unit


def of_profiles(found: Iterable[Mapping[str, Any]], at: int) -> Iterator[Found]:
    """What the assets are worth; at the time of their price where that is told."""
    for row in found:
        asset, priced = named(row), instant(within(row, "marketData", "priceAt"))
        for ours, path in PROFILE.items() if asset is not None else ():
            value = number(within(row, *path))
            if asset is not None and value is not None:
                yield ours, asset, at if priced is None else priced, value


def of_events(found: Iterable[Mapping[str, Any]], at: int) -> Iterator[Found]:
    """How much is being decided about each asset; nothing is a number too."""
    counts: Counter[str] = Counter()
    for row in found:
        open_ = str(row.get("status")).lower() in OPEN
        about = row.get("primaryAssets")
        if open_ and str(row.get("importance")).lower() != "low" and isinstance(about, list):
            counts.update({asset for one in about if isinstance(one, Mapping) and (asset := named(one))})
    for asset in SLUGS:
        yield "governance_events", asset, at, float(counts[asset])


def unlocks(where: str, body: Any) -> list[Mapping[str, Any]]:
    """The events of one asset; null is what an empty list is sent as."""
    data = within(body, "data")
    if isinstance(data, Mapping) and data.get("unlockEvents", 0) is None:
        return []
    return rows(where, body, "data", "unlockEvents")


def of_unlocks(asset: str, found: Iterable[Mapping[str, Any]], at: int) -> Iterator[Found]:
    """What the cliffs of the next seven days come to; their percentOfTotalAllocation is a fraction."""
    share = worth = 0.0
    for row in found:
        time = instant(row.get("timestamp"))
        if time is not None and at <= time < at + WEEK:
            share += number(within(row, "cliff", "percentOfTotalAllocation")) or 0.0
            worth += number(within(row, "cliff", "amountUSD")) or 0.0
    yield "unlock_7d", asset, at, share
    yield "unlock_usd_7d", asset, at, worth


def series(where: str, body: Any) -> tuple[list[str], list[list[Any]]]:
    """The names of a series' columns and its rows; the schema lies beside `data` or in it."""
    schemas = within(body, "metadata", "pointSchemas") or within(body, "data", "metadata", "pointSchemas")
    points = within(body, "data", "points")
    if not isinstance(schemas, list) or not isinstance(points, list):
        raise Unreadable(f"{where}: pointSchemas is {kind(schemas)}, points is {kind(points)}, no lists")
    names = ["time" if within(one, "is_timestamp") is True else str(within(one, "slug")) for one in schemas]
    if "time" not in names or not set(COLUMNS) & set(names):
        raise Unreadable(f"{where}: no {' or '.join(COLUMNS)} with a time among {', '.join(names)[:100]}")
    return names, [point for point in points if isinstance(point, list) and len(point) == len(names)]


def of_series(asset: str, names: list[str], points: Iterable[list[Any]]) -> Iterator[Found]:
    """Days of one network; a point carries its day's beginning."""
    for point in points:
        row = dict(zip(names, point, strict=True))
        begin = unix(row["time"])
        for theirs, ours in COLUMNS.items():
            value = number(row.get(theirs))
            if begin is not None and value is not None:
                yield ours, asset, begin + DAY, value
