"""Messari as the companion plays it: profiles, signals, events, unlocks and the finances of networks."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from dataflows.replay.answers import Answer, Request
from dataflows.replay.companion.numbers import DAY, Numbers
from engine.providers.fields import instant, stamp
from engine.providers.messari import NETWORKS, SLUGS, UUIDS, VESTING

HOUR: Final = 3_600_000
UNLOCKS: Final = re.compile(r"/token-unlocks/v1/assets/(?P<id>[a-z0-9-]+)/events")
FINANCES: Final = re.compile(r"/metrics/v2/networks/(?P<id>[a-z0-9-]+)/metrics/financial/time-series/1d")
MOST: Final = 48
SUPPLY: Final = 1e9
"""Coins of every simulated asset."""

FINANCIAL: Final = {
    "feesTotal24HourUsd": ("Total Fees", 1.5e6),
    "feesSupplySide24HourUsd": ("Supply Side Fees", 9e5),
    "revenue24HourUsd": ("Revenue", 6e5),
}


def answer(request: Request, now: int, numbers: Numbers) -> Answer:
    """What Messari would say at `now`."""
    if not request.headers.get("x-messari-api-key"):
        return refused(401, "Unauthorized")
    by_path: dict[str, Callable[[Request, int, Numbers], Any]] = {
        "/signal/v1/assets/time-series/1h": signals,
        "/metrics/v2/assets/details": profiles,
        "/intel/v1/events": events,
    }
    if request.path in by_path:
        return Answer.of(by_path[request.path](request, now, numbers))
    ids = {slug: asset for asset, slug in SLUGS.items()} | {uuid: asset for asset, uuid in UUIDS.items()}
    if (found := UNLOCKS.fullmatch(request.path)) and (asset := ids.get(found["id"], "")) in VESTING:
        return Answer.of(unlocks(asset, request, now, numbers))
    if (found := FINANCES.fullmatch(request.path)) and (asset := ids.get(found["id"], "")) in NETWORKS:
        return Answer.of(finances(asset, request, now, numbers))
    return refused(404, "Not found")


def refused(status: int, text: str) -> Answer:
    return Answer.of({"error": text, "data": None}, status)


def asked(text: str) -> list[str]:
    """The assets of a list of slugs; what is unknown is left out."""
    return [asset for slug in text.split(",") for asset, known in SLUGS.items() if known == slug]


def identity(asset: str) -> dict[str, Any]:
    slug = SLUGS[asset]
    return {"id": UUIDS.get(asset, f"simulated-{slug}"), "name": slug.title(), "symbol": asset, "slug": slug}


def signals(request: Request, now: int, numbers: Numbers) -> dict[str, Any]:
    """The hours asked for of each asset, the open one with them."""
    last = now // HOUR * HOUR
    begin = max(instant(request.query.get("start")) or 0, last - MOST * HOUR)
    times = range(-(-begin // HOUR) * HOUR, last + 1, HOUR)
    assets = asked(request.query.get("assetIds", ""))
    data = [{**identity(one), "points": [hour(one, time, numbers) for time in times]} for one in assets]
    return {"error": None, "data": data}


def hour(asset: str, time: int, numbers: Numbers) -> dict[str, Any]:
    """One hour of one asset."""
    price = numbers.amount("messari.price", asset, time, 100.0, 0.05)
    return {
        "time": time // 1000,
        "mindshare": {"rank": 1, "percentage": numbers.amount("messari.mindshare", asset, time, 3.0)},
        "sentiment": {
            "score": max(min(numbers.level("messari.sentiment", asset, time, 0.3, 0.15), 1.0), -1.0)
        },
        "postMetrics": {
            "totalPosts": round(numbers.amount("messari.posts", asset, time, 80.0)),
            "uniqueAuthorsMentioning": round(numbers.amount("messari.authors", asset, time, 50.0)),
        },
        "marketdata": {"open": price, "high": price, "low": price, "close": price, "volume": 1e7 * price},
    }


def profiles(request: Request, now: int, numbers: Numbers) -> dict[str, Any]:
    """What is known of each asset."""
    data = []
    for asset in asked(request.query.get("assets", "")):
        cap = numbers.amount("messari.cap", asset, now, 2e10, 0.1)
        market = {"circulatingUsd": cap, "fullyDilutedUsd": 1.2 * cap, "dominance": 0.5}
        volume = numbers.amount("messari.volume", asset, now, 1e9)
        about = {
            "rank": list(SLUGS).index(asset) + 1,
            "sector": "Networks",
            "sectorV2": "Networks",
            "tags": ["Simulated"],
            "description": "A simulated asset.",
            "links": [{"name": "Website", "url": "https://example.com"}],
            "marketData": {"priceUsd": cap / SUPPLY, "volume24Hour": volume, "marketcap": market},
        }
        data.append(identity(asset) | about)
    return {"error": None, "data": data}


def events(request: Request, now: int, numbers: Numbers) -> dict[str, Any]:
    """A vote on two networks, and one that is over."""
    data = [event(place, asset, now, "Upcoming") for place, asset in enumerate(("ARB", "OP"), 1)]
    data.append(event(3, "NEAR", now - 3 * DAY, "Completed"))
    return {"error": None, "data": data, "metadata": {"page": 1, "limit": 100}}


def event(place: int, asset: str, now: int, status: str) -> dict[str, Any]:
    about = identity(asset)
    return {
        "id": f"simulated-{place}",
        "category": "Governance",
        "subcategory": "Proposal",
        "eventName": "Simulated vote",
        "eventDate": stamp(now // DAY * DAY + 2 * DAY),
        "importance": "High",
        "status": status,
        "primaryAssets": [{"symbol": about["symbol"], "slug": about["slug"]}],
        "tag": "Governance",
    }


def unlocks(asset: str, request: Request, now: int, numbers: Numbers) -> dict[str, Any]:
    """The cliffs of the span asked for: one every second Monday."""
    begin = instant(request.query.get("startTime")) or now
    end = min(instant(request.query.get("endTime")) or begin, begin + 90 * DAY)
    days = range(-(-begin // DAY) * DAY, end, DAY)
    return {
        "error": None,
        "data": {
            "asset": identity(asset),
            "unlockEvents": [cliff(asset, time, numbers) for time in days if time // DAY % 14 == 4],
        },
    }


def cliff(asset: str, time: int, numbers: Numbers) -> dict[str, Any]:
    """What is unlocked at once: some thousandth of all."""
    share = numbers.amount("messari.unlock", asset, time, 3e-3, 0.6)
    worth = share * numbers.amount("messari.cap", asset, time, 2e10, 0.1)
    amounts = {"amountNative": share * SUPPLY, "amountUSD": worth}
    return {
        "timestamp": stamp(time),
        "cliff": {
            **amounts,
            "percentOfTotalAllocation": share,
            "allocations": [{"allocationRecipient": "Foundation", **amounts}],
        },
        "dailyLinearRateChange": None,
    }


def finances(asset: str, request: Request, now: int, numbers: Numbers) -> dict[str, Any]:
    """Fees and revenue of one network by the day; of today there is no row yet."""
    today = now // DAY * DAY
    begin = max(instant(request.query.get("start")) or 0, today - MOST * DAY)
    columns = [
        {"name": "Timestamp", "slug": "time", "description": "Start of the day.", "is_timestamp": True}
    ]
    columns += [
        {"name": name, "slug": slug, "description": "Simulated.", "is_timestamp": False}
        for slug, (name, _) in FINANCIAL.items()
    ]
    points = [
        [time // 1000]
        + [
            numbers.amount(f"messari.{slug}", asset, time, usual, 0.15)
            for slug, (_, usual) in FINANCIAL.items()
        ]
        for time in range(begin // DAY * DAY, today, DAY)
    ]
    return {
        "error": None,
        "data": {"points": points},
        "metadata": {"pointSchemas": columns, "granularity": "1d"},
    }
